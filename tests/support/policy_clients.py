"""Clients of a policy server: those of softflow, and those who say what they like."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numpy as np
import websockets.sync.client as plain_client
from policy_serving import CHUNK, READS, SPEC, question, telling

from softflow.robot.messages import (
    PROTOCOL,
    Array,
    Ask,
    Hello,
    Welcome,
    packed,
    unpacked,
)
from softflow.robot.policy_client import PolicyClient


def url(port: int) -> str:
    return f"ws://127.0.0.1:{port}"


def client(port: int, **options: Any) -> PolicyClient:
    given: dict[str, Any] = {"chunk": CHUNK, "deadline_s": 10.0, **options}
    return PolicyClient(url(port), SPEC, **given)


def raw(port: int, **options: Any) -> plain_client.ClientConnection:
    with ExitStack() as stack:
        connecting = plain_client.connect(url(port), proxy=None, max_size=None, **options)
        connection = stack.enter_context(connecting)
        stack.pop_all()  # tests hang up, or the server does
    return connection


def greeted(port: int) -> plain_client.ClientConnection:
    connection = raw(port)
    connection.send(packed(hello()))
    assert isinstance(unpacked(connection.recv(5), Welcome), Welcome)
    return connection


def hello(**changes: Any) -> Hello:
    facts: dict[str, Any] = {"protocol": PROTOCOL, "softflow": "0.1.0", "spec": SPEC.to_json()}
    facts |= {"chunk": asdict(CHUNK), **changes}
    return Hello(**facts)


def asked(seed: int = 0, **changes: Any) -> Ask:
    observations, prefix = question(seed)
    seen = {key: Array.of(observations[key]) for key in READS}
    facts: dict[str, Any] = {"id": 1, "observations": seen, "prefix": Array.of(prefix)}
    facts |= changes
    return Ask(**facts)


def assert_right(chunk: np.ndarray, seed: int) -> None:
    observations, prefix = question(seed)
    np.testing.assert_array_equal(chunk, telling({key: observations[key] for key in READS}, prefix))


def assert_serves(port: int, **options: Any) -> None:
    """The server still does what it is for."""
    asker = client(port, **options)
    assert_right(asker.decide(*question(7)), 7)
    asker.close()
