"""LeRobot datasets in: a real recording, the real package's files, any codec, any column."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import av
import lerobot_environment
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot_datasets import (
    CAMERA,
    HEIGHT,
    RATE,
    WIDTH,
    change_info,
    change_table,
    decoded,
    rows,
    shown,
    table_path,
    video_path,
    write_table,
    write_v21,
    write_video,
)
from PIL import Image

from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.importing import import_into
from softflow.formats.lerobot.layout import Clip, component_names
from softflow.formats.lerobot.reading import LeRobotSource
from softflow.formats.lerobot.video import read_clip
from softflow.utils.progress import SilentProgress


@pytest.fixture(scope="session", params=["h264", "libsvtav1"])
def written_by_lerobot(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, np.ndarray]]:
    """A v3.0 dataset of the real package, and what was put into it."""
    if problem := lerobot_environment.ENVIRONMENT.problem():
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("lerobot")
    truth = folder / "truth.npz"
    lerobot_environment.run("lerobot_side.py", "write", folder / "set", request.param, truth)
    return folder / "set", dict(np.load(truth))


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_dataset_of_the_real_package(
    written_by_lerobot: tuple[Path, dict[str, np.ndarray]],
) -> None:
    path, truth = written_by_lerobot
    source = LeRobotSource(path)
    front, wrist = "observation.images.front", "observation.images.wrist"
    assert source.version == "v3.0"
    assert source.spec.names == {"observation.state": ("a", "b", "c"), "action": ("x", "gripper")}
    contact, force, state = "observation.contact", "observation.force", "observation.state"
    assert source.spec.state_keys == (contact, force, state)
    assert source.spec.action_low == tuple(truth["action"].min(axis=0).astype(float))
    video = decoded(path / f"videos/{front}/chunk-000/file-000.mp4")
    start = 0
    for index, (name, length) in enumerate(zip(source.episodes(), (9, 12, 10), strict=True)):
        episode, rows_of = source.read(name), slice(start, start + length)
        episode.validate(source.spec)
        for key in (contact, force, state, wrist):
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


@pytest.mark.slow
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
    change_info(dataset, lambda info: info["features"].update({"observation.image": feature}))
    expected: list[np.ndarray] = []
    for episode, length in enumerate((8, 11)):
        cells = []
        for step in range(length):
            file = io.BytesIO()
            Image.fromarray(shown(step, episode)).save(file, format=kind)
            cells.append({"bytes": file.getvalue(), "path": f"frame-{step:06d}.{kind}"})
            if episode == 1:
                expected.append(np.asarray(Image.open(file)))
        change_table(dataset, episode, "observation.image", pa.array(cells))
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
        told = "success" in columns or columns.get("reward") == at[6]
        assert ("unlabelled" not in episode.metadata) is told
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
