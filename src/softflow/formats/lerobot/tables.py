"""Rows of a LeRobot table as arrays: one episode at a time, checked against meta/info.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import nan, prod
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from softflow.errors import DataError
from softflow.formats.frames import decoded_picture, resized
from softflow.formats.lerobot.layout import Place
from softflow.formats.lerobot.opening import damage_named, opened_table
from softflow.formats.lerobot.pages import column_sizes
from softflow.formats.lerobot.rows import EpisodeRows
from softflow.utils.progress import ProgressReporter

TIME_COLUMN = "timestamp"
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_NUMBERS = (
    *(pa.types.is_integer, pa.types.is_floating),
    *(pa.types.is_boolean, pa.types.is_decimal),
)
RATE_TOLERANCE = 0.05
"""How far timestamps may be from the rate that is promised, without a word."""
MADE_UP_WITHIN = 0.75
"""Frames by which three steps in a row may differ from three: a lost row makes them four."""
ACTION_ROWS = 1 << 16
"""Rows of actions read together."""


def episode_rows(rows: EpisodeRows, place: Place, wanted: Sequence[str]) -> pa.Table:
    """The rows of an episode, of those wanted columns that its table has.

    Raises:
        DataError: the file is missing or damaged, or rows are missing or twice there.
    """
    table = rows.read(place.table, place.index, [*wanted, "frame_index"])
    _require_whole(table, place)
    return table


def _require_whole(table: pa.Table, place: Place) -> None:
    where = f"{place.table}, {place.name}"
    if table.num_rows != place.length:
        raise DataError(
            f"{where}: {table.num_rows} rows, but meta/ says {place.length}; the file was cut or "
            "mixed up, download it again"
        )
    if table.num_rows == 0:
        raise DataError(f"{where}: no rows; delete the episode from meta/")
    if "frame_index" in table.column_names:
        frames = numbers(table, "frame_index", (), where)
        wrong = np.flatnonzero(frames != np.arange(len(frames)))
        if len(wrong):
            raise DataError(
                f"{where}: row {wrong[0]} has frame_index {frames[wrong[0]]:.0f}; rows are missing "
                "or out of order, download the file again"
            )


def require_steady_time(table: pa.Table, fps: float, where: str) -> str:
    """Raise unless a column "timestamp", if there is one, rises by about a frame from row to row.

    Frames of a video are found by counting: a row twice, or one left out, would shift them. Where
    "frame_index" counts all rows, a row may be late or early if its neighbours make up for it.

    Returns:
        What is odd about the times, without being a fault; "" if nothing is.

    Raises:
        DataError: it stands still, falls or leaps; names the row.
    """
    column = table.column(TIME_COLUMN) if TIME_COLUMN in table.column_names else None
    if column is None or not pa.types.is_floating(column.type) or len(column) < 2:
        return ""
    # Not by way of float32, in which seconds since 1970 would not move at all.
    times_s = np.asarray(column, np.float64)
    frames = np.diff(times_s) * fps
    usual = float(np.nanmedian(frames)) if not np.isnan(frames).all() else nan
    steady = np.abs(frames - usual) <= 0.5 * usual
    if "frame_index" in table.column_names and usual > 0:
        steady |= (frames > 0) & _made_up(frames / usual)
    wrong = np.flatnonzero(~steady)
    if len(wrong) or not usual > 0:
        row = int(wrong[0]) if len(wrong) else 0
        raise DataError(
            f"{where}: 'timestamp' goes from {times_s[row]:.4f} s in row {row} to "
            f"{times_s[row + 1]:.4f} s in row {row + 1}, {frames[row]:.2f} frames at {fps:g} Hz "
            f"({len(wrong)} such places); rows are missing or there twice: record the episode "
            "again, or leave it out"
        )
    if abs(usual - 1) > RATE_TOLERANCE:
        return (
            f"meta/info.json says {fps:g} Hz, but the rows of {where} are {fps / usual:.4g} a "
            "second by their timestamps; correct 'fps' there if it is wrong"
        )
    return ""


def _made_up(frames: np.ndarray) -> np.ndarray:
    """bool [n]: whether a step between rows and its neighbours are about three frames long."""
    padded = np.concatenate([[1.0], frames, [1.0]])
    together = padded[:-2] + padded[1:-1] + padded[2:]
    return np.abs(together - 3) <= MADE_UP_WITHIN


def require_columns(table: pa.Table, wanted: Sequence[str], where: str) -> None:
    """Raise a DataError unless the table has these columns."""
    for key in wanted:
        if key not in table.column_names:
            raise DataError(
                f"{where}: no column '{key}', which meta/info.json promises; download the file "
                "again, or delete the feature from meta/info.json"
            )


def numbers(table: pa.Table, key: str, shape: tuple[int, ...], where: str) -> np.ndarray:
    """A column of numbers or of nested lists as float32 [T, *shape].

    Raises:
        DataError: empty cells, or rows of another size.
    """
    column = table.column(key).combine_chunks()
    values: pa.Array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    per_row = 1
    for size in (*shape, 0):
        values = values.storage if isinstance(values, pa.ExtensionArray) else values
        if values.null_count:
            first = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
            raise DataError(
                f"{where}: '{key}' is empty in row {first // per_row} ({values.null_count} empty "
                "cells); repair or leave out this episode"
            )
        if not any(test(values.type) for test in _LISTS):
            break
        lengths = np.asarray(pc.call_function("list_value_length", [values]))
        if len(wrong := np.flatnonzero(lengths != size)):
            raise DataError(
                f"{where}: '{key}' has {lengths[wrong[0]]} components in row "
                f"{wrong[0] // per_row}, meta/info.json promises {shape}; correct one of them"
            )
        values, per_row = values.flatten(), per_row * size
    if not any(test(values.type) for test in _NUMBERS):
        raise DataError(
            f"{where}: '{key}' holds {values.type}, not numbers; correct the table, or delete the "
            "feature from meta/info.json"
        )
    array = values.to_numpy(zero_copy_only=False).astype(np.float32)
    if array.size != len(table) * prod(shape):
        raise DataError(
            f"{where}: '{key}' has {array.size} numbers in {len(table)} rows; meta/info.json "
            f"promises {shape} a row, correct one of them"
        )
    return array.reshape(len(table), *shape)


def pictures(
    table: pa.Table, key: str, frames: np.ndarray, promised: tuple[int, ...], where: str
) -> None:
    """Decode a column of PNG or JPEG files into `frames`, uint8 [T, height, width, 3].

    Each picture is of the size that is `promised`, and brought to that of `frames`.

    Raises:
        DataError: an empty cell, a damaged picture, or one of another size.
    """
    for step, cell in enumerate(table.column(key)):
        value = cell.as_py() or {}
        data = value.get("bytes") if isinstance(value, dict) else value
        place = f"{where}: '{key}' at step {step}"
        if not data:
            raise DataError(
                f"{place} holds no picture; LeRobot embeds pictures in the table when it saves an "
                "episode, save the dataset again"
            )
        frames[step] = resized(decoded_picture(data, place, promised), frames.shape[1:3])


def action_range(
    tables: Sequence[Path], columns: Mapping[str, int], progress: ProgressReporter
) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest finite action [A] of some tables, `ACTION_ROWS` rows in memory.

    A table that cannot be read is passed over: whoever reads its episodes is told.

    Args:
        tables: the files.
        columns: those that are the action, side by side, with their sizes.
        progress: told of each table.
    """
    size = sum(columns.values())
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    progress.begin("range of actions", len(tables))
    for done, path in enumerate(tables, 1):
        with suppress(DataError):
            for actions in _actions(path, columns):
                finite = np.isfinite(actions)
                low = np.minimum(low, np.where(finite, actions, np.inf).min(0, initial=np.inf))
                high = np.maximum(high, np.where(finite, actions, -np.inf).max(0, initial=-np.inf))
        progress.advance(done, path.name)
    seen = np.isfinite(low)
    return np.where(seen, low, 0.0), np.where(seen, high, 0.0)


def _actions(path: Path, columns: Mapping[str, int]) -> Iterator[np.ndarray]:
    """float32 [rows, A], piece by piece.

    Raises:
        DataError: the table is missing or damaged, or lacks a column.
    """
    with damage_named(path), opened_table(path) as file:
        sizes = column_sizes(file, path, [*columns])
        rows = ACTION_ROWS if all(size.longest == 0 for size in sizes) else 1
        for batch in file.iter_batches(rows, columns=[*columns]):
            table = pa.Table.from_batches([batch])
            require_columns(table, [*columns], str(path))
            parts = [numbers(table, key, (size,), str(path)) for key, size in columns.items()]
            yield np.concatenate(parts, axis=1)
