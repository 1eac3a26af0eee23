"""Returns of chunked decisions, worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.returns import decision_return, monte_carlo_returns, td_target

STATE = "observation.state"
SPEC = DataSpec({STATE: (1,)}, 1, (-100.0,), (100.0,), 10.0)
GAMMA = 0.5
NEXT_VALUE = 10.0


def episode(rewards: list[float], terminated: bool) -> Episode:
    """Observation t is t, action t is t; so a batch says which step it took."""
    steps = len(rewards)
    return Episode(
        {STATE: np.arange(steps + 1, dtype=np.float32)[:, None]},
        np.arange(steps, dtype=np.float32)[:, None],
        np.asarray(rewards, np.float32),
        terminated=terminated,
        truncated=not terminated,
        success=terminated,
    )


def all_windows(path: Path, chunk: ChunkSpec, recorded: Episode) -> ChunkBatch:
    with EpisodeStore.create(path, SPEC) as store:
        store.append(recorded)
        dataset = ChunkDataset(store, chunk, offline=False)
        return dataset.gather(np.arange(dataset.num_windows))


def targets(batch: ChunkBatch) -> list[float]:
    value = torch.full((batch.batch_size,), NEXT_VALUE)
    target = td_target(batch.rewards, batch.num_steps, batch.bootstrap_mask, value, GAMMA)
    return target.tolist()


def test_termination_stops_the_bootstrap(tmp_path: Path) -> None:
    batch = all_windows(tmp_path, ChunkSpec(3, 3), episode([0, 0, 0, 0, 1], terminated=True))
    # Steps 0 and 1 decide again before the end: 0.5^3 * 10. The others see the reward
    # 2, 1 and 0 steps later, and nothing after it.
    assert targets(batch) == [1.25, 1.25, 0.25, 0.5, 1.0]


def test_truncation_bootstraps_from_the_last_observation(tmp_path: Path) -> None:
    batch = all_windows(tmp_path, ChunkSpec(3, 3), episode([1, 2, 4, 8], terminated=False))
    assert targets(batch) == [
        1 + 2 / 2 + 4 / 4 + 10 / 8,
        2 + 4 / 2 + 8 / 4 + 10 / 8,  # ends exactly with the episode
        4 + 8 / 2 + 10 / 4,  # cut: two steps, so 0.5^2
        8 + 10 / 2,
    ]
    assert batch.next_observation[STATE].flatten().tolist() == [3, 4, 4, 4]


def test_execution_horizon_below_the_chunk_length(tmp_path: Path) -> None:
    batch = all_windows(tmp_path, ChunkSpec(4, 2), episode([1, 2, 4, 8], terminated=True))
    # Only E = 2 rewards belong to the decision, whatever H.
    assert targets(batch) == [1 + 1 + 10 / 4, 2 + 2 + 10 / 4, 4 + 4, 8]
    assert batch.num_steps.tolist() == [2, 2, 2, 1]


def test_a_prefix_shifts_the_chunk_but_not_the_rewards(tmp_path: Path) -> None:
    chunk = ChunkSpec(chunk_length=3, execution_horizon=2, prefix_length=2)
    batch = all_windows(tmp_path, chunk, episode([1, 2, 4, 8, 16], terminated=True))
    # While the chunk a[t+2 : t+5] is being predicted, a[t : t+2] is executed and rewarded.
    assert targets(batch) == [
        1 + 1 + 10 / 4,
        2 + 2 + 10 / 4,
        4 + 4 + 10 / 4,
        8 + 8,
        16,
    ]
    assert batch.prefix_actions[0].flatten().tolist() == [0, 1]
    assert batch.actions[0].flatten().tolist() == [2, 3, 4]
    assert batch.next_prefix_actions[0].flatten().tolist() == [2, 3]


def test_a_cut_chunk_is_padded_and_masked_not_dropped(tmp_path: Path) -> None:
    chunk = ChunkSpec(chunk_length=3, execution_horizon=3, prefix_length=1)
    batch = all_windows(tmp_path, chunk, episode([0, 1], terminated=True))
    assert targets(batch) == [0.5, 1.0]
    assert batch.actions.squeeze(-1).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert batch.step_valid.tolist() == [[True, False, False], [False, False, False]]
    assert batch.rewards.tolist() == [[0, 1, 0], [1, 0, 0]]


def test_the_discount_counts_control_steps() -> None:
    rewards = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    expected = [1 + 0.997 + 0.997**2, 2 * 0.997**2]
    assert decision_return(rewards, 0.997).tolist() == pytest.approx(expected, abs=1e-15)


def test_reward_to_go_by_hand() -> None:
    assert monte_carlo_returns(np.array([1.0, 0.0, 2.0]), 0.5).tolist() == [1.5, 1.0, 2.0]


@given(
    rewards=st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=12),
    horizon=st.integers(1, 5),
    discount=st.floats(0.1, 1.0),
)
def test_decisions_chained_to_the_end_are_the_reward_to_go(
    rewards: list[float], horizon: int, discount: float
) -> None:
    """Second derivation: bootstrapping from the true return gives the true return everywhere."""
    truth = monte_carlo_returns(np.array(rewards), discount)
    for t in range(len(rewards)):
        steps = min(horizon, len(rewards) - t)
        window = torch.zeros(1, horizon, dtype=torch.float64)
        window[0, :steps] = torch.tensor(rewards[t : t + steps], dtype=torch.float64)
        ends = t + steps == len(rewards)
        next_value = torch.tensor([123.0 if ends else truth[t + steps]], dtype=torch.float64)
        mask = torch.tensor([0.0 if ends else 1.0], dtype=torch.float64)
        target = td_target(window, torch.tensor([steps]), mask, next_value, discount)
        assert target.item() == pytest.approx(truth[t], abs=1e-9)
