"""What a control loop and the process of its policy say to each other: small, no pickle."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Any

import msgspec


class Load(msgspec.Struct, tag=True):
    """Load a policy: the maker's further argument, such as a checkpoint; the number it gets."""

    path: str
    number: int


class Attach(msgspec.Struct, tag=True):
    """The shared memory that questions will lie in."""

    memory: str


class Decide(msgspec.Struct, tag=True):
    """A question lies in the shared memory."""

    episode: int
    step: int
    seed: int


class Loaded(msgspec.Struct, tag=True):
    """A policy is there."""

    spec: dict[str, Any]
    chunk: dict[str, int]
    version: str
    number: int
    exploration_std: float


class Decided(msgspec.Struct, tag=True):
    """The answer lies in the shared memory."""

    episode: int
    step: int
    decided_in_s: float
    number: int


class Failed(msgspec.Struct, tag=True):
    """It could not be done; `why` is for a person."""

    why: str


ToPolicy = Load | Attach | Decide
FromPolicy = Loaded | Decided | Failed

_TO_POLICY = msgspec.msgpack.Decoder(ToPolicy)
_FROM_POLICY = msgspec.msgpack.Decoder(FromPolicy)


def send(connection: Connection, message: ToPolicy | FromPolicy) -> None:
    """Send a message; it is far smaller than what a connection holds, so it does not wait."""
    connection.send_bytes(msgspec.msgpack.encode(message))


def to_policy(connection: Connection) -> ToPolicy:
    """The next message to a policy; waits for it."""
    return _TO_POLICY.decode(connection.recv_bytes())


def from_policy(connection: Connection) -> FromPolicy:
    """The next message of a policy; waits for it."""
    return _FROM_POLICY.decode(connection.recv_bytes())
