"""One process holds a robot: a lock on this machine that ends with the process, however it ends."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from softflow.data.files.writer_lock import WriterLock
from softflow.errors import RobotBusyError, WriterBusyError

FOLDER = Path(tempfile.gettempdir()) / "softflow-robots"


class RobotLock:
    """Held until `release`; use it as a context manager.

    Args:
        name: of the robot, the same for everybody who uses it.

    Raises:
        RobotBusyError: another process holds it.
        StoreError: the lock's file cannot be made.
    """

    def __init__(self, name: str) -> None:
        FOLDER.mkdir(exist_ok=True)
        file = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100] + ".lock"
        try:
            self._lock = WriterLock(FOLDER, file, "robot")
        except WriterBusyError as error:
            raise RobotBusyError(
                f"the robot {name!r} is held by another process on this machine ({FOLDER / file} "
                "says which); there is only one robot: end that process first"
            ) from error

    def __enter__(self) -> RobotLock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the robot back."""
        self._lock.release()
