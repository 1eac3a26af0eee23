"""Live progress of long work: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
)
from rich.text import Text

from softflow.utils.console import plain
from softflow.utils.job_time import JobTime

LOG_INTERVAL_S = 20.0


@runtime_checkable
class ProgressReporter(Protocol):
    """What training code tells while it works."""

    def expect(self, work: Mapping[str, int]) -> None:
        """What the whole job still has to do, as `JobTime.expect`; else only pieces are known."""
        ...

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

    def expect(self, work: Mapping[str, int]) -> None:
        """Ignore."""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Ignore."""

    def advance(self, done: int, status: str = "") -> None:
        """Ignore."""

    def say(self, line: str) -> None:
        """Ignore."""


class ConsoleProgress:
    """A rich bar on a terminal, elsewhere a line every 20 s; with the time that is left.

    It is the time left of the whole job, if somebody said what that is, else of the piece of work.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description:<24}", style="bold", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[status]}", markup=False),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._title, self._total, self._last_line_s = "", 0, 0.0
        self._time = JobTime()

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

    def expect(self, work: Mapping[str, int]) -> None:
        """Tell the time that is left of all of this from now on."""
        self._time.expect(work)

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """Start a bar; the one before it stays on the screen."""
        title = plain(title)
        self._title, self._total = title, total
        self._time.begin(title, total, done)
        self._last_line_s = time.monotonic()
        if self._live:
            left = self._time.left()
            self._task = self._progress.add_task(
                title, total=total, completed=done, status="", left=left
            )

    def advance(self, done: int, status: str = "") -> None:
        """Move the bar, or print a line if the last one is long ago."""
        self._time.advance(done)
        left = self._time.left()
        if self._live and self._task is not None:
            self._progress.update(self._task, completed=done, status=plain(status), left=left)
            return
        now = time.monotonic()
        if done >= self._total or now - self._last_line_s > LOG_INTERVAL_S:
            self._last_line_s = now
            parts = (f"{self._title}: {done}/{self._total}", status, f"({left})" if left else "")
            self.say("  ".join(filter(None, parts)))

    def say(self, line: str) -> None:
        """Print above the bar, as plain text; a log file keeps a line in one piece."""
        self._console.print(Text(plain(line)), highlight=False, soft_wrap=not self._live)
