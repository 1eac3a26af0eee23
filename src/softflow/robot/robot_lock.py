"""One process holds a robot: a name on this machine that ends with the process, however it ends."""

from __future__ import annotations

import hashlib
import socket
import struct
import sys

from softflow.errors import RobotBusyError

ASKERS = 1000
"""How many are told which process it is; nobody accepts them, so they stay in the queue."""
_CREDENTIALS = struct.Struct("3i")


class RobotLock:
    """Held until `release`; use it as a context manager.

    It is an abstract socket on Linux, a loopback port elsewhere, which no file, user or TMPDIR has
    a part in: whoever wants the robot on this machine meets the same one.

    Args:
        name: of the robot, the same for everybody who uses it.

    Raises:
        RobotBusyError: another process holds it; says which.
    """

    def __init__(self, name: str) -> None:
        family, address = _place_of(name)
        self._socket = socket.socket(family)
        try:
            self._socket.bind(address)
            self._socket.listen(ASKERS)
        except OSError as error:
            self._socket.close()
            raise RobotBusyError(
                f"the robot {name!r} is held by {_holder(family, address)}; there is only one "
                "robot: end that process first"
            ) from error

    def __enter__(self) -> RobotLock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the robot back."""
        self._socket.close()


def _place_of(name: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Where the holder of a robot listens."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    if sys.platform == "linux":
        return socket.AF_UNIX, f"\0softflow-robot-{digest}"
    return socket.AF_INET, ("127.0.0.1", 20_000 + int(digest[:8], 16) % 20_000)


def _holder(family: socket.AddressFamily, address: str | tuple[str, int]) -> str:
    """Which process listens there, as far as the system tells."""
    if family != socket.AF_UNIX:
        return "another process on this machine"
    with socket.socket(family) as asking:
        asking.setblocking(False)
        try:
            asking.connect(address)
            told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return "another process on this machine"
    pid, _, _ = _CREDENTIALS.unpack(told)
    return f"process {pid} on this machine"
