"""A policy behind a slow network: answers are late and right, and the loop never waits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import pytest
from policy_serving import CHUNK, SPEC, question, served, serving, spec_with
from slow_link import SlowLink, slow_link

from softflow.data.data_spec import STATE_KEY
from softflow.errors import PolicyServerError
from softflow.robot.control_loop import EpisodeEnd, LoopParts, run_episode
from softflow.robot.inference.process import InferenceProcess
from softflow.robot.policy_client import PolicyClient
from softflow.robot.policy_server import PolicyServer
from softflow.robot.protocol import Sensed
from softflow.robot.safety.limits import Limits, Watchdogs

SERVED = "softflow.robot.inference.served_decider:connect_decider"
DELAY_S = 0.08


def a_little(observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
    """From the last committed action on, a little further every step."""
    return prefix[-1] + np.linspace(0.01, 0.04, CHUNK.chunk_length, dtype=np.float32)[:, None]


def test_an_answer_through_a_trickle_is_right() -> None:
    side = 96  # 55 kB of pictures, 1 kB a millisecond
    with serving(PolicyServer(served(side=side))) as port, slow_link(port, 0.02, 1024) as link:
        asker = PolicyClient(f"ws://127.0.0.1:{link.port}", spec_with(side), CHUNK, deadline_s=20.0)
        begun_s = time.monotonic()
        answer = asker.decide(*question(3, side))
        assert time.monotonic() - begun_s > 0.04 + 0.05
        assert answer[0].tolist() == question(3, side)[1][0].tolist()
        asker.close()
        with pytest.raises(PolicyServerError, match="made for another robot"):
            PolicyClient(f"ws://127.0.0.1:{link.port}", spec_with(8), CHUNK, deadline_s=20.0)


class Robot:
    """Delivers noise, and notes when it was commanded what."""

    spec, max_episode_steps = SPEC, 40

    def __init__(self, before: Callable[[int], None] = lambda _: None) -> None:
        self._before, self._rng = before, np.random.default_rng(0)
        self.commands: list[np.ndarray] = []

    def reset(self, seed: int) -> None:
        """It stands at 0."""

    def observe(self) -> Sensed:
        values = {
            key: self._rng.integers(0, 255, shape, np.uint8)
            if key in SPEC.image_keys
            else self._rng.normal(size=shape).astype(np.float32)
            for key, shape in SPEC.observation_shapes.items()
        }
        return Sensed(values, time.monotonic())

    def act(self, action: np.ndarray) -> None:
        self._before(len(self.commands))
        self.commands.append(action)

    def hold(self) -> np.ndarray:
        return self.commands[-1] if self.commands else np.zeros(2, np.float32)

    def stop(self) -> None: ...

    def close(self) -> None: ...


def run(link: SlowLink, robot: Robot) -> EpisodeEnd:
    spec = json.dumps(SPEC.to_json())
    url = f"ws://127.0.0.1:{link.port}"
    limits = Limits(watchdogs=Watchdogs(decision_s=0.5))
    with InferenceProcess(url, SERVED, spec=spec, token="", deadline_s="5") as source:
        return run_episode(LoopParts(robot, source, limits), 0, 0)


@pytest.mark.slow
def test_decisions_of_a_slow_link_come_late_and_the_loop_goes_on() -> None:
    robot = Robot()
    with serving(PolicyServer(served(a_little))) as port, slow_link(port, DELAY_S, 4096) as link:
        end = run(link, robot)
    assert (end.ending, end.fault) == ("time limit", "")
    assert end.episode is not None
    loop = end.episode.metadata["loop"]
    assert loop["latency"]["mean_ms"] >= 2000 * DELAY_S
    assert loop["busy"]["mean_ms"] < 1000 * DELAY_S, "a tick waited for the network"
    assert loop["decisions"].keys() <= {"late", "waited for", "in time"}
    assert end.episode.observations[STATE_KEY].shape == (41, 3)
    jumps = np.abs(np.diff(np.array(robot.commands), axis=0))
    assert robot.commands[-1].max() > 0.05, "it moved"
    # What was held is where a late decision goes on from, up to the actions that were skipped.
    assert jumps.max() <= 0.05


@pytest.mark.slow
def test_a_link_that_falls_silent_makes_it_hold_then_stop() -> None:
    with serving(PolicyServer(served(a_little))) as port, slow_link(port, 0.01, 4096) as link:

        def cut(step: int) -> None:
            link.silent = step >= 10

        robot = Robot(cut)
        end = run(link, robot)
    assert end.ending == "stopped"
    assert "no decision of the policy for 0." in end.fault
    assert 10 < len(robot.commands) < 40
    still = np.array(robot.commands[-5:])
    assert np.ptp(still, axis=0).tolist() == [0, 0]
