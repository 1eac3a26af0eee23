"""LeRobot datasets out: exact round trips, and what the real package reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import lerobot_environment
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot_datasets import episode_of, require_same, store_with, write_v21

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.errors import DataError
from softflow.formats.importing import import_into
from softflow.formats.lerobot.export import export_lerobot
from softflow.formats.lerobot.reading import LeRobotSource
from softflow.formats.lerobot.statistics import combined, statistics_of
from softflow.utils.progress import SilentProgress

FRONT, ODD = "observation.images.front", "observation.images.odd"
SPEC = DataSpec(
    {"observation.state": (3,), "observation.grid": (2, 3), "observation.force": ()},
    2,
    (-1.5, -1.0),
    (1.0, 1.25),
    12.5,
    "toy",
    {"observation.state": ("a", "b", "c"), "action": ("pos.0", "pos.1")},
)
CAMERA_SPEC = DataSpec(
    {"observation.state": (3,), FRONT: (32, 64, 3), ODD: (33, 47, 3)},
    2,
    (-1.0, -1.0),
    (1.0, 1.0),
    20.0,
)
CamerasAs = Literal["video", "images"]


def _exported(store: EpisodeStore, folder: Path, **options: Any) -> LeRobotSource:
    export_lerobot(store, folder, SilentProgress(), **options)
    return LeRobotSource(folder)


def _camera_store(path: Path) -> EpisodeStore:
    episodes = [episode_of(CAMERA_SPEC, 5 + seed, seed, seed != 1) for seed in range(3)]
    return store_with(path, CAMERA_SPEC, episodes)


@pytest.mark.slow
@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    outcomes=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=4),
    note=st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=3),
    data_file_mib=st.sampled_from([0, 100]),
)
def test_a_round_trip_is_exact(
    lengths: list[int],
    outcomes: list[tuple[bool, bool]],
    note: dict[str, Any],
    data_file_mib: int,
) -> None:
    """Values, outcomes and metadata, whatever they are; a file limit of 0 splits every episode."""
    with tempfile.TemporaryDirectory() as name:
        episodes = [episode_of(SPEC, n, seed, True, note=note) for seed, n in enumerate(lengths)]
        for episode, (terminated, success) in zip(episodes, outcomes, strict=False):
            object.__setattr__(episode, "terminated", terminated)
            object.__setattr__(episode, "truncated", not terminated)
            object.__setattr__(episode, "success", success)
        store = store_with(Path(name) / "store", SPEC, episodes)
        source = _exported(store, Path(name) / "out", data_file_mib=data_file_mib)
        assert source.spec == SPEC
        files = sorted((Path(name) / "out/data").rglob("*.parquet"))
        assert len(files) == (len(lengths) if data_file_mib == 0 else 1)
        for episode, again in zip(episodes, source.episodes(), strict=True):
            require_same(episode, source.read(again))


@pytest.mark.parametrize(("cameras_as", "apart"), [("video", 12), ("images", 0)])
def test_pictures_survive(tmp_path: Path, cameras_as: CamerasAs, apart: int) -> None:
    """PNG exactly, video closely; the final frame exactly in both."""
    store = _camera_store(tmp_path / "store")
    source = _exported(store, tmp_path / "out", cameras_as=cameras_as)
    for index, name in enumerate(source.episodes()):
        require_same(store.episode(index), source.read(name), apart)


@pytest.mark.parametrize(("cameras_as", "apart"), [("video", 12), ("images", 0)])
def test_v21_has_a_file_for_each_episode(tmp_path: Path, cameras_as: CamerasAs, apart: int) -> None:
    store = _camera_store(tmp_path / "store")
    source = _exported(store, tmp_path / "out", cameras_as=cameras_as, version="v2.1")
    assert source.version == "v2.1"
    for index, name in enumerate(source.episodes()):
        require_same(store.episode(index), source.read(name), apart)
    out = tmp_path / "out"
    tables = sorted(path.name for path in (out / "data/chunk-000").iterdir())
    assert tables == [f"episode_{index:06d}.parquet" for index in range(len(store))]
    if cameras_as == "video":
        assert (out / f"videos/chunk-000/{ODD}/episode_000001.mp4").is_file()
    info = json.loads((out / "meta/info.json").read_text())
    assert info["total_videos"] == (len(store) * len(info_cameras(info)))
    lines = (out / "meta/episodes_stats.jsonl").read_text().splitlines()
    found = json.loads(lines[1])["stats"]["action"]
    assert sorted(found) == ["count", "max", "mean", "min", "std"]
    np.testing.assert_allclose(found["max"], store.episode(1).actions.max(0), rtol=1e-6)
    assert json.loads((out / "meta/tasks.jsonl").read_text().splitlines()[0])["task_index"] == 0
    (out / "meta/softflow/spec.json").unlink()
    (out / "meta/softflow/episodes.parquet").unlink()
    (out / "meta/softflow").rmdir()
    plain = LeRobotSource(out)
    assert plain.read("episode_000001").length == store.episode(1).length
    assert not plain.notes.drained()


def info_cameras(info: dict[str, Any]) -> list[str]:
    return [key for key, value in info["features"].items() if value["dtype"] == "video"]


def test_a_video_may_be_continued_in_the_next_file(tmp_path: Path) -> None:
    store = _camera_store(tmp_path / "store")
    source = _exported(store, tmp_path / "out", video_file_mib=0)
    files = sorted(path.name for path in (tmp_path / f"out/videos/{ODD}").rglob("*.mp4"))
    assert files == ["file-000.mp4", "file-001.mp4", "file-002.mp4"]
    for index, name in enumerate(source.episodes()):
        require_same(store.episode(index), source.read(name), 12)


def test_import_export_import(tmp_path: Path) -> None:
    """A foreign dataset comes back with identical arrays after going through a store."""
    first = LeRobotSource(write_v21(tmp_path / "foreign"), cameras=[])
    import_into(first, tmp_path / "store", SilentProgress())
    store = EpisodeStore.open(tmp_path / "store")
    second = _exported(store, tmp_path / "out")
    import_into(second, tmp_path / "again", SilentProgress())
    again = EpisodeStore.open(tmp_path / "again")
    assert again.spec == store.spec
    for index in range(len(store)):
        require_same(store.episode(index), again.episode(index))
    assert again.summary(0).metadata["unlabelled"] is True
    columns = pq.read_schema(tmp_path / "out/data/chunk-000/file-000.parquet").names
    assert "next.done" in columns
    assert "next.reward" not in columns


def test_the_newest_label_counts(tmp_path: Path) -> None:
    store = store_with(
        tmp_path / "store", SPEC, [episode_of(SPEC, 6, 0, False, unlabelled=True) for _ in range(2)]
    )
    store.label(0, Label("anna", (Event(3, "success", 1.0),)))
    source = _exported(store, tmp_path / "out")
    episode = source.read("episode_000000")
    assert (episode.length, episode.success, episode.return_) == (4, True, 1.0)
    assert episode.metadata["annotator"] == "anna"


def test_without_its_extras_an_export_is_a_lerobot_dataset_as_any_other(tmp_path: Path) -> None:
    store = store_with(tmp_path / "store", SPEC, [episode_of(SPEC, 6, 0, True)])
    _exported(store, tmp_path / "out")
    for file in (tmp_path / "out/meta/softflow").iterdir():
        file.unlink()
    (tmp_path / "out/meta/softflow").rmdir()
    source = LeRobotSource(tmp_path / "out")
    ours, theirs = store.episode(0), source.read("episode_000000")
    assert source.spec.names == SPEC.names
    np.testing.assert_array_equal(ours.actions, theirs.actions)
    np.testing.assert_array_equal(ours.rewards, theirs.rewards)
    assert (theirs.terminated, theirs.success) == (True, True)
    state = theirs.observations["observation.state"]
    np.testing.assert_array_equal(state[:-1], ours.observations["observation.state"][:-1])
    np.testing.assert_array_equal(state[-1], state[-2])


def test_extras_of_another_dataset_are_noticed(tmp_path: Path) -> None:
    for name, length in (("one", 6), ("two", 7)):
        store = store_with(tmp_path / name, SPEC, [episode_of(SPEC, length, 0, True)])
        _exported(store, tmp_path / f"{name}_out")
    extras = "meta/softflow/episodes.parquet"
    (tmp_path / "one_out" / extras).write_bytes((tmp_path / "two_out" / extras).read_bytes())
    with pytest.raises(DataError, match=r"episode_000000 has 6 rows now.*delete that folder"):
        LeRobotSource(tmp_path / "one_out").read("episode_000000")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    store = store_with(tmp_path / "store", SPEC, [episode_of(SPEC, 3, 0, True)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("kept")
    with pytest.raises(DataError, match="choose a new folder"):
        _exported(store, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    with pytest.raises(DataError, match="is empty"):
        _exported(EpisodeStore.create(tmp_path / "empty", SPEC), tmp_path / "new")
    assert not (tmp_path / "new").exists()


class _Stopping(SilentProgress):
    """Kills this process, as a power cut would, after the second episode."""

    def advance(self, done: int, status: str = "") -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_export_leaves_nothing_and_may_be_run_again(tmp_path: Path) -> None:
    store = _camera_store(tmp_path / "store")
    command = [sys.executable, __file__, str(store.path), str(tmp_path / "out")]
    support = {"PYTHONPATH": str(Path(lerobot_environment.__file__).parent)}
    killed = subprocess.run(command, check=False, capture_output=True, env=os.environ | support)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.draft/data").exists()
    source = _exported(store, tmp_path / "out", cameras_as="images")
    assert sorted(p.name for p in tmp_path.iterdir() if "out" in p.name) == ["out"]
    assert not (tmp_path / "out/videos").exists(), "left over from the killed export"
    require_same(store.episode(2), source.read("episode_000002"))


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    store = _camera_store(tmp_path / "store")
    damaged = store.episode_path(2)
    damaged.write_bytes(damaged.read_bytes()[:500])
    with pytest.raises(Exception, match=r"episode_000002\.zarr\.zip"):
        _exported(store, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@settings(max_examples=50)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(0, 10**6))
def test_statistics_add_up(lengths: list[int], seed: int) -> None:
    parts = [np.random.default_rng((seed, k)).normal(k, 2, (n, 3)) for k, n in enumerate(lengths)]
    total = None
    for part in parts:
        total = combined(total, statistics_of(part))
    assert total is not None
    whole = statistics_of(np.concatenate(parts))
    for key in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(total[key], whole[key], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("cameras_as", "apart"), [("video", 12 / 255), ("images", 0)])
def test_the_real_package_opens_it(tmp_path: Path, cameras_as: CamerasAs, apart: float) -> None:
    if problem := lerobot_environment.ENVIRONMENT.problem():
        pytest.skip(problem)
    spec = DataSpec(
        {**SPEC.observation_shapes, **CAMERA_SPEC.observation_shapes}, 2, (-1, -1), (1, 1), 12.5
    )
    episodes = [episode_of(spec, 6 + seed, seed, seed != 1) for seed in range(3)]
    store = store_with(tmp_path / "store", spec, episodes)
    _exported(store, tmp_path / "out", cameras_as=cameras_as)
    lerobot_environment.run("lerobot_side.py", "read", tmp_path / "out", tmp_path / "values.npz")
    values = dict(np.load(tmp_path / "values.npz"))
    assert values["num_episodes"] == 3

    def joined(parts: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts)

    for key in spec.state_keys:
        ours = joined([episode.observations[key][:-1] for episode in episodes])
        np.testing.assert_array_equal(values[key], ours)
    for key in spec.image_keys:
        ours = joined([episode.observations[key][:-1] for episode in episodes])
        theirs = values[key].transpose(0, 2, 3, 1)
        np.testing.assert_allclose(theirs, ours / 255, atol=apart + 1e-6)
    actions = joined([episode.actions for episode in episodes])
    np.testing.assert_array_equal(values["action"], actions)
    np.testing.assert_allclose(values["stats.action.mean"][0], actions.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(values["stats.action.std"][0], actions.std(axis=0), atol=1e-6)
    rewards = joined([episode.rewards for episode in episodes])
    np.testing.assert_array_equal(values["next.reward"], rewards)
    last = joined([np.arange(e.length) == e.length - 1 for e in episodes])
    reached = joined([np.full(e.length, e.success) for e in episodes])
    for name, flags in (
        ("done", last),
        ("success", last & reached),
        ("terminated", last & reached),
        ("truncated", last & ~reached),
    ):
        np.testing.assert_array_equal(values[f"next.{name}"], flags)
    assert list(values["task"]) == [str(e.metadata["task"]) for e in episodes for _ in e.actions]


@pytest.mark.slow
def test_the_last_package_of_v21_opens_it_as_openpi_does(tmp_path: Path) -> None:
    if problem := lerobot_environment.ENVIRONMENT.problem():
        pytest.skip(problem)
    store = _camera_store(tmp_path / "store")
    _exported(store, tmp_path / "out", version="v2.1")
    values = tmp_path / "values.npz"
    lerobot_environment.run("lerobot_side.py", "chunks", tmp_path / "out", values, v21=True)
    found = dict(np.load(values))
    assert found["num_episodes"] == len(store)
    episodes = [store.episode(index) for index in range(len(store))]
    padded = [np.concatenate([e.actions, e.actions[-1:].repeat(3, 0)]) for e in episodes]
    ours = [a[step : step + 4] for a in padded for step in range(len(a) - 3)]
    np.testing.assert_array_equal(found["action"], np.stack(ours))
    past = [np.arange(step, step + 4) >= e.length for e in episodes for step in range(e.length)]
    np.testing.assert_array_equal(found["action_is_pad"], np.stack(past))
    frames = np.concatenate([e.observations[ODD][:-1] for e in episodes])
    np.testing.assert_allclose(found[ODD].transpose(0, 2, 3, 1), frames / 255, atol=12 / 255)
    assert list(found["task"]) == [str(e.metadata["task"]) for e in episodes for _ in e.actions]


def test_gr00t_finds_its_parts_in_v21(tmp_path: Path) -> None:
    """What its reader does: each part is cut out of a column, and of every statistic of it."""
    dotted = "observation.state.force"
    shapes = {**CAMERA_SPEC.observation_shapes, STATE_KEY: (5,), dotted: (2,)}
    spec = DataSpec(shapes, 2, (-1, -1), (1, 1), 10.0)
    store = store_with(
        tmp_path / "store", spec, [episode_of(spec, 6, seed, True) for seed in range(2)]
    )
    _exported(store, tmp_path / "out", version="v2.1")
    meta = tmp_path / "out" / "meta"
    told, info, statistics = (
        json.loads((meta / f"{name}.json").read_text()) for name in ("modality", "info", "stats")
    )
    assert told["state"]["state_force"]["original_key"] == dotted
    for kind in ("state", "action"):
        for name, part in told[kind].items():
            assert f"{kind}.{name}".replace(f"{kind}.", "") == name
            rows = np.arange(part["start"], part["end"])
            assert part["end"] == info["features"][part["original_key"]]["shape"][0]
            found = statistics[part["original_key"]]
            assert set(found) == {"min", "max", "mean", "std", "q01", "q99"}
            for numbers in found.values():
                assert np.array(numbers)[rows].shape == rows.shape
    for name, part in told["video"].items():
        feature = info["features"][part["original_key"]]
        assert "." not in name
        assert {"height", "width", "channels"} == set(feature["names"])
        assert feature["info"]["video.fps"] == 10
        video = info["video_path"].format(
            episode_chunk=0, video_key=part["original_key"], episode_index=1
        )
        assert (tmp_path / "out" / video).is_file()
    words = told["annotation"]["human.task_description"]["original_key"]
    assert words in info["features"]


def test_a_real_recording_round_trips_exactly(shared_data: Path, tmp_path: Path) -> None:
    source = LeRobotSource(shared_data / "g1_inspire_lerobot_v21", cameras=[])
    import_into(source, tmp_path / "store", SilentProgress())
    store = EpisodeStore.open(tmp_path / "store")
    again = _exported(store, tmp_path / "out")
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (6, 2180, 30)
    assert again.spec == source.spec
    for index, name in enumerate(source.episodes()):
        first, second = source.read(name), again.read(name)
        require_same(first, second)
        require_same(store.episode(index), second)


if __name__ == "__main__":
    export_lerobot(EpisodeStore.open(sys.argv[1]), Path(sys.argv[2]), _Stopping())
