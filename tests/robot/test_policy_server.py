"""A policy server outlives whoever talks to it, and lets in whom it should."""

from __future__ import annotations

import json
import os
import pickle
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import websockets.sync.client as plain_client
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_clients import asked, assert_serves, client, greeted, hello, raw
from policy_serving import question, served, serving, telling
from websockets.exceptions import ConnectionClosed, InvalidStatus

from softflow.errors import ConfigError, PolicyServerError
from softflow.robot import policy_server
from softflow.robot.messages import (
    Answer,
    Ask,
    Hello,
    Refusal,
    Welcome,
    packed,
    unpacked,
)
from softflow.robot.policy_server import PolicyServer, require_token
from softflow.robot.token_file import read_token

TOKEN = "0123456789abcdef0123456789abcdef"


# ---- health -----------------------------------------------------------------------------------


def health(port: int, token: str = "") -> dict[str, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/health")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def test_health_is_answered_while_the_policy_thinks() -> None:
    thinking, done = threading.Event(), threading.Event()

    def slow(observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
        thinking.set()
        done.wait(20)
        return telling(observations, prefix)

    with serving(PolicyServer(served(slow))) as port:
        assert health(port)["deciding_for_s"] == 0
        asker = client(port, deadline_s=20.0)
        thread = threading.Thread(target=lambda: asker.decide(*question()))
        thread.start()
        assert thinking.wait(10)
        time.sleep(0.05)
        started_s = time.monotonic()
        facts = health(port)
        assert time.monotonic() - started_s < 2
        assert facts["status"] == "ok"
        assert facts["deciding_for_s"] >= 0.05
        assert facts["clients"] == 1
        done.set()
        thread.join()
        assert health(port)["decisions"] == 1
        asker.close()


# ---- who may come in --------------------------------------------------------------------------


@pytest.mark.parametrize("given_token", ["", TOKEN[:-1], TOKEN + "0", "é" * 16, TOKEN.upper()])
def test_without_the_token_nobody_comes_in(given_token: str) -> None:
    with serving(PolicyServer(served(), token=TOKEN)) as port:
        headers = {"Authorization": f"Bearer {given_token}"} if given_token else {}
        with pytest.raises((InvalidStatus, UnicodeEncodeError)):
            raw(port, additional_headers=headers)
        if given_token.isascii():
            with pytest.raises(PolicyServerError, match="another token"):
                client(port, token=given_token)
        with pytest.raises(urllib.error.HTTPError):
            health(port)
        assert health(port, TOKEN)["status"] == "ok"
        assert_serves(port, token=TOKEN)


def test_a_token_of_other_bytes_is_no_fault_of_the_server() -> None:
    with serving(PolicyServer(served(), token=TOKEN)) as port:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
                b"Authorization: Bearer \xff\xfe\x80\r\n\r\n"
            )
            assert connection.recv(100).startswith((b"HTTP/1.1 401", b"HTTP/1.1 400"))
        assert_serves(port, token=TOKEN)


def test_a_page_in_a_browser_is_no_client() -> None:
    with serving(PolicyServer(served())) as port:
        with pytest.raises(InvalidStatus):
            raw(port, origin="http://127.0.0.1")
        assert_serves(port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "robot.example", ""])
def test_beyond_this_machine_a_token_is_needed(host: str) -> None:
    with pytest.raises(ConfigError, match="--token-file"):
        require_token(host, "")
    require_token(host, TOKEN)
    with pytest.raises(ConfigError, match="at least 16"):
        require_token("127.0.0.1", "short")
    for local in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        require_token(local, "")


def test_a_token_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == TOKEN
    for content in ("", "two words", "x" * 5000, "a\nb"):
        path.write_text(content)
        with pytest.raises(ConfigError, match="no token"):
            read_token(path)
    with pytest.raises(ConfigError, match="make one"):
        read_token(tmp_path / "nowhere")


# ---- what hostile clients send ----------------------------------------------------------------


def array(**changes: Any) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [1, 2], "data": b"\0" * 8, **changes}


def as_sent(**changes: Any) -> bytes:
    """An `Ask` in which something is not as it should be."""
    return msgspec.msgpack.encode(msgspec.to_builtins(asked(), builtin_types=[bytes]) | changes)


BAD_QUESTIONS: dict[str, bytes | str] = {
    "a text": "decide, please",
    "nothing": b"",
    "noise": random.Random(0).randbytes(1000),
    "a pickle": pickle.dumps({"os": os.getcwd}),
    "JSON": json.dumps({"type": "Ask"}).encode(),
    "deep": b"\x91" * 100_000,
    "a map that promises 4 billion": b"\xdf\xff\xff\xff\xff",
    "bytes that promise 4 GB": b"\xc6\xff\xff\xff\xff",
    "hello again": packed(hello()),
    "an unknown field": as_sent(run="rm -rf /"),
    "no prefix": as_sent(prefix=None),
    "a wrong prefix": as_sent(prefix=array(shape=[2, 2], data=b"\0" * 16)),
    "too few bytes": as_sent(prefix=array(data=b"\0" * 7)),
    "too many bytes": as_sent(prefix=array(data=b"\0" * 9)),
    "an object array": as_sent(prefix=array(dtype="object")),
    "float64": as_sent(prefix=array(dtype="float64", data=b"\0" * 16)),
    "a negative shape": as_sent(prefix=array(shape=[-1, 2])),
    "a shape beyond numbers": as_sent(prefix=array(shape=[2**62, 2**62])),
    "many dimensions": as_sent(prefix=array(shape=[1] * 100)),
    "NaN": as_sent(prefix=array(data=np.full(2, np.nan, "<f4").tobytes())),
    "an unread key": as_sent(observations={"observation.unread": array()}),
    "no observations": as_sent(observations={}),
    "a huge id": as_sent(id=2**60),
}


@pytest.mark.parametrize("kind", BAD_QUESTIONS)
def test_what_is_no_question_is_refused_and_ends_that_connection(kind: str) -> None:
    with serving(PolicyServer(served())) as port:
        connection = greeted(port)
        connection.send(BAD_QUESTIONS[kind])
        assert isinstance(unpacked(connection.recv(5), Refusal), Refusal)
        with pytest.raises(ConnectionClosed):
            connection.recv(5)
        assert_serves(port)


BAD_GREETINGS: dict[str, bytes | str] = {
    "a question": packed(asked()),
    "noise": b"\xff" * 100,
    "another protocol": packed(hello(protocol=99)),
    "a spec that is none": packed(hello(spec={"observation_shapes": {"__class__": [1]}})),
    "a deep spec": packed(hello(spec={}))[:-1] + b"\x91" * 5000,
    "an endless chunk": packed(hello(chunk={"chunk_length": 10**12, "execution_horizon": 1})),
    "a chunk that is none": packed(hello(chunk={"steps": "many"})),
}


@pytest.mark.parametrize("kind", BAD_GREETINGS)
def test_who_does_not_greet_as_clients_do_is_sent_away(kind: str) -> None:
    with serving(PolicyServer(served())) as port:
        connection = raw(port)
        connection.send(BAD_GREETINGS[kind])
        assert isinstance(unpacked(connection.recv(5), Refusal), Refusal)
        with pytest.raises(ConnectionClosed):
            connection.recv(5)
        assert_serves(port)


@settings(max_examples=40)
@given(noise=st.binary(max_size=200), cut=st.integers(0, 600), flip=st.integers(0, 5000))
def test_no_noise_hurts(noise: bytes, cut: int, flip: int) -> None:
    """Decoding alone, which is where the server meets bytes."""
    whole = packed(asked())
    position = flip % len(whole)
    flipped = whole[:position] + bytes([whole[position] ^ (1 << flip % 8)]) + whole[position + 1 :]
    for content in (noise, whole[: min(cut, len(whole) - 1)], flipped):
        for kind in (Hello, Ask, Answer, Welcome, Refusal):
            try:
                message = unpacked(content, kind)
            except PolicyServerError:
                continue
            assert isinstance(message, kind)


def test_a_message_beyond_the_limit_ends_the_connection_before_it_is_held() -> None:
    with serving(PolicyServer(served())) as port:
        connection = greeted(port)
        with pytest.raises((ConnectionClosed, OSError)):
            send_much(connection)
        assert_serves(port)


def send_much(connection: plain_client.ClientConnection) -> None:
    connection.send(iter([b"\0" * (1 << 20)] * 64))  # one message, in fragments
    connection.recv(5)


def test_those_who_connect_and_say_nothing_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_server, "HELLO_S", 0.5)
    with serving(PolicyServer(served())) as port:
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(b"GET / HTTP/1.1\r\nHost: ")
        silent = raw(port)
        for _ in range(50):
            socket.create_connection(("127.0.0.1", port)).close()
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        assert_serves(port)
        half.settimeout(10)
        while half.recv(4096):
            pass
        with pytest.raises(ConnectionClosed):
            silent.recv(10)
        for connection in idle:
            connection.close()
        half.close()


def test_more_clients_than_there_is_room_for_wait_until_one_goes() -> None:
    with serving(PolicyServer(served(), max_clients=2)) as port:
        first, second = greeted(port), greeted(port)
        with pytest.raises(PolicyServerError, match="as many clients as it takes"):
            client(port, deadline_s=0.3)
        threading.Timer(0.3, first.close).start()
        assert_serves(port)
        second.close()


def test_headers_without_end_are_cut_off() -> None:
    with serving(PolicyServer(served())) as port:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.settimeout(15)
            with suppress(OSError):
                for _ in range(1000):
                    connection.sendall(b"X: " + b"y" * 4000 + b"\r\n")
            with suppress(ConnectionError):
                while connection.recv(4096):  # until the server hangs up; a timeout fails
                    pass
        assert_serves(port)
