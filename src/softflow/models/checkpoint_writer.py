"""Checkpoints written beside training: the tensors copied at once, the disk left to a thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from softflow.models.checkpoint import CheckpointParts


class CheckpointWriter:
    """Has one checkpoint at a time written by a thread, from a copy of its tensors.

    Training goes on as soon as the copy is made, and the checkpoint holds what was there when it
    was asked for. A kill at any moment costs the one in flight, never an earlier one. An error of
    the thread is raised by the next `start`, `wait` or `close`, once.

    Memory: a second copy of the tensors, from the first `start` on.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._in_flight: Future[object] | None = None
        self._copy: CheckpointParts | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is still being written."""
        return self._in_flight is not None and not self._in_flight.done()

    def start(self, parts: CheckpointParts, write: Callable[[CheckpointParts], object]) -> None:
        """Have `write` called with a copy of `parts`; first waits for the checkpoint before.

        Raises:
            StoreError: that one could not be written; this one is not begun.
        """
        self.wait()
        self._copy = parts.copied(into=self._copy)
        self._in_flight = self._thread.submit(write, self._copy)

    def wait(self) -> None:
        """Return when everything is on the disk.

        Raises:
            StoreError: it could not be written.
        """
        if self._in_flight is None:
            return
        wait([self._in_flight])  # Ctrl-C here leaves it in flight, for `close` to wait
        done, self._in_flight = self._in_flight, None
        done.result()

    def close(self) -> None:
        """Wait, then end the thread; may be called twice.

        Raises:
            StoreError: the last checkpoint could not be written.
        """
        try:
            self.wait()
        finally:
            self._thread.shutdown()
