"""Decisions from a second process: the right ones, never waited for, and told when it is gone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_deciders import CAMERA_KEY, CHUNK, PLANNER, SPEC

from softflow.data.data_spec import STATE_KEY
from softflow.errors import CheckpointError, RobotStoppedError
from softflow.robot.inference.deciding import Answer, Question
from softflow.robot.inference.process import InferenceProcess

PATIENCE_S = 30.0


def question(step: int = 0, episode: int = 0, grey: int = 0) -> Question:
    state = np.array([[0, 0], [step, -step]], np.float32)
    seen = {STATE_KEY: state, CAMERA_KEY: np.full((2, 4, 6, 3), grey, np.uint8)}
    return Question(episode, step, 7 + episode, seen, np.array([[0.5, 0.25]], np.float32))


def wait_for(found: Callable[[], object]) -> object:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        value = found()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError("nothing came")


def answer(process: InferenceProcess) -> Answer:
    found = wait_for(process.poll)
    assert isinstance(found, Answer)
    return found


def test_questions_are_answered_one_at_a_time_and_policies_change_between_them() -> None:
    with InferenceProcess("version one", PLANNER) as process:
        assert (process.facts.spec, process.facts.chunk) == (SPEC, CHUNK)
        assert process.poll() is None
        for step, episode in ((3, 0), (6, 0), (0, 1)):
            process.ask(question(step, episode, grey=9))
            assert process.is_busy
            with pytest.raises(RobotStoppedError, match="another one is on its way"):
                process.ask(question())
            told = answer(process)
            assert (told.episode, told.step, told.policy) == (episode, step, 0)
            assert told.actions.tolist() == [[step, -step], [0.5, 0.25], [7 + episode, 0], [9, 0]]
            assert not process.is_busy
        process.ask(question(1))  # on its way while the next policy is loaded: dropped
        assert process.load("version two") == ""
        assert (process.facts.version, process.facts.number) == ("two", 1)
        assert "that checkpoint is torn" in process.load("torn yes")
        assert "of other dimensions than two, which goes on: chunk:" in process.load("length 5")
        assert (process.facts.version, process.problem) == ("two", "")
        process.ask(question(2))
        assert answer(process).policy == 1
    assert process.poll() is None
    process.close()


def test_a_policy_whose_process_died_takes_no_other_one() -> None:
    with InferenceProcess("version one", PLANNER) as process:
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: process.problem)
        assert "the policy's process died" in process.load("version two")
        assert process.facts.version == "one"


def test_a_policy_that_cannot_be_loaded_says_why_and_leaves_no_process() -> None:
    with pytest.raises(CheckpointError, match="is torn; copy it again"):
        InferenceProcess("torn yes", PLANNER)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ("raises yes", r"the policy failed: ValueError: the network is \[2J broken"),
        ("narrow yes", r"decided on \(1, 2\), not \(4, 2\)"),
        (f"dies {int(signal.SIGKILL)}", "process died: killed"),
    ],
)
def test_what_goes_wrong_there_is_told_here(wish: str, told: str) -> None:
    with InferenceProcess(wish, PLANNER) as process:
        process.ask(question())
        wait_for(lambda: process.poll() or process.problem)
        assert re.search(told, process.problem)
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 5


def test_a_process_that_hangs_is_not_waited_for_and_is_ended() -> None:
    with InferenceProcess("version one", PLANNER) as process:
        os.kill(process.pid, signal.SIGSTOP)
        begun_s = time.monotonic()
        process.ask(question(grey=255))
        for _ in range(100):
            assert process.poll() is None
        assert time.monotonic() - begun_s < 1
        pid = process.pid
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.slow
def test_it_ends_with_whoever_asks(tmp_path: Path) -> None:
    """Killed in the middle of a decision, the asker leaves neither a process nor memory behind."""
    script = (
        "import sys, time; sys.path[:0] = sys.argv[1].split(':')\n"
        "import test_inference_process as t\n"
        "if __name__ == '__main__':\n"
        "    p = t.InferenceProcess('takes_s 60', t.PLANNER); p.ask(t.question())\n"
        "    print(p.pid, p._buffers.name, flush=True); time.sleep(60)\n"
    )
    file = tmp_path / "asker.py"
    file.write_text(script)
    here = Path(__file__).parent
    folders = f"{here}:{here.parent / 'support'}"
    environment = os.environ | {"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{folders}"}
    asker = subprocess.Popen(
        [sys.executable, str(file), folders], stdout=subprocess.PIPE, env=environment, text=True
    )
    assert asker.stdout is not None
    pid, memory = asker.stdout.readline().split()
    assert Path(f"/proc/{pid}").exists()
    assert Path(f"/dev/shm/{memory}").exists()
    asker.kill()
    asker.wait()
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    wait_for(lambda: not Path(f"/dev/shm/{memory}").exists())
