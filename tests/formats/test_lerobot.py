"""LeRobot datasets in: a real recording, the real package's files, and files broken on purpose."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

import lerobot_environment
from lerobot_datasets import (
    CAMERA,
    HEIGHT,
    RATE,
    WIDTH,
    decoded,
    episode_of,
    rows,
    shown,
    store_with,
    table_path,
    video_path,
    write_table,
    write_v21,
    write_video,
)

from softflow.data.batch import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.lerobot import LeRobotSource
from softflow.formats.lerobot_export import export_lerobot
from softflow.formats.lerobot_layout import Clip, component_names
from softflow.formats.lerobot_video import read_clip
from softflow.formats.source import import_into
from softflow.progress import SilentProgress


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_v21(tmp_path / "dataset")


@pytest.fixture(scope="session", params=["h264", "libsvtav1"])
def written_by_lerobot(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, np.ndarray]]:
    """A v3.0 dataset of the real package, and what was put into it."""
    if problem := lerobot_environment.problem():
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("lerobot")
    truth = folder / "truth.npz"
    lerobot_environment.run("lerobot_side.py", "write", folder / "set", request.param, truth)
    return folder / "set", dict(np.load(truth))


def test_a_real_v21_recording(shared_data: Path) -> None:
    path = shared_data / "g1_inspire_lerobot_v21"
    source = LeRobotSource(path)
    assert source.version == "v2.1"
    assert source.episodes() == [f"episode_{index:06d}" for index in range(6)]
    assert source.spec.control_hz == 30
    assert source.spec.action_dim == 26
    assert source.spec.names["action"][:2] == ("kLeftShoulderPitch", "kLeftShoulderRoll")
    camera = "observation.images.cam_high"
    assert source.spec.observation_shapes == {"observation.state": (26,), camera: (480, 640, 3)}
    lengths = [LeRobotSource(path, cameras=[]).read(name).length for name in source.episodes()]
    assert lengths == [290, 348, 327, 398, 353, 464]

    episode = source.read("episode_000000")
    episode.validate(source.spec)
    table = pq.read_table(path / "data/chunk-000/episode_000000.parquet")
    np.testing.assert_array_equal(episode.actions, table.column("action").to_pylist())
    video = path / f"videos/chunk-000/{camera}/episode_000000.mp4"
    with av.open(str(video)) as container:
        for frame, pixels in zip(
            container.decode(video=0), episode.observations[camera][:-1], strict=True
        ):
            np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), pixels)
    assert episode.metadata["task"] == "Pick up the yellow bottle on the table."
    assert episode.metadata["unlabelled"] is True
    assert (episode.truncated, episode.success) == (True, False)


def test_a_dataset_of_the_real_package(
    written_by_lerobot: tuple[Path, dict[str, np.ndarray]],
) -> None:
    path, truth = written_by_lerobot
    source = LeRobotSource(path)
    front, wrist = "observation.images.front", "observation.images.wrist"
    assert source.version == "v3.0"
    assert source.spec.names == {"observation.state": ("a", "b", "c"), "action": ("x", "gripper")}
    assert source.spec.state_keys == ("observation.force", "observation.state")
    assert source.spec.action_low == tuple(truth["action"].min(axis=0).astype(float))
    video = decoded(path / f"videos/{front}/chunk-000/file-000.mp4")
    start = 0
    for index, (name, length) in enumerate(zip(source.episodes(), (9, 12, 10), strict=True)):
        episode, rows_of = source.read(name), slice(start, start + length)
        episode.validate(source.spec)
        for key in ("observation.state", "observation.force", wrist):
            np.testing.assert_array_equal(episode.observations[key][:-1], truth[key][rows_of])
            np.testing.assert_array_equal(
                episode.observations[key][-1], episode.observations[key][-2]
            )
        np.testing.assert_array_equal(episode.actions, truth["action"][rows_of])
        np.testing.assert_array_equal(episode.rewards, truth["next.reward"][rows_of, 0])
        np.testing.assert_array_equal(episode.observations[front][:-1], video[rows_of])
        apart = episode.observations[front][:-1].astype(int) - truth[front][rows_of]
        assert np.abs(apart).mean() < 8, "the codec is lossy, but this is another frame"
        assert episode.success is episode.terminated is (index != 1)
        assert episode.metadata["task"] == f"task {index % 2}"
        assert episode.metadata["robot"] == "toy"
        start += length


def test_an_import_into_a_store(dataset: Path, tmp_path: Path) -> None:
    source = LeRobotSource(dataset)
    assert import_into(source, tmp_path / "store", SilentProgress()) == 2
    store = EpisodeStore.open(tmp_path / "store")
    assert [summary.length for summary in store.summaries()] == [8, 11]
    np.testing.assert_array_equal(store.episode(1).actions, rows(1, 11)["action"])


@pytest.mark.parametrize("codec", ["libx264", "libsvtav1", "libvpx-vp9", "mpeg4"])
def test_any_codec(tmp_path: Path, codec: str) -> None:
    dataset = write_v21(tmp_path / "dataset", codec=codec)
    episode = LeRobotSource(dataset).read("episode_000001")
    frames = episode.observations[CAMERA][:-1]
    np.testing.assert_array_equal(frames, decoded(video_path(dataset, 1)))
    for step, frame in enumerate(frames):
        candidates = [np.abs(frame.astype(int) - shown(t, 1)).mean() for t in range(11)]
        assert int(np.argmin(candidates)) == step


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 frames with B-frames and few key frames; each differs from all others."""
    path = tmp_path_factory.mktemp("video") / "long.mp4"
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (90, 6, 8, 1), dtype=np.uint8)
    write_video(path, list(blocks.repeat(8, 1).repeat(8, 2).repeat(3, 3)))
    return path


@settings(max_examples=60)
@given(data=st.data())
def test_seeking_is_exact_to_the_frame(long_video: Path, data: st.DataObject) -> None:
    everything = decoded(long_video)
    first = data.draw(st.integers(0, 89))
    count = data.draw(st.integers(1, 90 - first))
    frames = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
    read_clip(Clip(long_video, first / RATE), RATE, frames)
    np.testing.assert_array_equal(frames, everything[first : first + count])


def test_cameras_may_be_chosen(dataset: Path) -> None:
    assert LeRobotSource(dataset, cameras=[]).spec.image_keys == ()
    assert LeRobotSource(dataset, cameras=["front"]).spec.image_keys == (CAMERA,)
    with pytest.raises(
        DataError, match=r"no camera 'wrist'; it has \['observation.images.front'\]"
    ):
        LeRobotSource(dataset, cameras=["wrist"])


def test_a_dataset_without_video_codec_is_not_decoded_when_no_camera_is_wanted(
    dataset: Path,
) -> None:
    video_path(dataset, 0).unlink()
    assert LeRobotSource(dataset, cameras=[]).read("episode_000000").length == 8


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_pictures_in_the_table(dataset: Path, kind: str) -> None:
    """Under the name of older datasets, which have one camera."""
    feature = {"dtype": "image", "shape": [3, HEIGHT, WIDTH], "names": None}
    _change_info(dataset, lambda info: info["features"].update({"observation.image": feature}))
    expected: list[np.ndarray] = []
    for episode, length in enumerate((8, 11)):
        cells = []
        for step in range(length):
            file = io.BytesIO()
            Image.fromarray(shown(step, episode)).save(file, format=kind)
            cells.append({"bytes": file.getvalue(), "path": f"frame-{step:06d}.{kind}"})
            if episode == 1:
                expected.append(np.asarray(Image.open(file)))
        _change_table(dataset, episode, "observation.image", pa.array(cells))
    source = LeRobotSource(dataset, cameras=["image"])
    assert source.spec.observation_shapes["observation.images.image"] == (HEIGHT, WIDTH, 3)
    frames = source.read("episode_000001").observations["observation.images.image"]
    np.testing.assert_array_equal(frames[:-1], expected)


def test_rewards_done_and_success(dataset: Path) -> None:
    """Success in the middle ends the episode, done alone does not terminate it."""

    def outcome(**columns: list[Any]) -> tuple[int, bool, bool]:
        write_table(
            table_path(dataset, 0),
            rows(0, 8) | {f"next.{k}": np.array(v) for k, v in columns.items()},
        )
        episode = LeRobotSource(dataset, cameras=[]).read("episode_000000")
        assert "unlabelled" not in episode.metadata or not {"reward", "success"} & columns.keys()
        if "reward" in columns:
            np.testing.assert_array_equal(episode.rewards, columns["reward"][: episode.length])
        assert episode.truncated is not episode.terminated
        return episode.length, episode.terminated, episode.success

    at = [[float(step == k) for step in range(8)] for k in range(8)]
    true_at = [[step == k for step in range(8)] for k in range(8)]
    never = [False] * 8
    assert outcome(success=true_at[5]) == (6, True, True)
    assert outcome(success=never, reward=at[7]) == (8, False, False)
    assert outcome(success=never, reward=at[7], done=true_at[7]) == (8, False, False)
    assert outcome(reward=at[6], done=true_at[6]) == (7, True, True)
    assert outcome(reward=at[2], done=true_at[7]) == (8, False, False)
    assert outcome(done=true_at[4]) == (5, False, False)
    assert outcome(success=true_at[7], truncated=true_at[7]) == (8, False, True)
    assert outcome(success=never, terminated=true_at[7]) == (8, True, False)


def test_success_need_not_cut_the_episode(dataset: Path) -> None:
    reached = np.arange(8) == 3
    write_table(table_path(dataset, 0), rows(0, 8) | {"next.success": reached})
    source = LeRobotSource(dataset, cameras=[], end_at_success=False)
    assert source.read("episode_000000").length == 8


def test_tasks_come_from_the_rows_where_the_list_has_none(dataset: Path) -> None:
    lines = [{"episode_index": k, "length": length} for k, length in enumerate((8, 11))]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (dataset / "meta/episodes.jsonl").write_text(text)
    assert LeRobotSource(dataset).read("episode_000000").metadata["task"] == "push"


def test_v20_is_read_like_v21(tmp_path: Path) -> None:
    source = LeRobotSource(write_v21(tmp_path / "dataset", version="v2.0"))
    assert source.read("episode_000001").length == 11


@pytest.mark.parametrize(
    "names",
    [["a", "b"], [["a", "b"]], {"motors": ["a", "b"]}, {"a": 0, "b": 1}, {"l": ["a"], "r": ["b"]}],
)
def test_component_names(names: Any) -> None:
    assert component_names(names) == ("a", "b")


# ---- broken on purpose ------------------------------------------------------------------------


def _change_info(dataset: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = dataset / "meta/info.json"
    info = json.loads(file.read_text())
    change(info)
    file.write_text(json.dumps(info))


def _change_table(dataset: Path, episode: int, key: str, column: pa.Array | None) -> None:
    """Replace or add a column, or remove it."""
    path = table_path(dataset, episode)
    table = pq.read_table(path)
    if key in table.column_names:
        table = table.drop_columns([key])
    pq.write_table(table if column is None else table.append_column(key, column), path)


def _cut(path: Path, kept: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])


def _state_with(value: Any) -> pa.Array:
    state = rows(0, 8)["observation.state"].tolist()
    state[5][2] = value
    return pa.array(state, pa.list_(pa.float32()))


def _shorter_rows() -> pa.Array:
    state = rows(0, 8)["observation.state"].tolist()
    state[4] = state[4][:2]
    return pa.array(state, pa.list_(pa.float32()))


BROKEN: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "unknown version": (
        lambda path: _change_info(path, lambda info: info.update(codebase_version="v9.0")),
        ("info.json", "v9.0", "convert"),
    ),
    "info.json cut": (lambda path: _cut(path / "meta/info.json"), ("info.json",)),
    "info.json without rate": (
        lambda path: _change_info(path, lambda info: info.pop("fps")),
        ("info.json", "fps"),
    ),
    "no action": (
        lambda path: _change_info(path, lambda info: info["features"].pop("action")),
        ("info.json", "'action'", "observation.state"),
    ),
    "no dataset": (lambda path: (path / "meta/info.json").unlink(), ("not a LeRobot dataset",)),
    "no list of episodes": (
        lambda path: (path / "meta/episodes.jsonl").unlink(),
        ("episodes.jsonl", "download"),
    ),
    "list of episodes cut": (
        lambda path: _cut(path / "meta/episodes.jsonl", 0.8),
        ("episodes.jsonl line 2", "download"),
    ),
    "list of episodes cut between lines": (
        lambda path: _cut(path / "meta/episodes.jsonl"),
        ("lists 1 episodes", "info.json says 2"),
    ),
    "missing column": (
        lambda path: _change_table(path, 0, "observation.state", None),
        ("episode_000000.parquet", "no column 'observation.state'"),
    ),
    "missing action column": (
        lambda path: _change_table(path, 0, "action", None),
        ("episode_000000.parquet", "no column 'action'"),
    ),
    "table cut": (lambda path: _cut(table_path(path, 0)), ("episode_000000.parquet", "cut")),
    "table missing": (
        lambda path: table_path(path, 0).unlink(),
        ("episode_000000.parquet is missing",),
    ),
    "rows missing": (
        lambda path: write_table(table_path(path, 0), rows(0, 7)),
        ("episode_000000.parquet", "7 rows", "meta/ says 8"),
    ),
    "rows out of order": (
        lambda path: write_table(
            table_path(path, 0), rows(0, 8) | {"frame_index": np.arange(8)[::-1]}
        ),
        ("episode_000000.parquet", "row 0 has frame_index 7"),
    ),
    "NaN": (
        lambda path: _change_table(path, 0, "observation.state", _state_with(float("nan"))),
        ("episode_000000", "'observation.state' at step 5, component 2 is nan"),
    ),
    "empty cell": (
        lambda path: _change_table(path, 0, "observation.state", _state_with(None)),
        ("episode_000000", "'observation.state' is empty in row 5"),
    ),
    "ragged rows": (
        lambda path: _change_table(path, 0, "observation.state", _shorter_rows()),
        ("episode_000000", "2 components in row 4", "(3,)"),
    ),
    "video missing": (
        lambda path: video_path(path, 0).unlink(),
        ("episode_000000.mp4 is missing",),
    ),
    "video cut": (lambda path: _cut(video_path(path, 0)), ("episode_000000.mp4", "cut")),
    "video too short": (
        lambda path: write_video(video_path(path, 0), [shown(t) for t in range(6)]),
        ("episode_000000.mp4: 6 frames", "8 rows"),
    ),
    "video too long": (
        lambda path: write_video(video_path(path, 0), [shown(t) for t in range(9)]),
        ("episode_000000.mp4: more than 8 frames", "8 rows"),
    ),
    "video of another size": (
        lambda path: write_video(video_path(path, 0), [shown(t)[:32] for t in range(8)]),
        ("episode_000000.mp4, frame 0", "32 × 64", "48 × 64"),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_named(dataset: Path, name: str) -> None:
    damage, told = BROKEN[name]
    damage(dataset)
    with pytest.raises(DataError) as caught:
        LeRobotSource(dataset).read("episode_000000")
    for part in told:
        assert part in str(caught.value)


@pytest.fixture
def shared_files(tmp_path: Path) -> Path:
    """A v3.0 dataset of three episodes in one table and one video."""
    spec = DataSpec({"observation.state": (3,), CAMERA: (48, 64, 3)}, 2, (-1, -1), (1, 1), RATE)
    episodes = [episode_of(spec, 6, seed, True) for seed in range(3)]
    store = store_with(tmp_path / "store", spec, episodes)
    export_lerobot(store, tmp_path / "v30", SilentProgress())
    return tmp_path / "v30"


TABLE, VIDEO = "data/chunk-000/file-000.parquet", f"videos/{CAMERA}/chunk-000/file-000.mp4"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def _change_column(path: Path, key: str, values: list[Any]) -> None:
    table = pq.read_table(path)
    number = table.column_names.index(key)
    pq.write_table(table.set_column(number, key, pa.array(values)), path)


BROKEN_V30: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "no list of episodes": (lambda path: (path / EPISODES).unlink(), ("lists no episodes",)),
    "list of episodes cut": (lambda path: _cut(path / EPISODES), (EPISODES, "cut")),
    "list of episodes without lengths": (
        lambda path: _change_column_name(path / EPISODES, "length"),
        (EPISODES, "length"),
    ),
    "times do not fit the rows": (
        lambda path: _change_column(
            path / EPISODES, f"videos/{CAMERA}/to_timestamp", [0.3, 0.6, 1.1]
        ),
        (EPISODES, "episode 2", "10.00 frames", "6 rows"),
    ),
    "episode beyond the video's end": (
        lambda path: [
            _change_column(path / EPISODES, f"videos/{CAMERA}/{end}_timestamp", seconds)
            for end, seconds in (("from", [0.0, 0.3, 0.7]), ("to", [0.3, 0.6, 1.0]))
        ],
        (f"{VIDEO}: 4 frames from second 0.7", "6 rows"),
    ),
    "video missing": (lambda path: (path / VIDEO).unlink(), (f"{VIDEO} is missing",)),
    "table missing": (lambda path: (path / TABLE).unlink(), (f"{TABLE} is missing",)),
    "table cut": (lambda path: _cut(path / TABLE), (TABLE, "cut")),
    "episode not in the table": (
        lambda path: _change_column(path / TABLE, "episode_index", [0] * 6 + [1] * 12),
        (TABLE, "episode_000002", "0 rows", "meta/ says 6"),
    ),
    "extras cut": (
        lambda path: _cut(path / "meta/softflow/episodes.parquet"),
        ("meta/softflow/episodes.parquet", "cut"),
    ),
    "extras of a newer softflow": (
        lambda path: (path / "meta/softflow/spec.json").write_text('{"format_version": 99}'),
        ("meta/softflow", "99", "upgrade"),
    ),
}


def _change_column_name(path: Path, key: str) -> None:
    table = pq.read_table(path)
    pq.write_table(
        table.rename_columns([f"no {n}" if n == key else n for n in table.column_names]), path
    )


@pytest.mark.parametrize("name", BROKEN_V30)
def test_broken_shared_files_are_named(shared_files: Path, name: str) -> None:
    damage, told = BROKEN_V30[name]
    damage(shared_files)
    with pytest.raises(DataError) as caught:
        LeRobotSource(shared_files).read("episode_000002")
    for part in told:
        assert part in str(caught.value)


def test_a_missing_frame_is_noticed(tmp_path: Path) -> None:
    """Frames are found by time, so one that the camera dropped does not shift all later ones."""
    path = tmp_path / "gap.mp4"
    write_video(path, [shown(step) for step in range(12)], missing=(5,))
    with pytest.raises(DataError, match=r"gap.mp4, frame 5.*\+1.00 frames"):
        read_clip(Clip(path, 0.0), RATE, np.empty((10, HEIGHT, WIDTH, 3), np.uint8))


def test_a_damaged_episode_does_not_stop_the_others(dataset: Path) -> None:
    _cut(video_path(dataset, 0))
    assert LeRobotSource(dataset).read("episode_000001").length == 11


def test_a_broken_picture_is_named(dataset: Path) -> None:
    feature = {"dtype": "image", "shape": [HEIGHT, WIDTH, 3], "names": None}
    _change_info(dataset, lambda info: info["features"].update({"observation.image": feature}))
    file = io.BytesIO()
    Image.fromarray(shown(0)).save(file, format="png")
    good = file.getvalue()
    for bad, told in ((good[:40], "cannot read"), (None, "holds no picture")):
        cells = pa.array([{"bytes": bad if step == 3 else good} for step in range(8)])
        _change_table(dataset, 0, "observation.image", cells)
        with pytest.raises(DataError, match=rf"{told}|step 3") as caught:
            LeRobotSource(dataset, cameras=["image"]).read("episode_000000")
        assert re.search(r"episode_000000.*'observation.image' at step 3", str(caught.value))
