"""The server until Ctrl-C: it listens, says where, and ends with what it was asked for done."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp

from softflow.errors import ConfigError

END_S = 3
"""How long open connections may take to end."""


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


def serve(app: ASGIApp, server: socket.socket, on_started: Callable[[], None]) -> None:
    """Answer until Ctrl-C or SIGTERM; the socket is closed then.

    Args:
        app: what answers.
        server: listens.
        on_started: called once requests are answered.
    """
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=END_S,
        limit_concurrency=200,
        ws="none",
        lifespan="off",
    )
    running = _Server(config, on_started)
    try:
        running.run(sockets=[server])
    finally:
        server.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()
