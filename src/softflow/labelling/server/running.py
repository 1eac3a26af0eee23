"""The server until Ctrl-C: it listens, says where, and ends with what it was asked for done."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from softflow.errors import ConfigError

END_S = 3
"""How long open connections may take to end."""
HEAD_S = 10.0
"""How long the head of a request may take to come."""
MAX_CONNECTIONS = 200


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 takes a free one.

    Raises:
        ConfigError: the address is not free, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        server.listen(128)
    except OSError as error:
        server.close()
        raise ConfigError(
            f"cannot serve on {host}:{port}: {error.strerror or error}; choose another --host or "
            "--port"
        ) from error
    return server


class Impatient(H11Protocol):
    """A connection that ends if no request comes: half ones would keep everybody else out."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connects."""
        super().connection_made(transport)
        self.loop.call_later(HEAD_S, self._look, self.cycle)

    def _look(self, before: object) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE and self.cycle is before:
            self.transport.close()
            return
        self.loop.call_later(HEAD_S, self._look, self.cycle)


class PageServer(uvicorn.Server):
    """Answers on a socket, which is closed in the end.

    Args:
        app: what answers.
        listener: from `listening`.
        close: called when it has ended.
    """

    def __init__(
        self, app: ASGIApp, listener: socket.socket, close: Callable[[], None] = lambda: None
    ) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,  # the program that serves has its own
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=END_S,
            limit_concurrency=MAX_CONNECTIONS,
            http=Impatient,
            ws="none",
            lifespan="off",
        )
        super().__init__(config)
        self.listener, self._close = listener, close
        self._on_started: Callable[[], None] = lambda: None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.listener.getsockname()[1]

    def answer(self, on_started: Callable[[], None] = lambda: None) -> None:
        """Answer until Ctrl-C, SIGTERM or `stop`.

        Args:
            on_started: called once requests are answered.

        Raises:
            KeyboardInterrupt: it was Ctrl-C; everything is closed by then.
        """
        self._on_started = on_started
        try:
            self.run(sockets=[self.listener])
        finally:
            self.listener.close()
            self._close()

    def stop(self) -> None:
        """End `answer` in another thread."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn has it, and then it is told."""
        await super().startup(sockets)
        self._on_started()
