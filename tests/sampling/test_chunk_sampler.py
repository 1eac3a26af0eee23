from __future__ import annotations

import dataclasses
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError, StoreError
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler, MixtureSampler
from softflow.sampling.mixing import FixedRatio

STATE = "observation.state"
CAMERA = "observation.images.front"
LINE = DataSpec({STATE: (1,)}, 1, (-1000.0,), (1000.0,), 10.0)


def line_episode(observations: ArrayLike, rewards: ArrayLike, ending: str) -> Episode:
    """Action t is the observation at t; the last observation follows the last action."""
    states = np.array(observations, np.float32)[:, None]
    return Episode(
        observations={STATE: states},
        actions=states[:-1].copy(),
        rewards=np.array(rewards, np.float32),
        terminated=ending == "terminated",
        truncated=ending == "truncated",
        success=ending == "terminated",
    )


def line_store(path: Path, *episodes: Episode) -> EpisodeStore:
    store = EpisodeStore.create(path, LINE)
    for episode in episodes:
        store.append(episode)
    return store


TERMINATED = line_episode([0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 1], "terminated")
TRUNCATED = line_episode([100, 101, 102], [0.5, 0.25], "truncated")


def test_windows_by_hand(tmp_path: Path) -> None:
    """H = 3, E = 2, P = 1, two observations: every window of a terminated and a truncated one."""
    store = line_store(tmp_path / "store", TERMINATED, TRUNCATED)
    dataset = ChunkDataset(store, ChunkSpec(3, 2, prefix_length=1, history_length=2))
    assert (dataset.num_episodes, dataset.num_windows) == (2, 9), "two start before the recording"
    batch = dataset.gather(np.array([1, 2, 3, 4, 5, 7, 8]))

    observation = [[0, 0], [0, 1], [1, 2], [2, 3], [3, 4], [100, 100], [100, 101]]
    assert batch.observation[STATE][..., 0].tolist() == observation
    assert batch.prefix_actions[..., 0].tolist() == [[0], [1], [2], [3], [4], [100], [101]]
    assert batch.actions[..., 0].tolist() == [
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 4],
        [4, 4, 4],
        [4, 4, 4],
        [101, 101, 101],
        [101, 101, 101],
    ]
    yes, no = True, False
    assert batch.step_valid.tolist() == [
        [yes, yes, yes],
        [yes, yes, yes],
        [yes, yes, no],
        [yes, no, no],
        [no, no, no],
        [yes, no, no],
        [no, no, no],
    ]
    assert batch.rewards.tolist() == [
        [0, 0],
        [0, 0],
        [0, 0],
        [0, 1],
        [1, 0],
        [0.5, 0.25],
        [0.25, 0],
    ]
    assert batch.num_steps.tolist() == [2, 2, 2, 2, 1, 2, 1]
    next_observation = [[1, 2], [2, 3], [3, 4], [4, 5], [4, 5], [101, 102], [101, 102]]
    assert batch.next_observation[STATE][..., 0].tolist() == next_observation
    next_prefix = [[2], [3], [4], [4], [4], [101], [101]]
    assert batch.next_prefix_actions[..., 0].tolist() == next_prefix
    assert batch.bootstrap_mask.tolist() == [1, 1, 1, 0, 0, 1, 1]
    assert batch.is_offline.tolist() == [True] * 7
    assert batch.episode_success.tolist() == [True] * 5 + [False] * 2


def test_paper_case_without_prefix_acts_on_the_whole_chunk(tmp_path: Path) -> None:
    """P = 0, E = H: Eq. 7."""
    dataset = ChunkDataset(line_store(tmp_path / "store", TERMINATED), ChunkSpec(3, 3))
    batch = dataset.gather(np.array([0, 2, 3]))
    assert batch.prefix_actions.shape == batch.next_prefix_actions.shape == (3, 0, 1)
    assert batch.actions[..., 0].tolist() == [[0, 1, 2], [2, 3, 4], [3, 4, 4]]
    assert batch.rewards.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert batch.next_observation[STATE].flatten().tolist() == [3, 5, 5]
    assert batch.bootstrap_mask.tolist() == [1, 0, 0]


def test_episode_shorter_than_a_chunk_is_padded_not_dropped(tmp_path: Path) -> None:
    store = line_store(tmp_path / "store", line_episode([7, 8], [1], "terminated"))
    batch = ChunkDataset(store, ChunkSpec(4, 4)).gather(np.array([0]))
    assert batch.actions.flatten().tolist() == [7, 7, 7, 7]
    assert batch.step_valid.flatten().tolist() == [True, False, False, False]
    assert batch.rewards.flatten().tolist() == [1, 0, 0, 0]
    assert batch.num_steps.tolist() == [1]


def test_types_are_ready_for_training(tmp_path: Path) -> None:
    batch = ChunkDataset(line_store(tmp_path / "s", TRUNCATED), ChunkSpec(2, 1)).gather(
        np.arange(2)
    )
    floats = (batch.actions, batch.rewards, batch.bootstrap_mask, batch.observation[STATE])
    assert {tensor.dtype for tensor in floats} == {torch.float32}
    assert batch.num_steps.dtype == torch.int64
    assert {batch.step_valid.dtype, batch.is_offline.dtype, batch.episode_success.dtype} == {
        torch.bool
    }


def naive_row(episode: Episode, t: int, spec: ChunkSpec) -> dict[str, object]:
    """One window, written down from the definition, one step at a time."""
    length, prefix = episode.length, spec.prefix_length

    def action(step: int) -> float:
        return float(episode.actions[min(step, length - 1), 0]) if step >= 0 else 0.0

    def history(step: int) -> list[float]:
        steps = range(step - spec.history_length + 1, step + 1)
        return [float(episode.observations[STATE][max(s, 0), 0]) for s in steps]

    num_steps = 0
    rewards = [0.0] * spec.execution_horizon
    while num_steps < spec.execution_horizon and t + num_steps < length:
        rewards[num_steps] = float(episode.rewards[t + num_steps]) if t + num_steps >= 0 else 0.0
        num_steps += 1
    after = t + num_steps
    return {
        "observation": history(t),
        "prefix_actions": [action(t + i) for i in range(prefix)],
        "actions": [action(t + prefix + i) for i in range(spec.chunk_length)],
        "step_valid": [t + prefix + i < length for i in range(spec.chunk_length)],
        "rewards": rewards,
        "num_steps": num_steps,
        "next_observation": history(after),
        "next_prefix_actions": [action(after + i) for i in range(prefix)],
        "bootstrap_mask": 0.0 if after == length and episode.terminated else 1.0,
        "episode_success": episode.success,
    }


@st.composite
def chunk_specs(draw: st.DrawFn) -> ChunkSpec:
    chunk_length = draw(st.integers(1, 6))
    return ChunkSpec(
        chunk_length,
        draw(st.integers(1, chunk_length)),
        draw(st.integers(0, 4)),
        draw(st.integers(1, 4)),
    )


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    spec=chunk_specs(),
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    endings=st.lists(st.sampled_from(["terminated", "truncated"]), min_size=4, max_size=4),
    seed=st.integers(0, 2**32 - 1),
)
def test_gather_equals_the_definition(
    spec: ChunkSpec, lengths: list[int], endings: list[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    episodes = [
        line_episode(rng.uniform(-1000, 1000, length + 1), rng.normal(size=length), ending)
        for length, ending in zip(lengths, endings, strict=False)
    ]
    with tempfile.TemporaryDirectory() as folder:
        dataset = ChunkDataset(line_store(Path(folder) / "store", *episodes), spec)
    windows = rng.permutation(dataset.num_windows)
    batch = dataset.gather(windows)
    lead = [-spec.prefix_length] if spec.prefix_length else []
    starts = [(episode, t) for episode in episodes for t in [*lead, *range(episode.length)]]
    assert len(starts) == len(windows)
    for row, window in enumerate(windows):
        episode, t = starts[window]
        for name, expected in naive_row(episode, t, spec).items():
            value = getattr(batch, name)
            tensor = value[STATE][row] if isinstance(value, dict) else value[row]
            flat = tensor.tolist() if tensor.ndim < 2 else tensor[:, 0].tolist()
            assert flat == expected, (name, window)


def test_same_update_step_same_batch_whatever_came_before(tmp_path: Path) -> None:
    store = line_store(tmp_path / "store", TERMINATED, TRUNCATED)
    spec = ChunkSpec(3, 2)
    sampler = ChunkSampler(ChunkDataset(store, spec), 16, seed=3, stream="imitation")
    straight = [sampler.batch(u).actions for u in range(4)]
    resumed = ChunkSampler(ChunkDataset(store, spec), 16, seed=3, stream="imitation")
    assert torch.equal(resumed.batch(3).actions, straight[3])
    assert torch.equal(resumed.batch(1).actions, straight[1])
    assert not torch.equal(straight[0], straight[1])
    other_seed = ChunkSampler(ChunkDataset(store, spec), 16, seed=4, stream="imitation")
    other_stream = ChunkSampler(ChunkDataset(store, spec), 16, seed=3, stream="critic_warmup")
    assert not torch.equal(other_seed.batch(1).actions, straight[1])
    assert not torch.equal(other_stream.batch(1).actions, straight[1])


def test_every_window_is_drawn_equally_often(tmp_path: Path) -> None:
    dataset = ChunkDataset(line_store(tmp_path / "store", TERMINATED, TRUNCATED), ChunkSpec(1, 1))
    sampler = ChunkSampler(dataset, 7000, seed=0, stream="s")
    drawn = sampler.batch(0).observation[STATE].flatten().tolist()
    counts = [drawn.count(float(value)) for value in (0, 1, 2, 3, 4, 100, 101)]
    assert sum(counts) == 7000
    assert min(counts) > 850, counts


def test_grown_dataset_equals_one_built_at_once(tmp_path: Path) -> None:
    store = line_store(tmp_path / "store", TERMINATED)
    spec = ChunkSpec(3, 2, 1, 2)
    grown = ChunkDataset(store, spec, offline=False)
    store.append(TRUNCATED)
    store.append(TERMINATED)
    assert grown.add_new_episodes() == 2
    assert grown.add_new_episodes() == 0
    whole = ChunkDataset(store, spec, offline=False)
    assert grown.episode_indices == whole.episode_indices == (0, 1, 2)
    windows = np.arange(whole.num_windows)
    for field in dataclasses.fields(ChunkBatch):
        a, b = (getattr(d.gather(windows), field.name) for d in (grown, whole))
        assert torch.equal(a[STATE], b[STATE]) if isinstance(a, dict) else torch.equal(a, b)


def test_chosen_episodes_only(tmp_path: Path) -> None:
    store = line_store(tmp_path / "store", TERMINATED, TRUNCATED, TERMINATED)
    dataset = ChunkDataset(store, ChunkSpec(1, 1), episodes=[1])
    assert dataset.gather(np.arange(2)).observation[STATE].flatten().tolist() == [100, 101]


def mixture(tmp_path: Path, ratio: float, batch_size: int = 10) -> MixtureSampler:
    offline = ChunkDataset(line_store(tmp_path / "offline", TERMINATED), ChunkSpec(2, 2))
    online = ChunkDataset(line_store(tmp_path / "online"), ChunkSpec(2, 2), offline=False)
    return MixtureSampler(
        offline, online, batch_size, FixedRatio(ratio), seed=0, stream="online_rl"
    )


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.0, 0), (0.25, 2), (0.5, 5), (0.77, 8), (1.0, 10)]
)
def test_mixture_ratio_offline_rows_first(tmp_path: Path, ratio: float, expected: int) -> None:
    sampler = mixture(tmp_path, ratio)
    assert sampler.batch(0).is_offline.tolist() == [True] * 10
    sampler.online.store.append(TRUNCATED)
    sampler.online.add_new_episodes()
    batch = sampler.batch(0)
    assert batch.is_offline.tolist() == [True] * expected + [False] * (10 - expected)
    from_online = batch.observation[STATE].flatten() >= 100
    assert torch.equal(from_online, ~batch.is_offline)
    assert torch.equal(sampler.batch(0).actions, batch.actions)
    assert not torch.equal(sampler.batch(1).actions, batch.actions)


def test_mixture_refuses_what_does_not_fit(tmp_path: Path, spec: DataSpec) -> None:
    with pytest.raises(ConfigError, match=r"offline_ratio is 1\.5"):
        mixture(tmp_path, 1.5)
    offline = ChunkDataset(EpisodeStore.open(tmp_path / "offline"), ChunkSpec(2, 2))
    other_chunk = ChunkDataset(offline.store, ChunkSpec(3, 2))
    with pytest.raises(ConfigError, match="same ChunkSpec"):
        MixtureSampler(offline, other_chunk, 4, FixedRatio(0.5), 0, "s")
    other_data = ChunkDataset(EpisodeStore.create(tmp_path / "other", spec), ChunkSpec(2, 2))
    with pytest.raises(DataError, match="action_dim: 1 and 2"):
        MixtureSampler(offline, other_data, 4, FixedRatio(0.5), 0, "s")


def test_empty_dataset_is_refused_when_drawn_from(tmp_path: Path) -> None:
    dataset = ChunkDataset(line_store(tmp_path / "store"), ChunkSpec(2, 2))
    with pytest.raises(DataError, match="is empty; collect episodes"):
        ChunkSampler(dataset, 4, 0, "imitation").batch(0)
    with pytest.raises(DataError, match="0 windows"):
        dataset.gather(np.array([0]))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ((0, 1), "chunk_length is 0"),
        ((4, 5), "execution_horizon is 5, above chunk_length 4"),
        ((4, 0), "execution_horizon is 0"),
        ((4, 4, -1), "prefix_length is -1"),
        ((4, 4, 0, 0), "history_length is 0"),
    ],
)
def test_impossible_chunk_spec_is_refused(lengths: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChunkSpec(*lengths)


def test_batches_concatenate_and_move(tmp_path: Path) -> None:
    dataset = ChunkDataset(line_store(tmp_path / "store", TERMINATED), ChunkSpec(2, 2))
    first, second = dataset.gather(np.array([0, 1])), dataset.gather(np.array([4]))
    both = ChunkBatch.concatenate([first, second])
    assert both.batch_size == 3
    assert both.observation[STATE].flatten().tolist() == [0, 1, 4]
    assert both.to("meta").next_observation[STATE].device.type == "meta"
    longer = ChunkDataset(dataset.store, ChunkSpec(3, 2)).gather(np.array([0]))
    with pytest.raises(DataError, match="'actions' does not fit together"):
        ChunkBatch.concatenate([first, longer])
    with pytest.raises(DataError, match="no batches"):
        ChunkBatch.concatenate([])


def test_images_follow_their_windows_within_the_cache_bound(
    tmp_path: Path, image_spec: DataSpec, make_episode: Callable[..., Episode]
) -> None:
    store = EpisodeStore.create(tmp_path / "store", image_spec)
    episodes = [make_episode(image_spec, length=30, seed=seed) for seed in range(3)]
    for episode in episodes:
        store.append(episode)
    chunk_bytes = 16 * 64 * 64 * 3
    dataset = ChunkDataset(
        store, ChunkSpec(4, 2, history_length=3), image_cache_bytes=2 * chunk_bytes
    )
    rng = np.random.default_rng(0)
    for _ in range(3):
        windows = rng.integers(dataset.num_windows, size=20)
        batch = dataset.gather(windows)
        assert batch.observation[CAMERA].shape == (20, 3, 64, 64, 3)
        assert batch.observation[CAMERA].dtype == torch.uint8
        for row, window in enumerate(windows):
            frames, t = episodes[window // 30].observations[CAMERA], window % 30
            expected = frames[[max(t - 2, 0), max(t - 1, 0), t]]
            np.testing.assert_array_equal(batch.observation[CAMERA][row].numpy(), expected)
            np.testing.assert_array_equal(
                batch.next_observation[CAMERA][row, -1].numpy(), frames[min(t + 2, 30)]
            )
        assert dataset.cached_image_bytes <= 2 * chunk_bytes


def test_missing_image_chunk_is_damage_not_a_black_frame(
    tmp_path: Path, image_spec: DataSpec, make_episode: Callable[..., Episode]
) -> None:
    store = EpisodeStore.create(tmp_path / "store", image_spec)
    store.append(make_episode(image_spec, length=30))
    with zipfile.ZipFile(store.episode_path(0)) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    del entries[f"data/{CAMERA}/c/1/0/0/0"]
    with zipfile.ZipFile(store.episode_path(0), "w") as new:
        for name, content in entries.items():
            new.writestr(name, content)
    dataset = ChunkDataset(store, ChunkSpec(1, 1))
    with pytest.raises(StoreError, match=r"episode_000000.*front' has 7 of 8 chunks"):
        dataset.gather(np.array([20]))


def test_opened_image_files_are_bounded(
    tmp_path: Path, make_episode: Callable[..., Episode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softflow.sampling.frame_cache.MAX_TABLE_BYTES", 1)
    tiny = DataSpec({CAMERA: (4, 4, 3)}, 2, (-1.0, -1.0), (1.0, 1.0), 20.0)
    store = EpisodeStore.create(tmp_path / "store", tiny)
    episodes = [make_episode(tiny, length=2, seed=seed) for seed in range(5)]
    for episode in episodes:
        store.append(episode)
    dataset = ChunkDataset(store, ChunkSpec(1, 1), image_cache_bytes=1)
    for _ in range(2):
        frames = dataset.gather(np.arange(10)).observation[CAMERA][:, 0].numpy()
        expected = np.concatenate([episode.observations[CAMERA][:-1] for episode in episodes])
        np.testing.assert_array_equal(frames, expected)
    open_files = [link.resolve() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    ours = [path for path in open_files if path.is_relative_to(store.path.resolve())]
    assert not any(path.name.endswith(".zarr.zip") for path in ours)
