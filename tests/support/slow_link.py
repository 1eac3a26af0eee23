"""A slow network between client and server on this machine: late, in small pieces, or silent."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

LOOK_EVERY_S = 0.001


class SlowLink:
    """Carries bytes between its own port and a server's.

    Attributes:
        port: where to connect to instead.
        silent: carry nothing any more, as if a cable was pulled.

    Args:
        server: port of the server.
        delay_s: how much later bytes arrive, each way.
        piece: the most that arrives at once, bytes; the next ones a millisecond later.
    """

    def __init__(self, server: int, delay_s: float, piece: int) -> None:
        self._server, self._delay_s, self._piece = server, delay_s, piece
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.silent = self.closed = False
        self._start(self._accept)

    def _start(self, run: Callable[..., None], *arguments: socket.socket) -> None:
        threading.Thread(target=run, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        self._listening.settimeout(0.1)
        while not self.closed:
            try:
                near, _ = self._listening.accept()
            except TimeoutError:
                continue
            far = socket.create_connection(("127.0.0.1", self._server))
            self._start(self._carry, near, far)
            self._start(self._carry, far, near)
        self._listening.close()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        """One way, until either end hangs up."""
        one.settimeout(LOOK_EVERY_S)
        waiting: deque[tuple[float, bytes]] = deque()
        try:
            while not self.closed:
                with suppress(TimeoutError):
                    waiting.append((time.monotonic() + self._delay_s, one.recv(self._piece)))
                if waiting and waiting[0][0] <= time.monotonic() and not self.silent:
                    piece = waiting.popleft()[1]
                    if not piece:
                        return
                    other.sendall(piece)
                    time.sleep(LOOK_EVERY_S)
        except OSError:
            return
        finally:
            one.close()
            other.close()


@contextmanager
def slow_link(server: int, delay_s: float, piece: int) -> Iterator[SlowLink]:
    """A link that is closed in the end."""
    link = SlowLink(server, delay_s, piece)
    try:
        yield link
    finally:
        link.closed = True
