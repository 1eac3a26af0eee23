"""The measuring sticks learn what they are meant to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import point_world
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peer_jobs import STICKS, replay_of, small
from torch import Tensor

from benchmarks.peers.method import Method, MethodConfig, Sizes
from benchmarks.peers.replay import Batch, Replay, Windows
from benchmarks.peers.sticks.expo import ExpoConfig
from benchmarks.peers.sticks.gaussian import SquashedGaussian
from benchmarks.peers.sticks.networks import Critics, EnsembleLinear, EnsembleMlp, frozen
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode

# ---- replay ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 12),
    chunk=st.integers(1, 5),
    discount=st.floats(0.5, 1.0),
    terminated=st.booleans(),
    seed=st.integers(0, 99),
)
def test_transitions_are_those_of_a_naive_loop(
    length: int, chunk: int, discount: float, terminated: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(length + 1, 2)).astype(np.float32)
    actions = rng.uniform(-2, 4, (length, 1)).astype(np.float32)
    rewards = rng.integers(0, 2, length).astype(np.float32)
    episode = Episode({STATE_KEY: states}, actions, rewards, terminated, not terminated, terminated)
    spec = DataSpec({STATE_KEY: (2,)}, 1, (-2.0,), (4.0,), 10.0)
    found = Windows.of(spec, chunk, discount, -1.0).transitions(episode)
    for start in range(length):
        earned, factor, steps = 0.0, 1.0, 0
        for step in range(start, min(start + chunk, length)):
            earned += factor * (rewards[step] - 1)
            factor *= discount
            steps += 1
            expected = (actions[step, 0] + 2) / 3 - 1
            assert found.chunks[start, step - start, 0] == pytest.approx(expected, abs=1e-6)
        assert found.valid[start].tolist() == [1.0] * steps + [0.0] * (chunk - steps)
        assert found.rewards[start] == pytest.approx(earned, abs=1e-5)
        ended = terminated and start + chunk >= length
        assert found.discounts[start] == pytest.approx(0.0 if ended else factor, abs=1e-6)
        np.testing.assert_array_equal(found.observations[start], states[start])
        np.testing.assert_array_equal(found.next_observations[start], states[start + steps])
    assert found.success.tolist() == [float(terminated)] * length


def test_actions_go_to_the_box_and_back() -> None:
    spec = DataSpec({STATE_KEY: (2,)}, 2, (-2.0, 0.0), (4.0, 0.5), 10.0)
    windows = Windows.of(spec, 1, 0.9, 0.0)
    actions = np.array([[-2.0, 0.5], [1.0, 0.25]], np.float32)
    assert windows.scaled(actions).tolist() == [[-1.0, 1.0], [0.0, 0.0]]
    np.testing.assert_allclose(windows.unscaled(windows.scaled(actions)), actions, atol=1e-6)


def test_batches_mix_as_asked(demonstrations: Path) -> None:
    replay = replay_of(demonstrations, small(STICKS["qc"]))
    torch.manual_seed(0)
    assert len(replay.draw(10, 0.5)) == 10  # nothing was collected yet
    collected = point_world.demonstration(77, towards_goal=True)
    replay.add(collected)
    assert replay.online is not None
    known = {tuple(row) for row in replay.online.observations.tolist()}

    def online_share(ratio: float | None, draws: int = 50) -> float:
        batches = [replay.draw(64, ratio).observations.tolist() for _ in range(draws)]
        return float(np.mean([tuple(row) in known for batch in batches for row in batch]))

    assert online_share(0.25) == 0.75
    by_size = collected.length / (collected.length + len(replay.offline))
    assert online_share(None) == pytest.approx(by_size, abs=0.01)


# ---- networks -------------------------------------------------------------------------------


def test_an_ensemble_is_its_members() -> None:
    torch.manual_seed(0)
    ensemble = EnsembleMlp(3, 4, (8, 8), 2)
    for parameter in ensemble.parameters():
        torch.nn.init.normal_(parameter)
    inputs = torch.randn(5, 4)
    for member in range(3):
        rows = inputs
        *hidden, last = ensemble.layers
        for layer, scale, shift in zip(hidden, ensemble.scales, ensemble.shifts, strict=True):
            assert isinstance(layer, EnsembleLinear)
            rows = rows @ layer.weight[member] + layer.bias[member]
            rows = torch.nn.functional.layer_norm(rows, (8,), scale[member, 0], shift[member, 0])
            rows = torch.nn.functional.gelu(rows)
        assert isinstance(last, EnsembleLinear)
        rows = rows @ last.weight[member] + last.bias[member]
        torch.testing.assert_close(ensemble(inputs)[member], rows)
    some = torch.tensor([2, 0])
    torch.testing.assert_close(ensemble(inputs, some), ensemble(inputs)[some])


def test_candidates_are_valued_like_single_chunks() -> None:
    critics = Critics(2, 3, 4, (8,))
    observations, chunks = torch.randn(5, 3), torch.randn(5, 6, 4)
    values = critics.values_of_candidates(observations, chunks)
    for index in range(6):
        torch.testing.assert_close(
            values[:, :, index], critics.values(observations, chunks[:, index])
        )


def test_frozen_networks_pass_the_gradient_on() -> None:
    critics = Critics(2, 3, 4, (8,))
    chunks = torch.randn(5, 4, requires_grad=True)
    with frozen(critics):
        critics.values(torch.randn(5, 3), chunks).sum().backward()
    assert chunks.grad is not None
    assert chunks.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in critics.parameters())
    assert all(parameter.requires_grad for parameter in critics.parameters())


def test_the_squashed_gaussian_knows_its_density() -> None:
    torch.manual_seed(0)
    actor = SquashedGaussian(3, (8,), 4).double()
    inputs = torch.randn(50, 3, dtype=torch.float64)
    torch.set_default_dtype(torch.float64)
    try:
        chunks, log_prob = actor.sample(inputs)
    finally:
        torch.set_default_dtype(torch.float32)
    mean, log_std = actor.net(inputs).chunk(2, dim=-1)
    normal = torch.distributions.Normal(mean, log_std.exp())
    expected = normal.log_prob(torch.atanh(chunks)) - torch.log1p(-chunks.square())
    torch.testing.assert_close(log_prob, expected.sum(dim=-1), rtol=1e-6, atol=1e-6)


# ---- methods --------------------------------------------------------------------------------


def made(config: MethodConfig) -> Method:
    torch.manual_seed(0)
    return config.make(Sizes(4, 2, config.chunk_length))


def learned(
    method: Method, replay: Replay, config: MethodConfig, updates: int
) -> dict[str, Tensor]:
    metrics: dict[str, list[Tensor]] = {}
    for _ in range(updates):
        for name, value in method.update(replay.draw(config.batch_size, None)).items():
            metrics.setdefault(name, []).append(value)
    return {name: torch.stack(values) for name, values in metrics.items()}


@pytest.mark.parametrize("name", STICKS)
def test_updates_lower_the_losses(name: str, demonstrations: Path) -> None:
    config = small(STICKS[name])
    replay = replay_of(demonstrations, config)
    # Without a bootstrap the critic's target stands still.
    replay.offline = replace(replay.offline, discounts=torch.zeros(len(replay.offline)))
    metrics = learned(made(config), replay, config, 80)
    losses = {key: values for key, values in metrics.items() if key.endswith("loss")}
    assert "critic_loss" in losses
    for key, values in losses.items():
        assert values.isfinite().all(), key
        share = 0.85 if key == "bc_loss" else 0.3  # what noise adds cannot be learned
        assert values[-20:].mean() < share * values[:3].mean(), key


@pytest.mark.parametrize("name", STICKS)
def test_decisions_follow_from_the_generator_and_stay_in_the_box(name: str) -> None:
    config = small(STICKS[name])
    method = made(config)
    observations = 3 * torch.randn(4, 4)

    def act(seed: int) -> Tensor:
        return method.act(observations, torch.Generator().manual_seed(seed), explore=True)

    assert act(0).shape == (4, config.chunk_length, 2)
    assert act(0).abs().max() <= 1
    assert torch.equal(act(0), act(0))
    assert not torch.equal(act(0), act(1))


@pytest.mark.parametrize("name", STICKS)
def test_targets_stop_at_the_end_and_cut_chunks_have_no_value(
    name: str, demonstrations: Path
) -> None:
    config = small(STICKS[name], learning_rate=0.0)
    batch = replay_of(demonstrations, config).offline[torch.arange(40)]
    other = torch.randn(40, 4)

    def loss(batch: Batch) -> float:
        torch.manual_seed(1)
        method = config.make(Sizes(4, 2, config.chunk_length))
        return float(method.update(batch)["critic_loss"])

    ended = replace(batch, discounts=torch.zeros(40))
    assert loss(ended) == loss(replace(ended, next_observations=other))
    assert loss(batch) != loss(replace(batch, next_observations=other))
    cut = batch.valid.clone()
    cut[:, -1] = 0
    assert loss(replace(batch, valid=cut)) == 0


def test_expo_imitates_successes_alone_if_asked(demonstrations: Path) -> None:
    config = small(ExpoConfig(imitate="successes"))
    batch = replay_of(demonstrations, config).offline[torch.arange(40)]
    failed = replace(batch, success=torch.zeros(40))
    assert made(config).update(failed)["bc_loss"] == 0
    assert made(config).update(batch)["bc_loss"] > 0


def test_expo_edits_are_small_and_half_of_the_candidates_have_none() -> None:
    method: Any = made(small(ExpoConfig(edit_scale=0.1)))
    candidates = method.candidates(torch.randn(3, 4), 5)
    assert candidates.shape == (3, 10, 6)
    differences = (candidates[:, 5:] - candidates[:, :5]).abs()
    assert 0 < differences.max() <= 0.1 + 1e-6
