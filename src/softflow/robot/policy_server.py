"""A policy on one machine, robots on others: `softflow serve`. The policy is a function here.

Inference runs in a thread of its own, one decision at a time, so that health is answered and
hostile messages are refused while it thinks. Beyond this machine a token is needed; it travels as
it is, so the network is a trusted one, or a tunnel (ssh -L).
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from http import HTTPStatus

import msgspec
import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, DataError, PolicyServerError, SoftflowError, brief
from softflow.robot.messages import (
    MAX_HELLO_BYTES,
    PROTOCOL,
    Answer,
    Array,
    Ask,
    Hello,
    Refusal,
    Welcome,
    ask_bytes,
    checked_ask,
    packed,
    unpacked,
)
from softflow.utils.machine import softflow_version

Decide = Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]
"""Observations key -> `[history, ...]` and the prefix `[P, A]` to a chunk `[H, A]`."""
HELLO_S = 5.0
"""Who connects and says nothing is sent away after so long."""
MAX_CLIENTS = 8
MIN_TOKEN_LETTERS = 16
HEALTH = "/health"


@dataclass(frozen=True)
class ServedPolicy:
    """A policy for clients.

    Attributes:
        name: of its checkpoint.
        spec: what its observations and actions are.
        chunk: lengths of its decisions.
        reads: keys of the observations that it reads.
        decide: takes a decision.
    """

    name: str
    spec: DataSpec
    chunk: ChunkSpec
    reads: tuple[str, ...]
    decide: Decide


class PolicyServer:
    """Answers several clients.

    Args:
        policy: what is served.
        token: clients must know it; "" lets every process of this machine in, and nobody else.
        max_clients: at the same time; further ones are told to come back.
    """

    def __init__(
        self, policy: ServedPolicy, token: str = "", max_clients: int = MAX_CLIENTS
    ) -> None:
        self._policy, self._token, self._max_clients = policy, token, max_clients
        self._thread = ThreadPoolExecutor(1, "policy")
        self._clients, self._decisions = 0, 0
        self._began_s: float | None = None
        self._largest = max(MAX_HELLO_BYTES, ask_bytes(policy.spec, policy.chunk, policy.reads))

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> Server:
        """Begin to serve; port 0 takes a free one. Closing what this gives ends it.

        Raises:
            ConfigError: clients from elsewhere could connect, and there is no token, or the address
                is not free.
        """
        require_token(host, self._token)
        try:
            return await serve(
                self._talk,
                host,
                port,
                process_request=self._admit,
                origins=[None],  # a page in a browser of this machine is no client
                compression=None,  # a few kilobytes must not decode to gigabytes
                max_size=self._largest,
                max_queue=1,
                open_timeout=HELLO_S,
                logger=_silent(),
            )
        except OSError as error:
            raise ConfigError(
                f"cannot serve on {host}:{port}: {error.strerror or error}; choose another --host "
                "or --port"
            ) from error

    def close(self) -> None:
        """Let the thread of the policy end, once its decision is taken."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Who may connect; health is answered here, beside all inference."""
        if self._token and not self._knows_token(request):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "a token is needed\n")
        if request.path == HEALTH:
            return connection.respond(HTTPStatus.OK, json.dumps(self._health()) + "\n")
        if self._clients >= self._max_clients:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many clients\n")
        return None

    def _knows_token(self, request: Request) -> bool:
        given = request.headers.get_all("Authorization")
        wanted = f"Bearer {self._token}".encode()
        return len(given) == 1 and hmac.compare_digest(
            given[0].encode(errors="surrogateescape"), wanted
        )

    def _health(self) -> dict[str, object]:
        began_s = self._began_s
        running_s = 0.0 if began_s is None else time.monotonic() - began_s
        return {
            "status": "ok",
            "policy": self._policy.name,
            "clients": self._clients,
            "decisions": self._decisions,
            "deciding_for_s": round(running_s, 3),
        }

    async def _talk(self, connection: ServerConnection) -> None:
        """All of one client; whatever it does ends with it."""
        self._clients += 1
        try:
            await self._greet(connection)
            async for content in connection:
                await connection.send(packed(await self._answer(content)))
        except PolicyServerError as error:
            await _refuse(connection, str(error))
        except (ConnectionClosed, TimeoutError):
            pass
        finally:
            self._clients -= 1

    async def _greet(self, connection: ServerConnection) -> None:
        content = await asyncio.wait_for(connection.recv(), HELLO_S)
        require_fit(unpacked(content, Hello), self._policy)
        policy = self._policy
        welcome = Welcome(
            PROTOCOL,
            softflow_version(),
            policy.name,
            policy.spec.to_json(),
            asdict(policy.chunk),
            list(policy.reads),
        )
        await connection.send(packed(welcome))

    async def _answer(self, content: bytes | str) -> Answer | Refusal:
        """The answer to one question; a policy that fails costs its client the answer.

        Raises:
            PolicyServerError: the question is none.
        """
        policy, ask = self._policy, unpacked(content, Ask)
        observations, prefix = checked_ask(ask, policy.spec, policy.chunk, policy.reads)
        loop = asyncio.get_running_loop()
        try:
            actions, taken_ms = await loop.run_in_executor(
                self._thread, self._decide, observations, prefix
            )
        except SoftflowError as error:
            return Refusal(str(error)[:4000])
        except Exception as error:  # of whatever the policy is made of; the server goes on
            return Refusal(f"the policy failed: {brief(error)}")
        return Answer(ask.id, Array.of(actions), taken_ms)

    def _decide(
        self, observations: dict[str, np.ndarray], prefix: np.ndarray
    ) -> tuple[np.ndarray, float]:
        self._began_s = began_s = time.monotonic()
        try:
            chunk = np.asarray(self._policy.decide(observations, prefix), np.float32)
        finally:
            self._began_s = None
        self._decisions += 1
        return chunk, 1000 * (time.monotonic() - began_s)


def require_token(host: str, token: str) -> None:
    """Raise unless a server may listen there.

    Raises:
        ConfigError: others could connect without a token, or it is too short to be one.
    """
    if token and len(token) < MIN_TOKEN_LETTERS:
        raise ConfigError(
            f"the token has {len(token)} letters; give at least {MIN_TOKEN_LETTERS}, for example "
            "from: openssl rand -hex 32"
        )
    if not token and not is_loopback(host):
        raise ConfigError(
            f"--host {host} lets other machines in, and everyone there could move the robot; give "
            "--token-file, or serve on 127.0.0.1 and use a tunnel (ssh -L)"
        )


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_fit(hello: Hello, policy: ServedPolicy) -> None:
    """Raise unless a policy can act for a client.

    Raises:
        PolicyServerError: it speaks another protocol, or is another robot.
    """
    if hello.protocol != PROTOCOL:
        raise PolicyServerError(
            f"the client speaks protocol {hello.protocol} (softflow {hello.softflow}), the server "
            f"{PROTOCOL} (softflow {softflow_version()}); install the same softflow on both"
        )
    try:
        lines = policy.spec.differences(DataSpec.from_json(hello.spec))
        chunk = None if hello.chunk is None else msgspec.convert(hello.chunk, ChunkSpec)
    except (DataError, ConfigError, msgspec.ValidationError) as error:
        raise PolicyServerError(f"the client's description is damaged: {error}") from error
    if chunk is not None and chunk != policy.chunk:
        lines.append(f"decisions: {policy.chunk} and {chunk}")
    if lines:
        raise PolicyServerError(
            f"policy {policy.name} was made for another robot than the client's, whose values come "
            "last: " + "; ".join(lines[:4])
        )


async def _refuse(connection: ServerConnection, reason: str) -> None:
    try:
        await connection.send(packed(Refusal(reason[:4000])))
        await connection.close(1008, "refused")
    except ConnectionClosed:
        pass


def _silent() -> logging.Logger:
    """Noise of the net is none of the operator's: every scan would be a page of traceback."""
    logger = logging.getLogger("softflow.policy_server")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
