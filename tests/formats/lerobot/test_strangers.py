"""LeRobot datasets of others: nothing is left out silently, nothing fine is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_datasets import (
    CAMERA,
    HEIGHT,
    RATE,
    WIDTH,
    change_info,
    change_table,
    episode_of,
    rows,
    shown,
    store_with,
    table_path,
    video_path,
    write_v21,
)
from PIL import Image

from softflow.cli.main import main
from softflow.data.data_spec import DataSpec
from softflow.errors import DataError, SeveralFaultsError
from softflow.formats.contents import told_contents
from softflow.formats.frames import resized
from softflow.formats.lerobot.export import export_lerobot
from softflow.formats.lerobot.reading import LeRobotSource
from softflow.utils.progress import SilentProgress

STATE = "observation.state"
LENGTHS = (8, 11)


def add(dataset: Path, key: str, dtype: str, shape: list[int], value: Any) -> None:
    """A feature with the same value in every row; cells of shape [1] are scalars."""
    feature = {"dtype": dtype, "shape": shape, "names": None}
    change_info(dataset, lambda info: info["features"].update({key: feature}))
    for episode, length in enumerate(LENGTHS):
        change_table(dataset, episode, key, pa.array([value] * length))


def rename(dataset: Path, names: dict[str, str]) -> None:
    """Features and columns by other names; videos stay where they are."""

    def change(info: dict[str, Any]) -> None:
        info["features"] = {names.get(k, k): v for k, v in info["features"].items()}
        for old, new in names.items():
            info["video_path"] = (
                info["video_path"].replace("{video_key}", old)
                if (info["features"][new]["dtype"] == "video")
                else info["video_path"]
            )

    change_info(dataset, change)
    for episode in range(len(LENGTHS)):
        path = table_path(dataset, episode)
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([names.get(k, k) for k in table.column_names]), path)


# ---- what vanished ---------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "value"), [("int64", [1, 7]), ("bool", [True, False])])
def test_states_of_any_numbers_are_taken(dataset: Path, dtype: str, value: list[Any]) -> None:
    add(dataset, "observation.buttons", dtype, [2], value)
    episode = LeRobotSource(dataset, cameras=[]).read("episode_000000")
    expected = np.tile(np.array(value, np.float32), (9, 1))
    np.testing.assert_array_equal(episode.observations["observation.buttons"], expected)


@pytest.mark.parametrize("success", [True, False])
def test_success_in_the_list_of_episodes_counts(dataset: Path, success: bool) -> None:
    lines = [
        {"episode_index": k, "length": n, "success": success, "grade": "b"}
        for k, n in enumerate(LENGTHS)
    ]
    (dataset / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = LeRobotSource(dataset, cameras=[])
    episode = source.read("episode_000001")
    assert (episode.success, episode.length) == (success, 11)
    assert "unlabelled" not in episode.metadata
    assert "meta/episodes grade str" in "\n".join(told_contents(source)).split("not taken:")[1]


def test_nothing_in_the_dataset_is_unmentioned(dataset: Path) -> None:
    add(dataset, "observation.words", "string", [1], "hello")
    add(dataset, "next.reward", "float32", [1], 0.5)
    add(dataset, "is_fresh", "bool", [1], True)
    change_table(dataset, 0, "observation.forgotten", pa.array([1.0] * 8))
    told = "\n".join(told_contents(LeRobotSource(dataset)))
    taken, left = told.split("not taken:")
    for name in ("observation.state", "action", CAMERA, "next.reward", "task_index"):
        assert f"  {name} " in taken
    for name in ("observation.words", "is_fresh", "observation.forgotten"):
        assert f"  {name} " in left
    for column in pq.read_table(table_path(dataset, 0)).column_names:
        assert f"  {column} " in told


def test_dense_rewards_are_kept_and_say_nothing_of_success(dataset: Path) -> None:
    dense = np.linspace(0.1, 2, 8)
    change_table(dataset, 0, "next.reward", pa.array(dense))
    change_table(dataset, 0, "next.done", pa.array([k == 7 for k in range(8)]))
    episode = LeRobotSource(dataset, cameras=[]).read("episode_000000")
    assert (episode.length, episode.success) == (8, False)
    assert episode.metadata["unlabelled"]
    np.testing.assert_allclose(episode.rewards, dense, rtol=1e-6)


def test_done_in_the_middle_cuts_nothing_with_whole(dataset: Path) -> None:
    change_table(dataset, 0, "next.done", pa.array([k in (3, 7) for k in range(8)]))
    cut = LeRobotSource(dataset, cameras=[])
    assert cut.read("episode_000000").length == 4
    assert "row 3 of 8" in cut.notes.drained()[0]
    whole = LeRobotSource(dataset, cameras=[], end_at_success=False)
    assert whole.read("episode_000000").length == 8
    assert not whole.notes.drained()


# ---- depth -----------------------------------------------------------------------------------


def _depth_video(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "gray16le"
        for step in range(8):
            pixels = np.full((HEIGHT, WIDTH), 700 + step, np.uint16)
            frame = av.VideoFrame.from_ndarray(pixels, format="gray16le")
            frame.pts = step
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_depth_video_is_no_picture(dataset: Path) -> None:
    """700 mm became 2 or 255 grey levels."""
    change_info(
        dataset, lambda info: info.update(video_path=info["video_path"].replace("mp4", "mkv"))
    )
    _depth_video(video_path(dataset, 0).with_suffix(".mkv"))
    with pytest.raises(DataError, match=r"gray16le: depth, which the store's cameras"):
        LeRobotSource(dataset).read("episode_000000")


def test_a_camera_that_calls_itself_depth_is_left_out(dataset: Path) -> None:
    told = {"video.is_depth_map": True}
    change_info(dataset, lambda info: info["features"][CAMERA].update(info=told))
    source = LeRobotSource(dataset)
    assert list(source.spec.observation_shapes) == [STATE]
    assert f"{CAMERA} [48, 64, 3] video  depth" in "\n".join(told_contents(source))
    with pytest.raises(DataError, match=r"is depth by meta/info\.json"):
        LeRobotSource(dataset, cameras=["front"])


def test_pictures_of_16_bits_are_refused(dataset: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((HEIGHT, WIDTH), 700, np.uint16)).save(file, format="png")
    add(dataset, "observation.depth", "image", [HEIGHT, WIDTH, 1], {"bytes": file.getvalue()})
    with pytest.raises(DataError, match="a PNG of 16 bits a channel"):
        LeRobotSource(dataset, cameras=["depth"]).read("episode_000000")


# ---- what was refused though fine --------------------------------------------------------------


def test_other_names_of_features_as_openpi_writes_them(dataset: Path, tmp_path: Path) -> None:
    rename(dataset, {"action": "actions", STATE: "state", CAMERA: "wrist_image"})
    options = "--action-key actions --state-keys state --cameras wrist_image"
    with pytest.raises(DataError, match=f"no feature 'action' .*: {options}"):
        LeRobotSource(dataset)
    command = ["data", "import", "lerobot", str(dataset), "--out", str(tmp_path / "store")]
    assert main([*command, *options.split()]) == 0
    source = LeRobotSource(
        dataset, action_key=["actions"], state_keys=["state"], cameras=["wrist_image"]
    )
    episode = source.read("episode_000001")
    np.testing.assert_array_equal(episode.actions, rows(1, 11)["action"])
    np.testing.assert_array_equal(episode.observations[STATE][:-1], rows(1, 11)[STATE])
    assert episode.observations["observation.images.wrist_image"].shape == (12, 48, 64, 3)
    assert source.spec.names == {STATE: ("a", "b", "c"), "action": ("x", "y")}


def test_several_features_side_by_side(dataset: Path) -> None:
    add(dataset, "action.gripper", "float64", [1], 0.25)
    source = LeRobotSource(dataset, action_key=["action", "action.gripper"], cameras=[])
    assert source.spec.names["action"] == ("action/x", "action/y", "action.gripper")
    np.testing.assert_array_equal(source.read("episode_000000").actions[:, 2], 0.25)
    assert source.spec.action_high[2] == 0.25


@pytest.mark.parametrize("said", ["2.1", 2.1])
def test_versions_without_their_letter(dataset: Path, said: Any) -> None:
    change_info(dataset, lambda info: info.update(codebase_version=said))
    assert LeRobotSource(dataset).version == "v2.1"


def test_paths_by_the_newer_names_of_their_parts(dataset: Path) -> None:
    path = "data/chunk-{chunk_index:03d}/episode_{file_index:06d}.parquet"
    change_info(dataset, lambda info: info.update(data_path=path))
    assert LeRobotSource(dataset, cameras=[]).read("episode_000001").length == 11


def test_jitter_with_complete_indices_is_no_fault(dataset: Path) -> None:
    late = np.array([0, 1, 2.7, 3, 4, 4.4, 6, 7]) / RATE
    change_table(dataset, 0, "timestamp", pa.array(late))
    assert LeRobotSource(dataset, cameras=[]).read("episode_000000").length == 8
    change_table(dataset, 0, "frame_index", None)
    with pytest.raises(DataError, match=r"1\.70 frames"):
        LeRobotSource(dataset, cameras=[]).read("episode_000000")


def test_a_rate_that_contradicts_the_timestamps_is_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for episode, length in enumerate(LENGTHS):
        change_table(dataset, episode, "timestamp", pa.array(np.arange(length) / 10.0))
    source = LeRobotSource(dataset, cameras=[])
    source.read("episode_000000")
    assert "says 20 Hz, but the rows" in source.notes.drained()[0]
    command = ["data", "import", "lerobot", str(dataset), "--cameras"]
    assert main([*command, "--out", str(tmp_path / "store")]) == 0
    assert "are 10 a second by their timestamps" in " ".join(capsys.readouterr().err.split())
    assert main([*command, "--check"]) == 0
    assert "are 10 a second by their timestamps" in capsys.readouterr().out


def test_counts_that_differ_from_the_list_are_told(dataset: Path) -> None:
    first = (dataset / "meta/episodes.jsonl").read_text().splitlines()[0]
    (dataset / "meta/episodes.jsonl").write_text(f"{first}\n")
    source = LeRobotSource(dataset)
    assert source.episodes() == ["episode_000000"]
    told = "\n".join(source.notes.drained())
    assert "lists 1 episodes, but meta/info.json says 2" in told
    assert "no episode of data/chunk-000/episode_000001.parquet: not read" in told


def test_a_clip_that_ends_where_its_last_frame_begins(tmp_path: Path) -> None:
    """43 of 43 videos of a public dataset."""
    spec = DataSpec({STATE: (3,), CAMERA: (48, 64, 3)}, 2, (-1, -1), (1, 1), RATE)
    store = store_with(tmp_path / "store", spec, [episode_of(spec, 6, k, True) for k in range(3)])
    export_lerobot(store, tmp_path / "set", SilentProgress())
    listed = tmp_path / "set/meta/episodes/chunk-000/file-000.parquet"
    table, key = pq.read_table(listed), f"videos/{CAMERA}/to_timestamp"
    ends = pa.array(np.asarray(table.column(key)) - 1 / RATE)
    pq.write_table(table.set_column(table.column_names.index(key), key, ends), listed)
    source = LeRobotSource(tmp_path / "set")
    for index, name in enumerate(source.episodes()):
        apart = source.read(name).observations[CAMERA][:-1].astype(int)
        apart -= store.episode(index).observations[CAMERA][:-1]
        assert np.abs(apart).mean() < 8


# ---- what the remedy is --------------------------------------------------------------------------

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123456\n"


@pytest.mark.parametrize(
    "file", ["meta/info.json", "meta/episodes.jsonl", "data", "videos"], ids=str
)
def test_git_lfs_pointers_are_known(dataset: Path, file: str) -> None:
    path = {"data": table_path(dataset, 0), "videos": video_path(dataset, 0)}.get(
        file, dataset / file
    )
    path.write_text(POINTER)
    with pytest.raises(DataError, match="git lfs pull") as caught:
        LeRobotSource(dataset).read("episode_000000")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("key", ["fps", "features", "data_path"])
def test_what_info_json_lacks_is_said(dataset: Path, key: str) -> None:
    change_info(dataset, lambda info: info.pop(key))
    with pytest.raises(DataError, match=rf"has no '{key}', .*; add \"{key}\"") as caught:
        LeRobotSource(dataset)
    assert "download" not in str(caught.value)


def test_all_faults_of_an_episode_are_told(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = rows(0, 8)[STATE]
    state[5, 2] = np.nan
    change_table(dataset, 0, STATE, pa.array(list(state)))
    change_table(dataset, 0, "timestamp", pa.array([0.0] * 8))
    video_path(dataset, 0).unlink()
    with pytest.raises(SeveralFaultsError, match="and 2 more of this episode") as caught:
        LeRobotSource(dataset).read("episode_000000")
    assert len(caught.value.faults) == 3
    assert main(["data", "import", "lerobot", str(dataset), "--check"]) == 1
    shown = capsys.readouterr().out
    for told in ("component 2 is nan", "'timestamp' goes from", ".mp4 is missing"):
        assert told in shown


def test_frames_are_resized_as_they_are_decoded(tmp_path: Path) -> None:
    dataset = write_v21(tmp_path / "set")
    whole = LeRobotSource(dataset).read("episode_000000").observations[CAMERA]
    small = LeRobotSource(dataset, image_size=(24, 32)).read("episode_000000")
    expected = [resized(frame, (24, 32)) for frame in whole]
    np.testing.assert_array_equal(small.observations[CAMERA], expected)
    assert shown(0).shape == (48, 64, 3)


def test_hidden_files_of_macos_are_no_tables(tmp_path: Path) -> None:
    spec = DataSpec({STATE: (3,)}, 2, (-1, -1), (1, 1), RATE)
    store = store_with(tmp_path / "store", spec, [episode_of(spec, 6, k, True) for k in range(2)])
    export_lerobot(store, tmp_path / "set", SilentProgress())
    for place in ("meta/episodes/chunk-000", "data/chunk-000"):
        (tmp_path / "set" / place / "._file-000.parquet").write_bytes(b"\x00\x05\x16\x07")
    source = LeRobotSource(tmp_path / "set")
    assert len(source.episodes()) == 2
    assert not source.notes.drained()


def test_videos_and_tables_are_numbered_apart(tmp_path: Path) -> None:
    """Frames of other episodes came where one index was taken for both: starVLA, pull 285."""
    spec = DataSpec({STATE: (3,), CAMERA: (48, 64, 3)}, 2, (-1, -1), (1, 1), RATE)
    store = store_with(tmp_path / "store", spec, [episode_of(spec, 6, k, True) for k in range(3)])
    export_lerobot(store, tmp_path / "set", SilentProgress(), video_file_mib=0)
    source = LeRobotSource(tmp_path / "set")
    for index, name in enumerate(source.episodes()):
        apart = source.read(name).observations[CAMERA].astype(int)
        apart -= store.episode(index).observations[CAMERA]
        assert np.abs(apart).mean() < 8


def test_cameras_without_names_or_statistics(dataset: Path) -> None:
    """What the converter from v2.1 to v3.0 emits: lerobot, issue 3786."""
    change_info(dataset, lambda info: info["features"][CAMERA].update(names=None))
    assert LeRobotSource(dataset).read("episode_000000").observations[CAMERA].shape[0] == 9
