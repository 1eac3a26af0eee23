"""With a prefix, deployment begins by holding still; demonstrations get windows that do, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.source_weights import SourceWeights, WindowDraws

STATE = "observation.state"
STILL = -3.0
SPEC = DataSpec({STATE: (1,)}, 1, (-1e3,), (1e3,), 10.0, neutral_action=(STILL,))
LENGTHS = (6, 2, 9)


def recorded(number: int, length: int, still: int = 0) -> Episode:
    """Observation and action say 100 k + t; `still` neutral steps stand in front of it."""
    steps = 100.0 * number + np.arange(length + 1, dtype=np.float32)[:, None]
    states = np.concatenate([np.repeat(steps[:1], still, axis=0), steps])
    actions = np.concatenate([np.full((still, 1), STILL, np.float32), steps[:-1]])
    rewards = np.concatenate([np.zeros(still), np.arange(1, length + 1)]).astype(np.float32)
    ends = number % 2 == 0
    return Episode({STATE: states}, actions, rewards, ends, not ends, ends, {"source": str(number)})


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    with EpisodeStore.create(tmp_path / "store", SPEC) as store:
        for number, length in enumerate(LENGTHS):
            store.append(recorded(number, length))
        return store


@pytest.mark.parametrize(
    "chunk",
    [
        ChunkSpec(4, 3, prefix_length=2, history_length=3),
        ChunkSpec(5, 1, prefix_length=3),
        ChunkSpec(1, 1, prefix_length=1),
        ChunkSpec(12, 12, prefix_length=8, history_length=2),
    ],
)
def test_a_start_window_is_what_a_recording_that_began_still_would_give(
    store: EpisodeStore, tmp_path: Path, chunk: ChunkSpec
) -> None:
    """The second derivation: record P neutral steps in front, and take that recording's step 0."""
    data = ChunkDataset(store, chunk)
    assert data.num_windows == sum(LENGTHS) + len(LENGTHS)
    with EpisodeStore.create(tmp_path / "still", SPEC) as other:
        for number, length in enumerate(LENGTHS):
            other.append(recorded(number, length, still=chunk.prefix_length))
    longer = ChunkDataset(other, chunk, offline=False)
    lengths = np.array(LENGTHS) + chunk.prefix_length
    starts = np.cumsum(np.array(LENGTHS) + 1) - np.array(LENGTHS) - 1
    ours, theirs = data.gather(starts), longer.gather(np.cumsum(lengths) - lengths)
    for name in (
        "prefix_actions", "actions", "step_valid", "rewards", "num_steps", "next_prefix_actions",
        "bootstrap_mask", "episode_success",
    ):  # fmt: skip
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(ours.observation[STATE], theirs.observation[STATE])
    assert torch.equal(ours.next_observation[STATE], theirs.next_observation[STATE])
    assert (ours.prefix_actions == STILL).all()


def test_all_other_windows_are_as_before(store: EpisodeStore) -> None:
    chunk = ChunkSpec(4, 3, prefix_length=2, history_length=3)
    data, plain = ChunkDataset(store, chunk), ChunkDataset(store, chunk, offline=False)
    assert plain.num_windows == sum(LENGTHS)
    starts = np.cumsum(np.array(LENGTHS) + 1) - np.array(LENGTHS) - 1
    others = np.setdiff1d(np.arange(data.num_windows), starts)
    ours, theirs = data.gather(others), plain.gather(np.arange(plain.num_windows))
    assert torch.equal(ours.actions, theirs.actions)
    assert torch.equal(ours.rewards, theirs.rewards)
    assert torch.equal(ours.observation[STATE], theirs.observation[STATE])
    assert torch.equal(ours.window, torch.from_numpy(others))


def test_subsets_growing_and_weights_keep_them(store: EpisodeStore) -> None:
    chunk = ChunkSpec(4, 4, prefix_length=2)
    data = ChunkDataset(store, chunk)
    assert data.subset([2, 0]).num_windows == 10 + 7
    grown = ChunkDataset(store, chunk, episodes=[0])
    grown.add_episodes([1, 2])
    windows = np.arange(data.num_windows)
    assert torch.equal(grown.gather(windows).actions, data.gather(windows).actions)
    draws = WindowDraws(data, SourceWeights({"0": 1.0, "1": 0.0, "2": 1.0}))
    drawn = set(draws.draw(np.random.default_rng(0), 2000).tolist())
    assert drawn == {*range(7), *range(10, 20)}, "start windows are drawn like all others"


def test_without_a_prefix_there_is_none(store: EpisodeStore) -> None:
    assert ChunkDataset(store, ChunkSpec(4, 4)).num_windows == sum(LENGTHS)


def test_how_a_robot_is_held_still() -> None:
    plain = DataSpec({STATE: (1,)}, 2, (-1.0, 0.5), (1.0, 2.0), 10.0)
    assert plain.held_still == (0.0, 0.5)
    assert "neutral_action" not in plain.to_json()
    assert DataSpec.from_json(SPEC.to_json()) == SPEC
    assert SPEC.held_still == (STILL,)
    assert SPEC.differences(DataSpec.from_json(SPEC.to_json() | {"neutral_action": []})) == []
    with pytest.raises(DataError, match=r"neutral_action is .*; give 1 finite values"):
        DataSpec.from_json(SPEC.to_json() | {"neutral_action": [1.0, 2.0]})
