"""Live progress of long work: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from softflow.utils.console import plain

LOG_INTERVAL_S = 20.0


@runtime_checkable
class ProgressReporter(Protocol):
    """What training code tells while it works."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A new piece of work of `total` units, `done` of them already there."""
        ...

    def advance(self, done: int, status: str = "") -> None:
        """`done` units are finished; `status` holds the numbers worth seeing now."""
        ...

    def say(self, line: str) -> None:
        """A line that stays on the screen."""
        ...


class SilentProgress:
    """Says nothing."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Ignore."""

    def advance(self, done: int, status: str = "") -> None:
        """Ignore."""

    def say(self, line: str) -> None:
        """Ignore."""


class ConsoleProgress:
    """A rich bar with time left on a terminal; elsewhere a line every 20 s."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<24}", style="bold", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}", markup=False),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._title, self._total, self._last_line_s, self._started_s = "", 0, 0.0, 0.0
        self._first = 0

    def __enter__(self) -> ConsoleProgress:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._progress.stop()

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Start a bar; the one before it stays on the screen."""
        title = plain(title)
        self._title, self._total, self._first = title, total, done
        self._started_s = self._last_line_s = time.monotonic()
        if self._live:
            self._task = self._progress.add_task(title, total=total, completed=done, status="")

    def advance(self, done: int, status: str = "") -> None:
        """Move the bar, or print a line if the last one is long ago."""
        if self._live and self._task is not None:
            self._progress.update(self._task, completed=done, status=plain(status))
            return
        now = time.monotonic()
        if done >= self._total or now - self._last_line_s > LOG_INTERVAL_S:
            self._last_line_s = now
            pace = (now - self._started_s) / max(done - self._first, 1)
            left_s = pace * (self._total - done)
            self.say(f"{self._title}: {done}/{self._total}  {status}  ({left_s:.0f} s left)")

    def say(self, line: str) -> None:
        """Print above the bar, as plain text; a log file keeps a line in one piece."""
        self._console.print(Text(plain(line)), highlight=False, soft_wrap=not self._live)
