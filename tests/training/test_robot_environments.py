"""An environment that is a robot: one process in front, closed at every end, few episodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from only_world import ONLY_ID, UNSAID_ID
from point_world import demonstration, point_spec
from runs_compared import as_overrides

from softflow.data.episode_store import EpisodeStore

DEADLINE_S = 240.0
STEPS = 14
"""Of an episode."""
pytestmark = pytest.mark.slow


class Command:
    """A command on the robot, in a process and a session of its own."""

    def __init__(self, folder: Path, *words: str, env: str = ONLY_ID, **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log, self.run = folder / "log", folder / "run"
        self.log.touch()
        self.data = folder / "data"
        if not self.data.exists():
            with EpisodeStore.create(self.data, replace(point_spec(), env_id=env)) as store:
                for seed in range(3):
                    store.append(demonstration(seed, towards_goal=True))
        train = ["train", "small", "--dataset", str(self.data), "--run", str(self.run)]
        train += [*as_overrides(), "--env", env, "--stages", "imitation", "--num-workers", "2"]
        command = words if words[0] in ("evaluate", "robot") else (*train, *words)
        path = os.pathsep.join([str(Path(__file__).parents[1] / "support"), *sys.path])
        variables = {"FAULTY_LOG": str(self.log), "FAULTY_AT": "never", "PYTHONPATH": path}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "softflow", *command],
            env=os.environ | variables | settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ended(self, answers: str = "") -> tuple[int, str]:
        """Its status, and all that it said."""
        out, errors = self.process.communicate(answers, timeout=DEADLINE_S)
        return self.process.returncode, out + errors

    def asked(self, what: str) -> list[int]:
        """By which processes the robot was asked for something."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [int(process) for word, process in lines if word == what]

    def wait_for_steps(self, count: int) -> None:
        """Return while the robot moves."""
        deadline = time.monotonic() + DEADLINE_S
        while len(self.asked("step")) < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_one_process_in_front_holds_it_plays_few_episodes_and_a_person_answers(
    tmp_path: Path,
) -> None:
    command = Command(tmp_path, "--eval-episodes", "60", ONLY_ASKS="1")
    status, said = command.ended(answers="done\n" * 20)
    assert status == 0, said
    assert "is a robot: 5 episodes an evaluation instead of 60" in said
    own = command.process.pid
    assert command.asked("made") == command.asked("closed") == [own]
    # No sixth one, for a film or anything else.
    assert command.asked("reset") == command.asked("told:done") == [own] * 5
    again = Command(tmp_path, "evaluate", str(command.run), "--env", ONLY_ID)
    status, said = again.ended()
    assert status == 0, said
    assert again.asked("reset")[5:] == [again.process.pid] * 5
    assert again.asked("closed")[1:] == [again.process.pid]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_ends_it_within_a_control_step(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = Command(tmp_path, "--eval-episodes", "2", FAULTY_AT="slow")
    command.wait_for_steps(3)
    before = len(command.asked("step"))
    os.killpg(command.process.pid, number)
    status, said = command.ended()
    assert len(command.asked("step")) <= before + 1 < STEPS
    assert len(command.asked("closed")) == len(command.asked("reset")) == 1
    assert status == 130, said
    assert "The same command continues" in said


def test_a_second_command_is_refused_before_it_touches_the_robot(tmp_path: Path) -> None:
    many = ("--eval-episodes", "90", "--robot-eval-episodes", "90")
    first = Command(tmp_path / "first", *many, FAULTY_AT="slow")
    first.wait_for_steps(1)
    second = Command(tmp_path / "second", "--eval-episodes", "2")
    loop = ("robot", str(second.run), "--env-id", ONLY_ID, "--out", str(tmp_path / "loop"))
    other = Command(tmp_path / "other", *loop)
    for command in (second, other):
        status, said = command.ended()
        assert status == 2
        assert "is held by process" in said
        assert command.log.read_text() == ""
    os.killpg(first.process.pid, signal.SIGINT)
    first.ended()
    third = Command(tmp_path / "second", "--eval-episodes", "1")
    assert third.ended()[0] == 0


def test_a_fault_stops_the_run_and_nothing_resets_it_by_itself(tmp_path: Path) -> None:
    command = Command(tmp_path, "--eval-episodes", "4", FAULTY_AT="step")
    status, said = command.ended()
    assert status == 2
    for words in ("joint 4 is over its torque", "in control step 3 of the eval", "nothing resets"):
        assert words in said
    assert (len(command.asked("reset")), len(command.asked("closed"))) == (3, 1)


def test_a_robot_that_says_it_too_late_is_closed_and_refused(tmp_path: Path) -> None:
    command = Command(tmp_path, "--eval-episodes", "1", env=UNSAID_ID)
    status, said = command.ended()
    assert status == 2
    assert "make.is_robot = True" in said
    assert len(command.asked("made")) == len(command.asked("closed")) == 1
    assert command.asked("reset") == []
