"""LeRobot datasets broken on purpose: every error names the file, the place and the fix."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    write_table,
    write_video,
)
from PIL import Image

from softflow.data.data_spec import DataSpec
from softflow.errors import DataError
from softflow.formats.lerobot.export import export_lerobot
from softflow.formats.lerobot.layout import Clip
from softflow.formats.lerobot.reading import LeRobotSource
from softflow.formats.lerobot.video import read_clip
from softflow.utils.progress import SilentProgress


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
        lambda path: change_info(path, lambda info: info.update(codebase_version="v9.0")),
        ("info.json", "v9.0", "convert"),
    ),
    "info.json cut": (lambda path: _cut(path / "meta/info.json"), ("info.json",)),
    "info.json without rate": (
        lambda path: change_info(path, lambda info: info.pop("fps")),
        ("info.json", "fps"),
    ),
    "no action": (
        lambda path: change_info(path, lambda info: info["features"].pop("action")),
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
    "missing column": (
        lambda path: change_table(path, 0, "observation.state", None),
        ("episode_000000.parquet", "no column 'observation.state'"),
    ),
    "missing action column": (
        lambda path: change_table(path, 0, "action", None),
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
        lambda path: change_table(path, 0, "observation.state", _state_with(float("nan"))),
        ("episode_000000", "'observation.state' at step 5, component 2 is nan"),
    ),
    "empty cell": (
        lambda path: change_table(path, 0, "observation.state", _state_with(None)),
        ("episode_000000", "'observation.state' is empty in row 5"),
    ),
    "ragged rows": (
        lambda path: change_table(path, 0, "observation.state", _shorter_rows()),
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
        ("episode_000000.mp4", "32 × 64", "48 × 64"),
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


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ([0, 1, 2, 2, 3, 4, 5, 6], r"from 0\.1000 s in row 2 to 0\.1000 s in row 3, 0\.00 frames"),
        ([0, 1, 2, 3, 5, 6, 7, 8], r"in row 3 to .* in row 4, 2\.00 frames at 20 Hz \(1 such"),
        ([0, 1, 2, 3, 2, 3, 4, 5], r"row 4, -1\.00 frames"),
        ([0, 1, 2, 3, 4, np.nan, 6, 7], r"in row 4 to nan s in row 5"),
    ],
    ids=["twice", "left out", "back", "nan"],
)
def test_rows_off_their_time(dataset: Path, times: list[float], told: str) -> None:
    change_table(dataset, 0, "timestamp", pa.array([t / RATE for t in times], pa.float64()))
    with pytest.raises(DataError, match=rf"episode_000000\.parquet, episode_000000: .*{told}"):
        LeRobotSource(dataset).read("episode_000000")
    assert LeRobotSource(dataset).read("episode_000001").length == 11


@pytest.mark.parametrize("start_s", [0.0, 1.7e9], ids=["from 0", "since 1970"])
def test_times_may_drift_and_begin_anywhere(dataset: Path, start_s: float) -> None:
    change_table(dataset, 0, "timestamp", pa.array(start_s + np.arange(8) * 1.02 / RATE))
    assert LeRobotSource(dataset).read("episode_000000").length == 8


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
        ("meta/episodes", "file-000.mp4", "10.00 frames", "6 rows"),
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
    change_info(dataset, lambda info: info["features"].update({"observation.image": feature}))
    file = io.BytesIO()
    Image.fromarray(shown(0)).save(file, format="png")
    good = file.getvalue()
    for bad, told in ((good[:40], "cannot read"), (None, "holds no picture")):
        cells = pa.array([{"bytes": bad if step == 3 else good} for step in range(8)])
        change_table(dataset, 0, "observation.image", cells)
        with pytest.raises(DataError, match=rf"{told}|step 3") as caught:
            LeRobotSource(dataset, cameras=["image"]).read("episode_000000")
        assert re.search(r"episode_000000.*'observation.image' at step 3", str(caught.value))
