"""docs/robot.md and the example of one's own robot are true."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from toy_robot import FakeClock, ToySource

from softflow.cli.robot_options import Robot as RobotOptions
from softflow.data.chunk_spec import ChunkSpec
from softflow.robot.control_loop import LoopParts, run_episode
from softflow.robot.inference.deciding import Answer, PolicyFacts
from softflow.robot.person.operator_commands import KEYS
from softflow.robot.protocol import Robot, robot_maker
from softflow.robot.safety.limits import Limits, Watchdogs
from softflow.robot.safety.limits_file import read_limits
from softflow.utils.imports import trust

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/robot.md").read_text()


def test_the_limits_on_the_page_are_read(tmp_path: Path) -> None:
    (written,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "limits.toml").write_text(written)
    limits = read_limits(tmp_path / "limits.toml")
    assert all(getattr(limits, name) for name in Limits.__struct_fields__)
    assert limits.watchdogs == Watchdogs()  # the page shows the defaults


def test_every_option_and_key_on_the_page_is_there() -> None:
    known = {f"--{item.name.replace('_', '-')}" for item in fields(RobotOptions)}
    elsewhere = {"--latency-ms", "--stop-to-think", "--model.chunk.prefix-length"}
    stages = ("imitation", "offline-rl", "online-rl")
    elsewhere |= {"--online-rl.exploration-std", "--online-rl.imitates"}
    elsewhere |= {"--online-rl.collection-std", "--online-rl.collection-candidates"}
    elsewhere |= {f"--{stage}.take-over-weight" for stage in stages}
    elsewhere |= {"--model.actions.pose", "--model.critic.edit-scale", "--from", "--no-from-critic"}
    assert set(re.findall(r"--[a-z][a-z0-9.-]+", PAGE)) - known - elsewhere == set()
    assert {"s", "f", "d", "q", " "} == {key.lower() for key in KEYS}


class Joints(ToySource):
    """Decides for seven joints."""

    def poll(self) -> Answer | None:
        answer = super().poll()
        if answer is None:
            return None
        wide = np.tile(answer.actions / 100, (1, 7))
        return Answer(answer.episode, answer.step, wide, answer.decided_in_s, answer.policy)


def test_the_example_is_a_robot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "examples")])
    monkeypatch.setattr("builtins.input", lambda _: "")
    monkeypatch.setattr("time.monotonic", lambda: clock.now_s())
    clock = FakeClock()
    trust("own_robot:make")
    robot = robot_maker("own_robot:make")()
    assert isinstance(robot, Robot)
    limits = read_limits(ROOT / "examples/limits.toml")
    robot.max_episode_steps = 12
    robot.reset(0)
    source = Joints(clock, ChunkSpec(4, 3))
    source.facts = PolicyFacts(robot.spec, source.chunk, "toy")
    end = run_episode(LoopParts(robot, source, limits, clock=clock), 0, 0)
    assert end.ending == "time limit"
    assert end.episode is not None
    end.episode.validate(robot.spec)
    assert end.episode.actions.max() > 0
    robot.close()
