"""Rows of one episode after the other out of Parquet files that many episodes share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from softflow.data.files.limits import require_episode_bytes
from softflow.errors import DataError
from softflow.formats.lerobot.opening import damage_named, opened_table
from softflow.formats.lerobot.pages import Sizes, column_sizes

EPISODE_COLUMN = "episode_index"
BUFFER_BYTES = 1 << 20


class EpisodeRows:
    """Reads the rows of episodes; the file of the last one stays open.

    A file may hold one row group an episode, as LeRobot records it, or thousands of episodes in
    one, as its converters write it: whoever reads episodes in their order decodes each row once.
    """

    def __init__(self) -> None:
        self._table: _Table | None = None

    def read(self, path: Path, index: int, wanted: Sequence[str] = ()) -> pa.Table:
        """The rows of `path` with this episode_index, all columns or those wanted that are there.

        Raises:
            DataError: the file is missing, damaged, or without episode_index.
        """
        try:
            with damage_named(path):
                if self._table is None or self._table.path != path:
                    self.close()
                    self._table = _Table(path)
                return self._table.rows(index, wanted)
        except DataError:
            # Nobody knows how far into a damaged file it came.
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the next `read` opens one again."""
        if self._table is not None:
            self._table.close()
            self._table = None


class _Table:
    """One open file, and where in it the last batch of rows ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Streamed: otherwise whole columns of a row group are read at once.
        self._file = opened_table(path, BUFFER_BYTES)
        try:
            self._names = self._file.schema_arrow.names
            if EPISODE_COLUMN not in self._names:
                raise DataError(
                    f"{path} has no column '{EPISODE_COLUMN}' (it has {self._names}); download it "
                    "again"
                )
            groups = range(self._file.num_row_groups)
            sizes = [self._file.metadata.row_group(group).num_rows for group in groups]
            self._group_starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            self._spans = self._find_spans()
        except BaseException:
            self.close()
            raise
        self._columns: list[str] = []
        self._checked: dict[tuple[str, ...], list[Sizes]] = {}
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._held: pa.RecordBatch | None = None
        self._held_from = 0

    def close(self) -> None:
        self._file.close()

    def rows(self, index: int, wanted: Sequence[str]) -> pa.Table:
        first, stop = self._spans.get(index, (0, 0))
        if first == stop:
            return self._file.schema_arrow.empty_table()
        columns = [key for key in self._names if not wanted or key in (*wanted, EPISODE_COLUMN)]
        self._require_room(first, stop, columns)
        self._go_to(first, columns)
        pieces: list[pa.RecordBatch] = []
        while first < stop:
            batch = self._batch_with(first)
            pieces.append(batch.slice(first - self._held_from, stop - first))
            first += pieces[-1].num_rows
        table = pa.Table.from_batches(pieces)
        return table.filter(pa.array(np.asarray(table.column(EPISODE_COLUMN)) == index))

    def _require_room(self, first: int, stop: int, columns: list[str]) -> None:
        """Raise if the rows decode to more than an episode may have."""
        key = tuple(columns)
        if key not in self._checked:
            self._checked[key] = column_sizes(self._file, self.path, columns)
        groups = pairwise(self._group_starts.tolist())
        declared = 0
        for (start, end), size in zip(groups, self._checked[key], strict=True):
            rows = min(stop, end) - max(first, start)
            if rows > 0:
                declared += size.decoded * rows // (end - start) + size.longest * rows
        require_episode_bytes(declared, f"{self.path}, rows {first} to {stop - 1}")

    def _find_spans(self) -> dict[int, tuple[int, int]]:
        """Episode -> its first row, and the one behind its last."""
        column_sizes(self._file, self.path, [EPISODE_COLUMN])
        kind = self._file.schema_arrow.field(EPISODE_COLUMN).type
        if self._file.metadata.num_rows and not pa.types.is_integer(kind):
            raise DataError(f"{self.path}: '{EPISODE_COLUMN}' is {kind!s:.60}, not a whole number")
        column = self._file.read(columns=[EPISODE_COLUMN]).column(EPISODE_COLUMN)
        episodes = np.asarray(column)
        found, firsts = np.unique(episodes, return_index=True)
        lasts = len(episodes) - 1 - np.unique(episodes[::-1], return_index=True)[1]
        return {
            int(episode): (int(first), int(last) + 1)
            for episode, first, last in zip(found, firsts, lasts, strict=True)
        }

    def _go_to(self, row: int, columns: list[str]) -> None:
        """Read on from where the last episode ended, or from the row group with this row."""
        group = int(np.searchsorted(self._group_starts, row, side="right")) - 1
        start = int(self._group_starts[group])
        behind = self._held_from + (self._held.num_rows if self._held is not None else 0)
        if columns == self._columns and self._held_from <= row and start <= behind:
            return
        groups = list(range(group, self._file.num_row_groups))
        self._columns, self._held, self._held_from = columns, None, start
        sizes = self._checked[tuple(columns)][group:]
        batch_rows = min(size.batch_rows for size in sizes)
        self._batches = self._file.iter_batches(batch_rows, groups, columns)

    def _batch_with(self, row: int) -> pa.RecordBatch:
        """The batch that holds a row at or behind the one that is held."""
        while self._held is None or row >= self._held_from + self._held.num_rows:
            self._held_from += self._held.num_rows if self._held is not None else 0
            # Forgotten first: two batches of pictures are twice the memory.
            self._held = None
            self._held = next(self._batches, None)
            if self._held is None:
                raise DataError(f"{self.path} ends at row {self._held_from}; download it again")
        return self._held
