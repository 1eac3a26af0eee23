"""How a command leaves a run: its files closed, its report written, whatever happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softflow.errors import SoftflowError
from softflow.pages.run_report import write_report
from softflow.training.run import Run
from softflow.utils.console import say


@contextmanager
def closed_and_reported(run: Run) -> Iterator[None]:
    """Close a run and write its report at the end of the block, however that is left.

    What went wrong in the block is what is told in the end: a full disk refuses the report, too.

    Raises:
        StoreError: the last checkpoint or the report could not be written.
    """
    try:
        yield
    except BaseException:
        try:
            _close_and_report(run)
        except SoftflowError as error:
            say(f"and of the report: {error}", to_errors=True)
        raise
    _close_and_report(run)


def _close_and_report(run: Run) -> None:
    try:
        run.close()
    finally:
        write_report(run.folder)
