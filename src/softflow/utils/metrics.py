"""Numbers of a run: `metrics.csv` and TensorBoard events.

`metrics.csv` is long format, one number per row, so that a new metric never changes the columns:
`time_s,stage,update_step,robot_steps,name,value`. It is the record; the TensorBoard events are a
view of it, written beside it (one TensorBoard run per stage) and remade from it after a rewind.

A checkpoint stores `MetricLogger.position()`, the number of rows at that moment, and a resumed run
calls `rewind(position)`: rows written after the checkpoint go away, so no row is ever doubled,
whatever counter (update, robot step, episode) it was logged against.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from softflow.errors import DataError, StoreError
from softflow.utils.event_files import EventFiles
from softflow.utils.files import require_regular

COLUMNS = ("time_s", "stage", "update_step", "robot_steps", "name", "value")
_HEADER = (",".join(COLUMNS) + "\n").encode()
MAX_BYTES = 2**30
"""Of metrics.csv; a row has about 50."""
MAX_NAME = 128
MAX_TIME_S = 1e10
"""Three hundred years."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_COUNT = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class MetricSeries:
    """Every value of one metric in one stage, in the order written; all arrays have shape [N]."""

    stage: str
    name: str
    time_s: np.ndarray
    update_step: np.ndarray
    robot_steps: np.ndarray
    value: np.ndarray


def read_metrics(run_dir: str | Path) -> list[MetricSeries]:
    """Read `metrics.csv` of a run, also while it is being written; no file gives an empty list.

    Series come in the order in which they first appear. A line that is still being written (the
    last one, without its end) is left out.

    Raises:
        StoreError: if the file holds a line that is not a row of metrics.
    """
    path = Path(run_dir) / "metrics.csv"
    if not path.exists():
        return []
    columns: dict[tuple[str, str], list[tuple[float, int, int, float]]] = {}
    for row in read_rows(path):
        point = (row.time_s, row.update_step, row.robot_steps, row.value)
        columns.setdefault((row.stage, row.name), []).append(point)
    series: list[MetricSeries] = []
    for (stage, name), points in columns.items():
        time_s, update_step, robot_steps, value = (np.asarray(c) for c in zip(*points, strict=True))
        series.append(MetricSeries(stage, name, time_s, update_step, robot_steps, value))
    return series


class MetricLogger:
    """Appends numbers to `metrics.csv` and `tensorboard/` in a run folder.

    All rows of one `log` call go to the file in a single write, at once: a killed process loses
    none of them and leaves no half line. Time runs on from the last row when a run is reopened, so
    `time_s` is the time spent running.

    Raises:
        StoreError: if `metrics.csv` exists but is something else, or cannot be written.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self._run_dir = Path(run_dir)
        self._path = self._run_dir / "metrics.csv"
        try:
            self._run_dir.mkdir(parents=True, exist_ok=True)
            require_regular(self._path)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise StoreError(
                f"cannot write {self._path}: {error.strerror}; choose another run folder or make "
                "this one writable"
            ) from error
        self._num_rows = 0
        self._started = time.time()
        self._events = EventFiles(self._run_dir / "tensorboard")
        self._keep_rows(None)

    def log(
        self,
        values: Mapping[str, float],
        *,
        stage: str,
        update_step: int,
        robot_steps: int = 0,
    ) -> None:
        """Write `values` (name to number) at one point of the run.

        Raises:
            DataError: if a name or the stage holds anything but letters, digits and `_./-`.
            StoreError: if the disk is full; the file then ends after the previous call's rows.
        """
        now_s = time.time()
        time_s = now_s - self._started
        rows = [
            MetricRow(time_s, _plain(stage), update_step, robot_steps, _plain(name), float(value))
            for name, value in values.items()
        ]
        self._append("".join(row.to_line() for row in rows).encode())
        self._num_rows += len(rows)
        self._events.add(stage, values, step=update_step, wall_time_s=now_s)

    def position(self) -> int:
        """The number of rows written so far, all of them safely on the disk: for a checkpoint."""
        os.fsync(self._file)
        return self._num_rows

    def rewind(self, position: int) -> None:
        """Drop every row after the first `position` ones and remake the TensorBoard events.

        A file with fewer rows (removed by hand) is kept as it is: nothing more can be done, and it
        is no reason not to resume.
        """
        self._events.close()
        shutil.rmtree(self._run_dir / "tensorboard", ignore_errors=True)
        self._keep_rows(position)
        for row in read_rows(self._path):
            time_s = self._started + row.time_s
            values = {row.name: row.value}
            self._events.add(row.stage, values, step=row.update_step, wall_time_s=time_s)

    def close(self) -> None:
        """Write out what is pending and close; may be called twice."""
        self._events.close()
        if self._file >= 0:
            os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _keep_rows(self, limit: int | None) -> None:
        """Cut the file after `limit` rows (None: after the last whole one), continue its time."""
        content = _content(self._path)
        _require_header(content, self._path)
        whole = content.split(b"\n")[1:-1][:limit]
        if not content.startswith(_HEADER):
            os.ftruncate(self._file, 0)
            self._append(_HEADER)
        os.ftruncate(self._file, len(_HEADER) + sum(len(line) + 1 for line in whole))
        self._num_rows = len(whole)
        last_time_s = _parse(whole[-1], self._path, len(whole) + 1).time_s if whole else 0
        self._started = time.time() - last_time_s

    def _append(self, payload: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, payload)
            while written < len(payload):
                written += os.write(self._file, payload[written:])
        except OSError as error:
            os.ftruncate(self._file, size)
            raise StoreError(
                f"cannot append to {self._path}: {error.strerror}; free some space and run the "
                "same command again, it continues from the last checkpoint"
            ) from error


class MetricRow(NamedTuple):
    """One line of `metrics.csv`."""

    time_s: float
    stage: str
    update_step: int
    robot_steps: int
    name: str
    value: float

    def to_line(self) -> str:
        """The row as text; nine digits hold a float32 exactly."""
        return (
            f"{self.time_s:.3f},{self.stage},{self.update_step},{self.robot_steps},"
            f"{self.name},{self.value:.9g}\n"
        )


def _plain(name: str) -> str:
    """The name, if it may become a CSV field, a TensorBoard tag and the name of a folder."""
    climbs = {"", ".", ".."} & set(name.split("/"))
    if not _PLAIN_NAME.fullmatch(name) or climbs or len(name) > MAX_NAME:
        raise DataError(
            f"metric or stage name {name!r:.200} may hold only letters, digits and _ . / - "
            f"(it becomes a CSV field and a TensorBoard tag), no part of dots, and at most "
            f"{MAX_NAME} of them; rename it"
        )
    return name


def _content(path: Path) -> bytes:
    """The bytes of metrics.csv.

    Raises:
        StoreError: it cannot be read, or is longer than any run makes it.
    """
    require_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}; check the path") from error
    if len(content) > MAX_BYTES:
        raise StoreError(f"{path} is longer than {MAX_BYTES:,} bytes, more than any run writes")
    return content


def read_rows(path: Path, first: int = 0) -> list[MetricRow]:
    """The rows of a metrics.csv from number `first` on; none of a file that is not there.

    Raises:
        StoreError: it cannot be read, or holds something else.
    """
    if not path.exists():
        return []
    content = _content(path)
    _require_header(content, path)
    whole = content.split(b"\n")[1:-1][first:]
    return [_parse(line, path, number) for number, line in enumerate(whole, start=first + 2)]


def _require_header(content: bytes, path: Path) -> None:
    if content and not content.startswith(_HEADER[: len(content)]):
        raise StoreError(
            f"{path} does not start with the columns {','.join(COLUMNS)}; it was not "
            "written by softflow: move it away or choose another run folder"
        )


def _parse(line: bytes, path: Path, line_number: int) -> MetricRow:
    try:
        (time_s, stage, update_step, robot_steps, name, value) = next(csv.reader([line.decode()]))
        return MetricRow(
            _time(time_s),
            _plain(stage),
            _count(update_step),
            _count(robot_steps),
            _plain(name),
            float(value),
        )
    except (ValueError, csv.Error, StopIteration, DataError) as error:
        raise StoreError(
            f"{path} line {line_number} is not a row of metrics: {line.strip()!r:.200}; delete "
            "that line (the rest of the file stays usable)"
        ) from error


def _time(text: str) -> float:
    seconds = float(text)
    if not -MAX_TIME_S < seconds < MAX_TIME_S:
        raise ValueError(f"{text} is no time")
    return seconds


def _count(text: str) -> int:
    if not _COUNT.fullmatch(text):
        raise ValueError(f"{text} is no count")
    return int(text)
