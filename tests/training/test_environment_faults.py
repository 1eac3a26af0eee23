"""An environment that raises: the run stops at once, tells it in a few lines, and lets go of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from faulty_world import FAULTY_ID
from point_world import demonstration, point_spec
from runs_compared import as_overrides

from softflow.data.episode_store import EpisodeStore

DEADLINE_S = 120.0
pytestmark = pytest.mark.slow


class Command:
    """`softflow train` on a world that breaks, in a process and a session of its own."""

    def __init__(self, folder: Path, breaks_at: str, workers: int) -> None:
        self.log, self.run = folder / "log", folder / "run"
        self.log.touch()
        with EpisodeStore.create(folder / "data", replace(point_spec(), env_id=FAULTY_ID)) as store:
            for seed in range(3):
                store.append(demonstration(seed, towards_goal=True))
        words = ["train", "small", "--dataset", str(folder / "data"), "--run", str(self.run)]
        words += [*as_overrides(), "--env", FAULTY_ID, "--stages", "imitation"]
        words += ["--eval-episodes", "8", "--num-workers", str(workers)]
        support = str(Path(sys.modules["faulty_world"].__file__ or "").parent)
        path = os.pathsep.join([support, *sys.path])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "softflow", *words],
            env=os.environ
            | {"FAULTY_LOG": str(self.log), "FAULTY_AT": breaks_at, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ended(self) -> tuple[int, str]:
        """Its status, and what it said of the error."""
        _, said = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, said

    def asked(self, what: str) -> list[str]:
        """By which processes the world was asked for something."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [process for word, process in lines if word == what]


@pytest.mark.parametrize(
    ("breaks_at", "told", "resets"),
    [
        ("step", ("RuntimeError: joint 4 is over its torque", "in control step 3 of the eval"), 3),
        ("reset", ("TimeoutError: the arm does not answer", "on reset, before the evaluation"), 3),
        ("at once", ("RuntimeError: joint 4", "control step, tried before anything is learn"), 1),
        ("making", ("ConnectionRefusedError: no robot at 10.0.0.5", "while it was made"), 0),
    ],
)
def test_a_fault_stops_the_run_and_closes_the_robot(
    tmp_path: Path, breaks_at: str, told: tuple[str, ...], resets: int
) -> None:
    command = Command(tmp_path, breaks_at, workers=1)
    status, said = command.ended()
    assert status == 2
    for words in (*told, "faulty_world.py, line", "run the same command again"):
        assert words in said
    assert "Traceback" not in said
    assert len(said.splitlines()) < 12, said
    assert len(command.asked("reset")) == resets, "nothing resets it again by itself"
    made = 0 if breaks_at == "making" else 1
    assert len(command.asked("closed")) == made
    assert (command.run / "checkpoints").exists() == (resets == 3), "else told before it learns"
    kept = command.run / "evaluations/imitation/episodes"
    assert len(list(kept.glob("*.zip"))) == (1 if resets == 3 else 0), "what had ended is kept"


def test_a_fault_in_one_process_stops_the_others(tmp_path: Path) -> None:
    command = Command(tmp_path, "step", workers=2)
    status, said = command.ended()
    assert status == 2
    assert "joint 4" in said
    assert len(command.asked("reset")) <= 6
    assert sorted(command.asked("closed")) == sorted(command.asked("made"))


def test_ctrl_c_waits_for_no_episode_and_closes_the_robot(tmp_path: Path) -> None:
    command = Command(tmp_path, "slow", workers=1)
    deadline = time.monotonic() + DEADLINE_S
    while len(command.asked("step")) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(command.process.pid, signal.SIGINT)
    status, said = command.ended()
    # Fourteen steps are an episode.
    assert len(command.asked("step")) <= 9
    assert (len(command.asked("reset")), len(command.asked("closed"))) == (2, 1)
    assert status == 130
    assert "The same command continues" in said
