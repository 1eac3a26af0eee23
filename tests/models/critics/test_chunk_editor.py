"""Edits of chunks: their density, what they may change, and how they stand beside candidates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import ConfigError
from softflow.models.action_selection import ChunkSelector, SelectionConfig, select_by_value
from softflow.models.critic import CriticEnsemble
from softflow.models.critics.chunk_editor import GROWS_OVER, ChunkEditor
from softflow.models.critics.mlp_critic import MlpCriticConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.inputs import ModelInputs
from softflow.models.policies.flow_policy import FlowPolicy
from softflow.models.value_distribution import ValueSupport

CHUNK = ChunkSpec(4, 3, prefix_length=1, history_length=2)
LIMIT, SCALE = 0.9, 0.3
EditingCritic = Callable[..., CriticEnsemble]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def editing_critic(make_inputs: Callable[..., ModelInputs]) -> EditingCritic:
    """`editing_critic(strength)`: a float64 ensemble with an editor that has grown so far."""

    def make(strength: float = 1.0, scale: float = SCALE) -> CriticEnsemble:
        torch.manual_seed(7)
        config = MlpCriticConfig(hidden_dim=8, num_bins=13, edit_scale=scale)
        encoder = StateMlpConfig(token_dim=8, hidden_dim=7, state_tokens=2)
        support = ValueSupport(-1.0, 2.0, num_bins=13)
        critic = CriticEnsemble(make_inputs(CHUNK, 2), support, config, encoder)
        if critic.editor is not None:
            critic.editor.strength.fill_(strength)
        return critic.double().eval()

    return make


def test_the_density_against_torch_distributions() -> None:
    torch.manual_seed(0)
    editor = ChunkEditor(6, 3, 2, 2.0, torch.tensor([], dtype=torch.long)).double()
    assert not editor(torch.zeros(1, 2, 3).double(), torch.zeros(1, 1, 3, 2).double())[0].any()
    editor.strength.fill_(1.0)
    tokens, chunks = torch.randn(5, 2, 3).double(), torch.randn(5, 4, 3, 2).double()
    changes, log_prob = editor(tokens, chunks, seeded())
    rows = torch.cat([tokens.flatten(1)[:, None].expand(-1, 4, -1), chunks.flatten(2)], dim=-1)
    mean, log_std = editor.net(rows).chunk(2, dim=-1)
    squashed = TransformedDistribution(
        Independent(Normal(mean, log_std.exp()), 1), [TanhTransform()]
    )
    torch.testing.assert_close(squashed.log_prob(changes.flatten(2)), log_prob)
    assert editor.entropy_aim == -3.0
    assert editor.log_weight.exp().item() == pytest.approx(0.02)


def test_edits_grow_update_by_update(editing_critic: EditingCritic) -> None:
    critic = editing_critic(0.0)
    assert critic.editor is not None
    tokens = torch.randn(3, critic.encoder.num_tokens, 8).double()
    chunks = torch.zeros(3, 2, 4, 2).double()
    sizes = []
    for _ in range(2):
        for _ in range(GROWS_OVER // 4):
            critic.editor.grow()
        edited, _ = critic.edited(tokens, chunks, LIMIT, seeded())
        sizes.append(edited[:, :, :3])
    torch.testing.assert_close(sizes[1], 2 * sizes[0])
    for _ in range(GROWS_OVER):
        critic.editor.grow()
    torch.testing.assert_close(
        critic.edited(tokens, chunks, LIMIT, seeded())[0][:, :, :3], 4 * sizes[0]
    )
    assert critic.editor.strength == 1


def test_edits_stay_near_inside_and_off_what_is_not_read(editing_critic: EditingCritic) -> None:
    critic = editing_critic()
    tokens = torch.randn(6, critic.encoder.num_tokens, 8, generator=seeded()).double()
    chunks = (torch.rand(6, 5, 4, 2, generator=seeded(1)).double() * 2 - 1) * LIMIT
    edited, log_prob = critic.edited(tokens, chunks, LIMIT, seeded())
    off = (edited - chunks).abs()
    assert off[:, :, :3].max() <= SCALE * LIMIT + 1e-12
    assert off[:, :, :3].max() > 0.5 * SCALE * LIMIT
    assert not off[:, :, 3:].any(), "the critic reads three actions of four"
    assert edited.abs().max() <= LIMIT
    assert log_prob.shape == (6, 5)
    again, _ = critic.edited(tokens, chunks, LIMIT, seeded())
    assert torch.equal(again, edited)


def test_what_never_changed_in_the_data_is_not_edited(editing_critic: EditingCritic) -> None:
    critic = editing_critic()
    assert critic.editor is not None
    critic.editor.constant = torch.tensor([1])
    chunks = torch.zeros(2, 3, 4, 2).double()
    tokens = torch.randn(2, critic.encoder.num_tokens, 8).double()
    edited, log_prob = critic.edited(tokens, chunks, LIMIT, seeded())
    critic.editor.constant = torch.tensor([0])
    _, of_the_other = critic.edited(tokens, chunks, LIMIT, seeded())
    critic.editor.constant = torch.tensor([], dtype=torch.long)
    _, of_both = critic.edited(tokens, chunks, LIMIT, seeded())
    torch.testing.assert_close(log_prob + of_the_other, of_both)
    assert edited[:, :, :3, 0].all()
    assert not edited[..., 1].any()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_an_edited_chunk_stands_beside_each_candidate(
    editing_critic: EditingCritic,
    make_policy: Callable[..., FlowPolicy],
    make_observation: Callable[..., tuple[dict[str, Tensor], Tensor]],
    strength: float,
) -> None:
    policy, critic = make_policy(CHUNK), editing_critic(strength)
    observation, prefix = make_observation(CHUNK, batch=5)
    condition = policy.condition(observation, prefix)
    tokens = critic.encoder(observation, prefix)
    found = select_by_value(policy, condition, critic, tokens, 4, 1.0, generator=seeded())
    plain, edited = found.candidates.chunk(2, dim=1)
    sampled, _ = policy.flow.sample(4, 1.0, condition, seeded())
    torch.testing.assert_close(plain, sampled.clamp(-LIMIT, LIMIT))
    assert torch.equal(plain, edited) == (strength == 0)
    values = critic.value(tokens, found.candidates)
    torch.testing.assert_close(found.candidate_values, values)
    torch.testing.assert_close(found.value, values.amax(dim=1))
    best = found.candidates[torch.arange(5), values.argmax(dim=1)]
    assert torch.equal(found.actions, best)
    pathwise = select_by_value(policy, condition, critic, tokens, 4, 1.0, pathwise=True)
    assert pathwise.candidates.shape[1] == 4


def test_an_editor_that_has_learned_nothing_changes_no_decision(
    editing_critic: EditingCritic,
    make_policy: Callable[..., FlowPolicy],
    make_observation: Callable[..., tuple[dict[str, Tensor], Tensor]],
) -> None:
    policy, critic, without = make_policy(CHUNK), editing_critic(0.0), editing_critic(scale=0.0)
    assert without.editor is None
    without.load_state_dict(
        {k: v for k, v in critic.state_dict().items() if not k.startswith("editor.")}
    )
    observation, prefix = make_observation(CHUNK, batch=5)
    how = SelectionConfig(6, 1.0)
    decided = [
        ChunkSelector(policy, one, how)(observation, prefix, seeded()) for one in (critic, without)
    ]
    assert torch.equal(*decided)


def test_a_scale_that_is_none_is_refused() -> None:
    for scale in (-0.1, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="edit_scale"):
            MlpCriticConfig(edit_scale=scale)
