"""A policy behind a socket: right answers, and a client that outlives its server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy_clients import assert_right, assert_serves, client, url
from policy_serving import CAMERA, CHUNK, READS, SPEC, question, served, serving, spec_with, telling

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.errors import ConfigError, ObservationError, PolicyServerError
from softflow.robot.policy_client import PolicyClient
from softflow.robot.policy_server import PolicyServer

WITH_THREE_ACTIONS = replace(SPEC, action_dim=3, action_low=(-1.0,) * 3, action_high=(1.0,) * 3)


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
        given: dict[str, Any] = {"chunk": CHUNK, "deadline_s": 10.0, **options}
        started_s = time.monotonic()
        with pytest.raises(PolicyServerError, match=said):
            PolicyClient(url(port), **given)
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


@pytest.mark.parametrize("says", [b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_stranger_instead_of_a_server_is_noticed(says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]

        def answer() -> None:
            while True:
                try:
                    connection, _ = stranger.accept()
                except OSError:
                    return
                with suppress(OSError):
                    connection.sendall(says)
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(PolicyServerError, match="no answer within"):
            client(port, deadline_s=0.5)


def test_an_address_that_is_none_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="no address"):
        PolicyClient("gpu:8765", SPEC)
