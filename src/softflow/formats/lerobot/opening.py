"""Files of a LeRobot dataset opened with care: their errors name the file and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from softflow.data.files.limits import require_episode_bytes
from softflow.errors import DataError, SoftflowError, brief
from softflow.formats.lerobot.pages import column_sizes
from softflow.formats.remedies import remedy


def list_of(path: Path, leave_out: str = "\0") -> list[dict[str, Any]]:
    """The rows of a table that lists episodes or tasks, without columns of a prefix.

    Raises:
        DataError: missing, damaged, or larger than is read.
    """
    rows: list[dict[str, Any]] = []
    size = 0
    with damage_named(path), opened_table(path) as file:
        columns = [name for name in file.schema_arrow.names if not name.startswith(leave_out)]
        sizes = column_sizes(file, path, columns)
        require_episode_bytes(sum(group.decoded for group in sizes), str(path))
        batch_rows = min((group.batch_rows for group in sizes), default=1)
        for batch in file.iter_batches(batch_rows, columns=columns):
            size += batch.nbytes
            require_episode_bytes(size, str(path))
            rows += batch.to_pylist()
    return rows


def opened_table(path: Path, buffer_bytes: int = 0) -> pq.ParquetFile:
    """A Parquet file, of which only its own description is read.

    Raises:
        FileNotFoundError: it is missing, or no file.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    return pq.ParquetFile(path, buffer_size=buffer_bytes)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Errors of the Parquet, picture and video libraries, with the file and what to do.

    Raises:
        DataError: instead of theirs.
    """
    try:
        yield
    except SoftflowError:
        raise
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing, though the dataset's meta/ promises it; download it again"
        ) from error
    # Damage surfaces as almost any exception: Arrow's, FFmpeg's, OSError, KeyError, TypeError, …
    except Exception as error:
        if type(error) is MemoryError:
            raise DataError(f"{path} does not fit into memory; take fewer cameras") from error
        raise DataError(f"cannot read {path}: {brief(error)}; {remedy(path, error)}") from error
