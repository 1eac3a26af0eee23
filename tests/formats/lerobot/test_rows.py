"""Rows of episodes that share a Parquet file, in whatever way they are cut into row groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from softflow.errors import DataError
from softflow.formats.lerobot.pages import BATCH_ROWS
from softflow.formats.lerobot.rows import EpisodeRows

LENGTHS = (5, BATCH_ROWS, 2 * BATCH_ROWS + 3, 1, BATCH_ROWS - 6, 40)


def written(path: Path, episodes: np.ndarray, rows_a_group: int) -> Path:
    values = np.arange(len(episodes))
    table = pa.table({"episode_index": episodes, "value": values, "other": -values})
    pq.write_table(table, path, row_group_size=rows_a_group)
    return path


@pytest.mark.parametrize("rows_a_group", [7, BATCH_ROWS, 10**6])
@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 3, 0, 1, 1, 4), (2, 4, 2, 0)])
def test_every_episode_has_its_rows_in_any_order(
    tmp_path: Path, rows_a_group: int, order: tuple[int, ...]
) -> None:
    episodes = np.repeat(np.arange(6), LENGTHS)
    file, rows = written(tmp_path / "a.parquet", episodes, rows_a_group), EpisodeRows()
    for number, index in enumerate(order):
        wanted = ["value"] if number % 3 else ["value", "other"]
        table = rows.read(file, index, wanted)
        assert table.column_names == ["episode_index", *wanted]
        np.testing.assert_array_equal(table.column("value"), np.flatnonzero(episodes == index))
    rows.close()


@pytest.mark.parametrize("rows_a_group", [3, 100])
def test_scattered_rows_are_all_found(tmp_path: Path, rows_a_group: int) -> None:
    episodes = np.array([2, 0, 0, 2, 1, 0, 2, 1])
    file, rows = written(tmp_path / "a.parquet", episodes, rows_a_group), EpisodeRows()
    for index in (0, 2, 1, 3):
        found = rows.read(file, index).column("value")
        np.testing.assert_array_equal(found, np.flatnonzero(episodes == index))


def test_each_row_of_a_shared_group_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the beginning of the file for every episode: that is hours for thousands."""
    file = written(tmp_path / "a.parquet", np.repeat(np.arange(100), 50), 10**6)
    opened: list[list[int]] = []
    batches = pq.ParquetFile.iter_batches

    def counted(self: pq.ParquetFile, size: int, groups: list[int], columns: list[str]) -> object:
        opened.append(groups)
        return batches(self, size, groups, columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    rows = EpisodeRows()
    assert [rows.read(file, index, ["value"]).num_rows for index in range(100)] == [50] * 100
    assert opened == [[0]]


def test_reading_goes_on_after_a_damaged_file(tmp_path: Path) -> None:
    good = written(tmp_path / "good.parquet", np.repeat([0, 1], 3), 100)
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(good.read_bytes()[:-9])
    rows = EpisodeRows()
    assert rows.read(good, 0).num_rows == 3
    with pytest.raises(DataError, match=r"bad\.parquet"):
        rows.read(bad, 0)
    assert rows.read(good, 1).num_rows == 3
