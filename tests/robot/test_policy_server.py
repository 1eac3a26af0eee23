"""A policy behind a socket: right answers, and a server that outlives whoever talks to it."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import websockets.sync.client as plain_client
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_serving import CAMERA, CHUNK, READS, SPEC, question, served, serving, spec_with, telling
from websockets.exceptions import ConnectionClosed, InvalidStatus

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.errors import ConfigError, ObservationError, PolicyServerError
from softflow.jobs.serve import read_token
from softflow.robot import policy_server
from softflow.robot.messages import (
    PROTOCOL,
    Answer,
    Array,
    Ask,
    Hello,
    Refusal,
    Welcome,
    packed,
    unpacked,
)
from softflow.robot.policy_client import PolicyClient
from softflow.robot.policy_server import PolicyServer, require_token

TOKEN = "0123456789abcdef0123456789abcdef"
WITH_THREE_ACTIONS = replace(SPEC, action_dim=3, action_low=(-1.0,) * 3, action_high=(1.0,) * 3)


def url(port: int) -> str:
    return f"ws://127.0.0.1:{port}"


def client(port: int, **options: Any) -> PolicyClient:
    return PolicyClient(url(port), SPEC, **{"chunk": CHUNK, "deadline_s": 10.0, **options})


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
    facts = {"protocol": PROTOCOL, "softflow": "0.1.0", "spec": SPEC.to_json()}
    return Hello(**{**facts, "chunk": asdict(CHUNK), **changes})


def asked(seed: int = 0, **changes: Any) -> Ask:
    observations, prefix = question(seed)
    seen = {key: Array.of(observations[key]) for key in READS}
    return Ask(**{"id": 1, "observations": seen, "prefix": Array.of(prefix), **changes})


def assert_right(chunk: np.ndarray, seed: int) -> None:
    observations, prefix = question(seed)
    np.testing.assert_array_equal(chunk, telling({key: observations[key] for key in READS}, prefix))


def assert_serves(port: int, **options: Any) -> None:
    """The server still does what it is for."""
    asker = client(port, **options)
    assert_right(asker.decide(*question(7)), 7)
    asker.close()


def test_several_clients_get_their_own_answers() -> None:
    wrong: list[object] = []

    def ask(port: int, first: int) -> None:
        asker = client(port)
        for seed in range(first, first + 20):
            try:
                assert_right(asker.decide(*question(seed)), seed)
            except Exception as error:
                wrong.append(error)
        asker.close()

    with serving(PolicyServer(served())) as port:
        threads = [threading.Thread(target=ask, args=(port, 100 * i)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_client_knows_the_policy_it_asks() -> None:
    with serving(PolicyServer(served())) as port:
        asker = client(port, chunk=None)
        assert asker.policy == "3_online_rl_00000500"
        assert (asker.chunk, asker.reads) == (CHUNK, READS)
        asker.decide(*question())
        assert 0 <= asker.inference_ms < 10_000
        asker.close()
        assert_right(asker.decide(*question(3)), 3)
        asker.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"spec": replace(SPEC, action_dim=3, action_low=(-1.0,) * 3, action_high=(1.0,) * 3)},
            "action_dim",
        ),
        ({"spec": replace(SPEC, observation_shapes={STATE_KEY: (4,)})}, "observation_shapes"),
        ({"spec": replace(SPEC, control_hz=10.0)}, "control_hz"),
        ({"spec": SPEC, "chunk": ChunkSpec(8, 3, 1, 2)}, "chunk_length=8"),
    ],
    ids=["actions", "observations", "rate", "chunk"],
)
def test_another_robot_is_refused_at_the_handshake(options: dict[str, Any], said: str) -> None:
    with serving(PolicyServer(served())) as port:
        started_s = time.monotonic()
        with pytest.raises(PolicyServerError, match=said):
            PolicyClient(url(port), **{"chunk": CHUNK, "deadline_s": 10.0, **options})
        assert time.monotonic() - started_s < 5, "asking again would not help"
        assert_serves(port)


def test_a_policy_that_fails_costs_its_client_an_answer_and_no_more() -> None:
    calls: list[int] = []

    def sometimes(observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 1:
            raise ObservationError("degrees instead of radians")
        if len(calls) == 2:
            raise ZeroDivisionError("of somebody else")
        if len(calls) == 3:
            return np.full((4, 2), np.nan)
        if len(calls) == 4:
            return np.zeros((9, 9))
        return telling(observations, prefix)

    with serving(PolicyServer(served(sometimes))) as port:
        asker = client(port)
        for said in ("degrees", "the policy failed: ZeroDivisionError", "NaN", r"\(9, 9\)"):
            with pytest.raises(PolicyServerError, match=said):
                asker.decide(*question())
        assert_right(asker.decide(*question(1)), 1)
        asker.close()


def test_an_observation_that_is_missing_is_said_without_asking() -> None:
    with serving(PolicyServer(served())) as port:
        asker = client(port)
        observations, prefix = question()
        del observations[CAMERA]
        with pytest.raises(PolicyServerError, match=r"images\.front"):
            asker.decide(observations, prefix)
        asker.close()


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


# ---- a server that dies -----------------------------------------------------------------------


def start_process(port: int, side: int = 8) -> tuple[subprocess.Popen[str], int]:
    script = str(Path(__file__).parents[1] / "support" / "policy_serving.py")
    process = subprocess.Popen(
        [sys.executable, script, str(port), str(side)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_a_client_outlives_its_server_and_says_when_it_gives_up() -> None:
    process, port = start_process(0)
    try:
        asker = client(port, deadline_s=20.0)
        assert_right(asker.decide(*question(1)), 1)
        process.kill()
        process.wait()
        again: list[subprocess.Popen[str]] = []
        starter = threading.Timer(0.3, lambda: again.append(start_process(port)[0]))
        starter.start()
        assert_right(asker.decide(*question(2)), 2)
        starter.join()
        again[0].kill()
        again[0].wait()
        asker._deadline_s = 0.5
        started_s = time.monotonic()
        with pytest.raises(PolicyServerError, match="no answer within"):
            asker.decide(*question(3))
        assert time.monotonic() - started_s < 3
    finally:
        process.kill()


def test_a_server_that_stands_still_costs_the_deadline_and_no_more() -> None:
    """Also for pictures larger than what the system buffers."""
    side = 2048
    process, port = start_process(0, side)
    try:
        asker = PolicyClient(url(port), spec_with(side), CHUNK, deadline_s=20.0)
        assert asker.decide(*question(1, side)).shape == (4, 2)
        asker.close()
        asker = PolicyClient(url(port), spec_with(side), CHUNK, deadline_s=1.0)
        process.send_signal(signal.SIGSTOP)
        started_s = time.monotonic()
        with pytest.raises(PolicyServerError, match="no answer within"):
            asker.decide(*question(2, side))
        assert time.monotonic() - started_s < 10
    finally:
        process.kill()


def test_robots_need_no_torch() -> None:
    script = (
        "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None\n"
        "import softflow.robot.policy_client, softflow.robot.exchange.robot_side\n"
        "import softflow.robot.exchange.stop_listening, softflow.cli.exchange_commands\n"
    )
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_an_answer_that_comes_too_late_answers_no_later_question() -> None:
    slow = threading.Event()

    def first_slow(observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
        if not slow.is_set():
            slow.set()
            time.sleep(0.6)
        return telling(observations, prefix)

    with serving(PolicyServer(served(first_slow))) as port:
        asker = client(port, deadline_s=0.3)
        with pytest.raises(PolicyServerError, match="no answer within"):
            asker.decide(*question(1))
        asker._deadline_s = 10.0
        assert_right(asker.decide(*question(2)), 2)
        asker.close()


def test_a_stranger_instead_of_a_server_is_noticed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]

        def answer() -> None:
            while True:
                try:
                    connection, _ = stranger.accept()
                except OSError:
                    return
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(PolicyServerError, match="no answer within"):
            client(port, deadline_s=0.5)
    with pytest.raises(ConfigError, match="no address"):
        PolicyClient("gpu:8765", SPEC)
