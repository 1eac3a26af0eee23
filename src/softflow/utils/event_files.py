"""TensorBoard event files, written directly: no thread to lose events or to hang on a full disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from softflow.errors import StoreError

if TYPE_CHECKING:
    from tensorboard.summary.writer.record_writer import RecordWriter


class EventFiles:
    """Scalars under one folder: a TensorBoard run (a sub-folder) per name, a new file per opening.

    Args:
        folder: what `tensorboard --logdir` is given; made when the first scalar comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, RecordWriter] = {}

    def add(self, run: str, values: Mapping[str, float], *, step: int, wall_time_s: float) -> None:
        """Append `values` (tag to number) of one step, and hand them to the system at once.

        Raises:
            StoreError: if the disk refuses.
        """
        # Imported here: it is slow, and readers of metrics do without. Its classes are made at
        # import, which pyright cannot see.
        from tensorboard.compat.proto.event_pb2 import (
            Event,  # pyright: ignore[reportAttributeAccessIssue]
        )
        from tensorboard.compat.proto.summary_pb2 import (
            Summary,  # pyright: ignore[reportAttributeAccessIssue]
        )

        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        event = Event(wall_time=wall_time_s, step=step, summary=Summary(value=scalars))
        try:
            writer = self._writer(run)
            writer.write(event.SerializeToString())
            writer.flush()
        except OSError as error:
            raise StoreError(
                f"cannot write TensorBoard events to {self._folder / run}: {error.strerror}; free "
                "some space and run the same command again, it continues from the last checkpoint"
            ) from error

    def close(self) -> None:
        """Close the files; a later `add` opens new ones."""
        for writer in self._writers.values():
            # Only what `add` has already reported can still be pending here.
            with suppress(OSError):
                writer.close()
        self._writers.clear()

    def _writer(self, run: str) -> RecordWriter:
        if run not in self._writers:
            from tensorboard.compat.proto.event_pb2 import (
                Event,  # pyright: ignore[reportAttributeAccessIssue]
            )
            from tensorboard.summary.writer.record_writer import RecordWriter

            folder = self._folder / run
            folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time_ns()}"
            writer = RecordWriter((folder / name).open("wb"))
            writer.write(Event(file_version="brain.Event:2").SerializeToString())
            self._writers[run] = writer
        return self._writers[run]
