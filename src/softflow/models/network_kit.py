"""Test kits: whether a policy or a critic of one's own keeps what training relies on.

    check_policy(MyPolicy(example_inputs(), MyConfig(), StateMlpConfig(token_dim=32)))

As `check_env` does for environments, each stops at the first promise that is broken and says what
to change. They work on a copy, with weights moved away from their start: zeros there would hide
errors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, is_image_key
from softflow.data.statistics import ArrayStatistics, DatasetStatistics
from softflow.errors import NetworkContractError, SoftflowError
from softflow.models.critic import CRITICS, CriticEnsemble
from softflow.models.encoder import EncoderConfig
from softflow.models.inputs import ModelInputs
from softflow.models.kinds import Kinds
from softflow.models.policy import POLICIES, ChunkPolicy, Condition, Observation

Network = TypeVar("Network", bound=nn.Module)
ROWS, CANDIDATES = 3, 7
"""Other numbers than any length of the example: an axis in the wrong place shows."""
EXAMPLE_CHUNK = ChunkSpec(chunk_length=5, execution_horizon=4, prefix_length=1, history_length=2)
CLOSE = 1e-4
"""How far results may differ that are computed in another grouping."""


def example_inputs(
    chunk: ChunkSpec = EXAMPLE_CHUNK,
    *,
    state_dim: int = 6,
    action_dim: int = 2,
    image_shapes: Mapping[str, tuple[int, int, int]] | None = None,
) -> ModelInputs:
    """What networks would be told of a small data set, for tests of one's own network.

    Args:
        chunk: lengths of a decision.
        state_dim: components of the state; action_dim: of an action.
        image_shapes: camera key -> [H, W, 3].
    """
    state = ArrayStatistics(*(np.full(state_dim, v) for v in (0.0, 1.0, -3.0, 3.0)))
    action = ArrayStatistics(*(np.full(action_dim, v) for v in (0.0, 0.5, -1.0, 1.0)))
    shapes = {STATE_KEY: (state_dim,), **(image_shapes or {})}
    return ModelInputs(chunk, DatasetStatistics({STATE_KEY: state}, action, 1, 100), shapes)


def check_shapes(policy: ChunkPolicy) -> None:
    """Hold a policy's results to their shapes, in a moment: training asks before it begins.

    Raises:
        NetworkContractError: one is another: which, and the shape to return.
    """
    policy = copy.deepcopy(policy).eval().cpu()
    observation, prefix, actions = _example(policy.inputs, policy.encoder.config, 0)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        condition = policy.condition(observation, prefix)
        _require_results(policy, condition, actions)


def check_policy(policy: ChunkPolicy, *, seed: int = 0) -> None:
    """Hold a policy to what `ChunkPolicy` promises.

    Args:
        policy: any member, fresh or trained; it is left as it is.
        seed: of the random observations, actions and weights.

    Raises:
        NetworkContractError: at the first promise that is broken: what, and the fix.
    """
    _require_known(POLICIES, policy.config.kind, type(policy))
    policy = _moved_copy(policy, seed)
    observation, prefix, actions = _example(policy.inputs, policy.encoder.config, seed)
    _require_results(policy, policy.condition(observation, prefix), actions)
    _check_cost(policy, observation, prefix, actions)
    _check_candidates(policy, observation, prefix)
    _check_gradients(policy, observation, prefix, actions)
    if policy.has_likelihood:
        log_prob = policy.log_prob(policy.condition(observation, prefix), actions)
        _require_shape("log_prob", log_prob, (ROWS,))
    again = type(policy)(policy.inputs, policy.config, policy.encoder.config)
    again.load_state_dict(policy.state_dict())
    _require_equal(
        "a policy loaded from its weights chooses other chunks; register what it needs as buffers",
        _candidates(policy, observation, prefix),
        _candidates(again.eval(), observation, prefix),
    )


def check_critic(critic: CriticEnsemble, inputs: ModelInputs, *, seed: int = 0) -> None:
    """Hold a critic's architecture to what `ChunkCritic` promises.

    Args:
        critic: an ensemble of that architecture; it is left as it is.
        inputs: what it was made from.
        seed: of the random observations, actions and weights.

    Raises:
        NetworkContractError: at the first promise that is broken: what, and the fix.
    """
    _require_known(CRITICS, critic.config.kind, critic.architecture)
    critic = _moved_copy(critic, seed)
    observation, prefix, _ = _example(inputs, critic.encoder.config, seed)
    tokens = critic.encoder(observation, prefix)
    shape = (ROWS, CANDIDATES, inputs.chunk.chunk_length, inputs.action_dim)
    chunks = torch.rand(shape, generator=_seeded(seed)) * 2 - 1
    outputs = critic(tokens, chunks)
    expected = (critic.config.num_critics, *shape[:2], critic.config.num_outputs)
    _require_shape("the critics' outputs", outputs, expected)
    for n in range(CANDIDATES):
        _require_close(
            "the value of a candidate depends on the others; score each by itself",
            critic.values(tokens, chunks[:, n : n + 1])[:, :, 0],
            critic.values(tokens, chunks)[:, :, n],
        )
    _require_rows_apart("values", lambda rows: critic.values(tokens[rows], chunks[rows])[0])
    _require_gradients("the critics' outputs", critic, outputs.square().sum())


def _require_results(policy: ChunkPolicy, condition: Condition, actions: Tensor) -> None:
    chunk = tuple(actions.shape[1:])
    valid = torch.ones(actions.shape[:2], dtype=torch.bool)
    _require_shape("imitation_cost", policy.imitation_cost(condition, actions, valid, 0.0), (ROWS,))
    latents = policy.draw_latents(ROWS, CANDIDATES, 1.0, _seeded(0))
    _require_shape("to_chunks", policy.to_chunks(latents, condition), (ROWS, CANDIDATES, *chunk))
    sampled = policy.sample(CANDIDATES, 0.7, condition, ROWS, _seeded(0))
    _require_shape("sample", sampled, (ROWS, CANDIDATES, *chunk))
    chosen = policy.choose(CANDIDATES, 0.7, condition, ROWS, _seeded(1))
    _require_shape("choose", chosen, (ROWS, *chunk))


def _check_cost(
    policy: ChunkPolicy, observation: Observation, prefix: Tensor, actions: Tensor
) -> None:
    condition = policy.condition(observation, prefix)
    valid = torch.zeros(actions.shape[:2], dtype=torch.bool)
    valid[:, 0] = True

    def cost(chunks: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):  # its randomness is seeded, as in training
            torch.manual_seed(0)
            return policy.imitation_cost(condition, chunks, valid, 0.0)

    _require_equal(
        "imitation_cost looks at steps past the episode's end; mask them with step_valid",
        cost(actions),
        cost(torch.where(valid[..., None], actions, -actions)),
    )


def _check_candidates(policy: ChunkPolicy, observation: Observation, prefix: Tensor) -> None:
    candidates = _candidates(policy, observation, prefix)
    _require_equal(
        "the same generator gives other chunks; draw everything random from it",
        candidates,
        _candidates(policy, observation, prefix),
    )
    condition = policy.condition(observation, prefix)
    latents = policy.draw_latents(ROWS, CANDIDATES, 1.0, _seeded(0))
    for n in range(CANDIDATES):
        _require_close(
            "a candidate depends on the others; turn each latent into its chunk by itself",
            policy.to_chunks(latents[:, n : n + 1], condition)[:, 0],
            policy.to_chunks(latents, condition)[:, n],
        )

    def chunks(rows: slice) -> Tensor:
        seen = {key: value[rows] for key, value in observation.items()}
        return policy.to_chunks(latents[rows], policy.condition(seen, prefix[rows]))

    _require_rows_apart("chunks", chunks)
    policy.set_dropout(0.5)
    _require_equal(
        "dropout acts outside training; leave it to nn.Dropout",
        candidates,
        _candidates(policy, observation, prefix),
    )


def _check_gradients(
    policy: ChunkPolicy, observation: Observation, prefix: Tensor, actions: Tensor
) -> None:
    condition = policy.condition(observation, prefix)
    valid = torch.ones(actions.shape[:2], dtype=torch.bool)
    cost = policy.imitation_cost(condition, actions, valid, 0.0).sum()
    _require_gradients("imitation_cost", policy, cost)
    if not _candidates(policy, observation, prefix).requires_grad:
        raise NetworkContractError(
            "no gradient passes from chunks into the policy; keep to_chunks free of no_grad and "
            "detach, or a critic cannot improve it"
        )


def _candidates(policy: ChunkPolicy, observation: Observation, prefix: Tensor) -> Tensor:
    condition = policy.condition(observation, prefix)
    return policy.sample(CANDIDATES, 0.7, condition, ROWS, _seeded(0))


def _example(
    inputs: ModelInputs, encoder: EncoderConfig, seed: int
) -> tuple[Observation, Tensor, Tensor]:
    """A raw observation, a normalised prefix and a normalised chunk, `ROWS` rows each."""
    generator = _seeded(seed)
    observation: Observation = {}
    for key in encoder.keys_among(inputs.observation_shapes):
        shape = (ROWS, inputs.chunk.history_length, *inputs.observation_shapes[key])
        if is_image_key(key):
            frames = torch.randint(0, 256, shape, generator=generator)
            observation[key] = frames.to(torch.uint8)
        else:
            observation[key] = torch.randn(shape, generator=generator)
    steps = inputs.chunk.prefix_length + inputs.chunk.chunk_length
    actions = torch.rand(ROWS, steps, inputs.action_dim, generator=generator) * 1.6 - 0.8
    prefix_length = inputs.chunk.prefix_length
    return observation, actions[:, :prefix_length], actions[:, prefix_length:]


def _moved_copy(network: Network, seed: int) -> Network:
    """In evaluation mode, in float32, all weights moved a little."""
    moved = copy.deepcopy(network).eval().float().cpu()
    generator = _seeded(seed + 1)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return moved


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _require_known(kinds: Kinds[Any], kind: str, found: type) -> None:
    try:
        known = kinds.find(kind)
    except SoftflowError as error:
        raise NetworkContractError(
            f'its configuration has the kind "{kind}", by which a checkpoint will not find it '
            f"again: {error}"
        ) from error
    if known is not found:
        raise NetworkContractError(
            f'its configuration has the kind "{kind}", which is {known.__name__}, not '
            f"{found.__name__}; give its Config the kind of its own class"
        )


def _require_shape(what: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        raise NetworkContractError(f"{what} has shape {tuple(value.shape)}; return {shape}")
    if value.dtype != torch.float32:
        raise NetworkContractError(f"{what} has dtype {value.dtype}; return torch.float32")
    if not value.isfinite().all():
        raise NetworkContractError(f"{what} is not finite: {value.flatten()[:5].tolist()} …")


def _require_equal(otherwise: str, ours: Tensor, theirs: Tensor) -> None:
    if not torch.equal(ours, theirs):
        raise NetworkContractError(otherwise)


def _require_close(otherwise: str, ours: Tensor, theirs: Tensor) -> None:
    if not torch.allclose(ours, theirs, rtol=CLOSE, atol=CLOSE):
        gap = (ours - theirs).abs().max().item()
        raise NetworkContractError(f"{otherwise} (they differ by {gap:.2g})")


def _require_rows_apart(what: str, of_rows: Callable[[slice], Tensor]) -> None:
    everything = of_rows(slice(None))
    for row in range(ROWS):
        _require_close(
            f"the {what} of a row depend on the other rows; normalise nothing over the batch in "
            "evaluation",
            of_rows(slice(row, row + 1))[0],
            everything[row],
        )


def _require_gradients(what: str, network: nn.Module, total: Tensor) -> None:
    network.zero_grad()
    total.backward()
    idle = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    if idle:
        raise NetworkContractError(
            f"{what} does not reach the weights {', '.join(idle[:3])}; use them or remove them"
        )
