"""Serve a policy to robots on other machines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from softflow.deployment.deployed_policy import load_policy
from softflow.robot.policy_server import PolicyServer, ServedPolicy, require_token
from softflow.robot.token_file import read_token
from softflow.utils.console import say
from softflow.utils.imports import trust

_NO_NETWORKS: Mapping[str, str] = MappingProxyType({})


def serve(
    checkpoint: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token_file: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str = "cpu",
    networks: Mapping[str, str] = _NO_NETWORKS,
    ready: Callable[[int], None] | None = None,
) -> None:
    """Answer robots until Ctrl-C.

    Args:
        checkpoint: a checkpoint, or a run folder: its newest one.
        host: address to listen on; any but this machine's own needs a token.
        port: 0 takes a free one.
        token_file: a file that only its owner may read, with the token in it.
        seed: of what is random in decisions.
        device: of the networks.
        networks: networks of your own that the checkpoint has: "policy", "critic", "encoder" or
            "image" -> package.module:Class.
        ready: is told the port, once robots may come; by default a line says so.

    Raises:
        SoftflowError: of many kinds; nothing was served.
    """
    token = "" if token_file is None else read_token(Path(token_file))
    require_token(host, token)
    trust(*filter(None, networks.values()))
    policy = load_policy(checkpoint, seed=seed, device=device)
    served = ServedPolicy(policy.path.name, policy.spec, policy.chunk, policy.reads, policy.plan)
    tell = ready or (lambda port: say(f"{served.name} answers at ws://{host}:{port}; Ctrl-C ends"))
    with suppress(KeyboardInterrupt):  # which is how it is meant to end
        asyncio.run(_serve(PolicyServer(served, token), host, port, tell))


async def _serve(server: PolicyServer, host: str, port: int, tell: Callable[[int], None]) -> None:
    listening = await server.start(host, port)
    try:
        tell(listening.sockets[0].getsockname()[1])
        await listening.serve_forever()
    finally:
        server.close()
