"""What hurt users of LeRobot's datasets, by the public report of it, rebuilt small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_datasets import (
    CAMERA,
    RATE,
    change_info,
    change_table,
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

from softflow.data.data_spec import DataSpec
from softflow.errors import DataError
from softflow.formats.lerobot.export import export_lerobot
from softflow.formats.lerobot.reading import LeRobotSource
from softflow.utils.progress import SilentProgress

EPISODES = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_v21(tmp_path / "dataset")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """v3.0: three episodes in one table and one video."""
    spec = DataSpec({"observation.state": (3,), CAMERA: (48, 64, 3)}, 2, (-1, -1), (1, 1), RATE)
    store = store_with(tmp_path / "store", spec, [episode_of(spec, 6, n, True) for n in range(3)])
    export_lerobot(store, tmp_path / "v30", SilentProgress())
    return tmp_path / "v30"


def in_list(dataset: Path, key: str, values: list[Any]) -> None:
    """Replace a column of v3.0's list of episodes."""
    table = pq.read_table(dataset / EPISODES)
    number = table.column_names.index(key)
    pq.write_table(table.set_column(number, key, pa.array(values)), dataset / EPISODES)


def lines_of(dataset: Path) -> list[dict[str, Any]]:
    text = (dataset / "meta/episodes.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def write_lines(dataset: Path, lines: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (dataset / "meta/episodes.jsonl").write_text(text)


def test_an_episode_listed_in_the_file_before_its_own(shared: Path) -> None:
    """A converter forgot to move an episode's entry to the next file: lerobot, issue 2401."""
    table = pq.read_table(shared / "data/chunk-000/file-000.parquet")
    pq.write_table(table.slice(0, 12), shared / "data/chunk-000/file-000.parquet")
    pq.write_table(table.slice(12), shared / "data/chunk-000/file-001.parquet")
    source = LeRobotSource(shared)
    assert source.read("episode_000001").length == 6
    with pytest.raises(DataError, match=r"file-000.parquet.*episode_000002.*0 rows.*says 6"):
        source.read("episode_000002")


def test_scrambled_ranges_of_rows_move_nothing(shared: Path) -> None:
    """dataset_from_index and _to_index were wrong where pictures lie in tables: issue 1919."""
    before = LeRobotSource(shared).read("episode_000001")
    if "dataset_from_index" in pq.read_schema(shared / EPISODES).names:
        in_list(shared, "dataset_from_index", [12, 0, 3])
        in_list(shared, "dataset_to_index", [3, 1, 900])
    after = LeRobotSource(shared).read("episode_000001")
    np.testing.assert_array_equal(after.actions, before.actions)
    np.testing.assert_array_equal(after.observations[CAMERA], before.observations[CAMERA])


def test_an_episode_of_no_length_takes_nobody_elses_frames(dataset: Path) -> None:
    """Frames of the next episode came in its place, silently: issue 4143."""
    lines = lines_of(dataset)
    lines[0]["length"] = 0
    write_lines(dataset, lines)
    source = LeRobotSource(dataset)
    with pytest.raises(DataError, match=r"episode_000000.parquet.*8 rows.*says 0"):
        source.read("episode_000000")
    np.testing.assert_array_equal(source.read("episode_000001").actions, rows(1, 11)["action"])
    lines[0]["length"] = -1
    write_lines(dataset, lines)
    with pytest.raises(DataError, match=r"episodes.jsonl line 1 is damaged.*length"):
        LeRobotSource(dataset)


def test_two_episodes_in_one_file_are_no_long_one(dataset: Path) -> None:
    """Their times jump back in the middle: unitree_lerobot, issue 41."""
    both = {k: np.concatenate([rows(0, 8)[k], rows(1, 11)[k]]) for k in rows(0, 8)}
    write_table(table_path(dataset, 0), both)
    lines = lines_of(dataset)
    lines[0]["length"] = 19
    write_lines(dataset, lines)
    with pytest.raises(DataError, match=r"episode_000000\.parquet"):
        LeRobotSource(dataset).read("episode_000000")


def test_numbers_of_episodes_need_not_begin_at_zero(tmp_path: Path) -> None:
    """Rows of a list were taken for numbers of episodes: ray, pull request 63821."""
    dataset = write_v21(tmp_path / "dataset", (8, 11, 7))
    write_lines(dataset, lines_of(dataset)[1:])
    table_path(dataset, 0).unlink()
    video_path(dataset, 0).unlink()
    source = LeRobotSource(dataset)
    assert source.episodes() == ["episode_000001", "episode_000002"]
    np.testing.assert_array_equal(source.read("episode_000002").actions, rows(2, 7)["action"])


def test_empty_lines_in_lists(dataset: Path) -> None:
    """A last line that is empty stopped a loader: Isaac-GR00T, issue 288."""
    for name in ("tasks", "episodes"):
        file = dataset / f"meta/{name}.jsonl"
        file.write_text(file.read_text().replace("\n", "\n\n") + "\n  \n")
    source = LeRobotSource(dataset)
    assert source.read("episode_000001").metadata["task"] == "push"


def test_rows_in_another_order_are_no_episode(dataset: Path) -> None:
    """Indices of rows that contradict the list went by unnoticed: refiner, issue 193."""
    order = np.random.default_rng(0).permutation(8)
    write_table(table_path(dataset, 0), {k: v[order] for k, v in rows(0, 8).items()})
    with pytest.raises(DataError, match=r"frame_index"):
        LeRobotSource(dataset).read("episode_000000")


def test_one_packed_file_is_read_once_for_each_episode(shared: Path) -> None:
    """Every episode had all rows of its file, 480 times as many: lingbot-vla, issue 11."""
    source = LeRobotSource(shared)
    assert [source.read(name).length for name in source.episodes()] == [6, 6, 6]


def test_a_video_with_fewer_frames_than_rows(dataset: Path) -> None:
    """Rows and frames of nine tasks were misaligned: AgiBot-World, issue 149."""
    write_video(video_path(dataset, 0), [shown(step) for step in range(6)])
    with pytest.raises(DataError, match=r"episode_000000.mp4.*6.*8 rows"):
        LeRobotSource(dataset).read("episode_000000")


def test_a_column_of_the_index_that_pandas_kept(dataset: Path) -> None:
    """Tables that went through pandas have a column more, which is no data of the robot."""
    change_table(dataset, 0, "__index_level_0__", pa.array(np.arange(8)))
    source = LeRobotSource(dataset)
    assert "__index_level_0__" not in source.spec.observation_shapes
    assert source.read("episode_000000").length == 8
    assert any("__index_level_0__" in str(part) for part in source.contents())


def test_shapes_that_are_one_number(dataset: Path) -> None:
    """Features of one component are plain columns in some versions, lists of one in others."""
    for episode, length in enumerate((8, 11)):
        column = pa.array(np.arange(length, dtype=np.float32))
        change_table(dataset, episode, "observation.gripper", column)
    change_info(
        dataset,
        lambda info: info["features"].update(
            {"observation.gripper": {"dtype": "float32", "shape": [1], "names": None}}
        ),
    )
    episode = LeRobotSource(dataset).read("episode_000000")
    np.testing.assert_array_equal(
        episode.observations["observation.gripper"][:-1].ravel(), np.arange(8)
    )


def test_two_cameras_of_one_name_are_told(dataset: Path) -> None:
    """The second one replaced the first, silently."""
    change_info(
        dataset,
        lambda info: info["features"].update({"observation.front": info["features"][CAMERA]}),
    )
    with pytest.raises(DataError, match=r"'observation.*front' would both become"):
        LeRobotSource(dataset)
    with pytest.raises(DataError, match="would both become"):
        LeRobotSource(dataset, cameras=["front"])
    chosen = LeRobotSource(dataset, cameras=[CAMERA])
    assert chosen.read("episode_000000").observations[CAMERA].shape == (9, 48, 64, 3)


def test_two_rewards_a_step_are_no_choice_of_ours(dataset: Path) -> None:
    """They were laid end to end, and rewards of other steps came of it, silently."""
    change_table(dataset, 0, "next.reward", pa.array([[1.0, 0.0]] * 8))
    change_info(
        dataset,
        lambda info: info["features"].update({"next.reward": {"dtype": "float32", "shape": [2]}}),
    )
    with pytest.raises(DataError, match=r"'next.reward' has shape \(8, 2\), one value a step"):
        LeRobotSource(dataset).read("episode_000000")


def test_an_episode_that_is_listed_twice(dataset: Path) -> None:
    """A recorder that was started again appended the episode's line once more."""
    lines = lines_of(dataset)
    write_lines(dataset, [*lines, lines[0]])
    assert LeRobotSource(dataset).episodes() == ["episode_000000", "episode_000001"]
    write_lines(dataset, [*lines, lines[0] | {"length": 3}])
    with pytest.raises(DataError, match=r"lists episode_000000 twice.*8 rows, then 3"):
        LeRobotSource(dataset)


@pytest.mark.parametrize("success", [1, 0, True])
def test_success_in_the_list_of_shared_files(shared: Path, success: int) -> None:
    """Whole numbers are truth values, too; without next.success the list alone tells it."""
    table = pq.read_table(shared / EPISODES)
    values = pa.array([success, success, None])
    pq.write_table(table.append_column("success", values), shared / EPISODES)
    file = shared / "data/chunk-000/file-000.parquet"
    dropped = [f"next.{name}" for name in ("reward", "success", "done", "terminated", "truncated")]
    pq.write_table(pq.read_table(file).drop_columns(dropped), file)
    shutil.rmtree(shared / "meta/softflow")
    change_info(shared, lambda info: [info["features"].pop(name) for name in dropped])
    source = LeRobotSource(shared)
    assert source.read("episode_000001").success == bool(success)
    assert source.read("episode_000002").metadata.get("unlabelled")


@pytest.mark.parametrize(("said", "known"), [(1, True), (0, False), ("yes", None), (0.5, None)])
def test_success_that_is_no_truth_value_is_left_out(dataset: Path, said: Any, known: Any) -> None:
    """A label of another kind is no reason to refuse the dataset, nor a success."""
    write_lines(dataset, [line | {"success": said} for line in lines_of(dataset)])
    source = LeRobotSource(dataset)
    episode = source.read("episode_000000")
    assert episode.success == bool(known)
    assert bool(episode.metadata.get("unlabelled")) == (known is None)
    (part,) = (p for p in source.contents() if p.name == "meta/episodes success")
    assert bool(part.becomes) != (said == "yes")
