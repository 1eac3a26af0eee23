"""Two worlds whose values are known: what the critic may read, and how far it can count."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from point_world import tiny_config

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.training.config import TrainingConfig
from softflow.training.learner import Learner
from softflow.training.returns import value_range
from softflow.training.training_data import TrainingData

SPEC = DataSpec({STATE_KEY: (1,)}, 1, (-1.0,), (1.0,), 10.0)


def episode(states: list[float], actions: list[float], rewards: list[float]) -> Episode:
    """An episode of a task that ends, or is cut off where nothing was earned in the last step."""
    return Episode(
        {STATE_KEY: np.asarray(states, np.float32)[:, None]},
        np.asarray(actions, np.float32)[:, None],
        np.asarray(rewards, np.float32),
        terminated=len(rewards) == 2,
        truncated=len(rewards) != 2,
        success=True,
    )


def coin_episode(first: float, coin: float, told: float) -> Episode:
    """A coin decides on the reward; step 1 shows it, and the second action tells of it."""
    return episode([0.0, coin, coin], [first, told], [0.0, float(coin > 0)])


def config_of(chunk: ChunkSpec, discount: float) -> TrainingConfig:
    config = tiny_config(discount=discount, tau=0.3)
    warmup = replace(config.critic_warmup, batch_size=32, learning_rate=1e-2, dropout=0.0)
    critic = replace(config.model.critic, dropout=0.0, num_critics=1)  # type: ignore[call-arg]
    model = replace(config.model, chunk=chunk, critic=critic)
    return replace(config, model=model, critic_warmup=warmup)


def trained_critic(
    offline: Path, seen: Path, config: TrainingConfig, num_updates: int
) -> tuple[Learner, TrainingData]:
    """A critic whose support comes from `offline`, trained on the episodes of `seen`."""
    torch.manual_seed(0)
    data = TrainingData(offline, config)
    learner = Learner(config, data.inputs, data.value_support)
    learner.set_up(config.critic_warmup)
    batches = ChunkSampler(TrainingData(seen, config).offline, 32, 0, "test")
    for update in range(num_updates):
        learner.critic_update(batches.batch(update), config.critic_warmup)
    learner.critic.eval()
    return learner, data


@pytest.mark.slow
def test_the_tail_of_a_recorded_chunk_does_not_tell_the_outcome(tmp_path: Path) -> None:
    """H = 2, E = 1: the second action is never executed, and the recorded one knows the coin."""
    with EpisodeStore.create(tmp_path / "coins", SPEC) as store:
        for first, coin in itertools.product((-1.0, 1.0), repeat=2):
            for honest in (True, True, True, False):
                store.append(coin_episode(first, coin, coin if honest else -coin))
    config = config_of(ChunkSpec(chunk_length=2, execution_horizon=1), 0.99)
    learner, _ = trained_critic(tmp_path / "coins", tmp_path / "coins", config, 500)
    chunks = torch.tensor([[[1.0], [1.0]], [[1.0], [-1.0]], [[-1.0], [1.0]], [[-1.0], [-1.0]]])
    start = {STATE_KEY: torch.zeros(1, 2, 1)[:, :1]}
    tokens = learner.critic.encoder(start, torch.zeros(1, 0, 1))
    values = learner.critic.values(tokens, 0.9 * chunks[None]).mean(dim=0)[0]
    assert values.tolist() == pytest.approx([0.495] * 4, rel=0.05)
    assert values[0] == values[1], "the tail is not looked at"


@pytest.mark.slow
def test_rewards_that_come_five_times_as_fast_have_their_value(tmp_path: Path) -> None:
    """A reward in every fifth step, then in every step: 1 / (1 - 0.97) = 33.3, not 6.3."""
    generator = np.random.default_rng(0)

    def turning(every: int) -> Episode:
        steps = 200
        states, actions = generator.normal(size=steps + 1), generator.uniform(-1, 1, steps)
        rewards = [float(step % every == every - 1) for step in range(steps)]
        return episode(states.tolist(), actions.tolist(), rewards)

    for name, every in (("slow", 5), ("fast", 1)):
        with EpisodeStore.create(tmp_path / name, SPEC) as store:
            store.append(turning(every))
            store.append(turning(every))
    config = config_of(ChunkSpec(chunk_length=20, execution_horizon=20), 0.97)
    learner, data = trained_critic(tmp_path / "slow", tmp_path / "fast", config, 500)
    assert data.value_support.high > 33.3
    batch = ChunkSampler(TrainingData(tmp_path / "fast", config).offline, 64, 1, "test").batch(0)
    actions = learner.policy.normalize_actions(batch.actions, batch.observation)
    tokens = learner.critic.encoder(batch.observation, batch.prefix_actions)
    values = learner.critic.values(tokens, actions[:, None]).mean(dim=0)
    assert values.mean().item() == pytest.approx(1 / 0.03, rel=0.05)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        # One reward an episode: nothing is worth more than the quickest success.
        ([[0, 0, 1], [0, 0, 0, 0]], (0.0, 1.0)),
        ([[0, 0, 0]], (0.0, 0.0)),
        # Repeated: ten times the best return, below a reward in every step (2 / (1 - 0.9)).
        ([[1, 1]], (0.0, 10.0)),
        ([[2, 0, 0, 2]], (0.0, 20.0)),
        ([[0, 1, 1], [0, -1, 0]], (-10.0, 10.0)),
        ([[-1, -1, -1, -1]], (-10.0, 0.0)),
    ],
)
def test_the_range_of_values(rewards: list[list[float]], expected: tuple[float, float]) -> None:
    found = value_range([np.asarray(episode, np.float32) for episode in rewards], 0.9)
    assert found == pytest.approx(expected)


def test_without_discount_the_data_bound_repeated_rewards() -> None:
    assert value_range([np.ones(4, np.float32)], 1.0) == (0.0, 40.0)


def with_range(low: float | None, high: float | None) -> TrainingConfig:
    config = tiny_config()
    critic = replace(config.model.critic, value_low=low, value_high=high)
    return replace(config, model=replace(config.model, critic=critic))


def test_a_configured_range_counts(demonstrations: Path) -> None:
    support = TrainingData(demonstrations, with_range(-2.0, 3.0)).value_support
    margin = 5 * 5.0 / 90
    assert (support.low, support.high) == pytest.approx((-2.0 - margin, 3.0 + margin))
    half = TrainingData(demonstrations, with_range(None, 3.0)).value_support
    assert half.low == pytest.approx(-5 * 3.0 / 90)


def test_an_impossible_range_is_refused(demonstrations: Path) -> None:
    with pytest.raises(ConfigError, match=r"value_low 3\.0 must be below critic\.value_high 2\.0"):
        with_range(3.0, 2.0)
    with pytest.raises(ConfigError, match="value_high is inf; give a finite return"):
        with_range(None, float("inf"))
    with pytest.raises(ConfigError, match=r"value_low 5\.0 is above 1\.0, the highest return"):
        _ = TrainingData(demonstrations, with_range(5.0, None)).value_support
