"""Keys, signals, files and another process's death: each reaches the robot."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from softflow.errors import ConfigError, RobotBusyError
from softflow.robot.death_watch import DeathWatch
from softflow.robot.person.operator_commands import Keys, endings_interrupt, first_of, signals
from softflow.robot.person.take_over import KeyPilot
from softflow.robot.person.watched_files import HeartbeatFile, StopFile
from softflow.robot.robot_lock import RobotLock
from softflow.utils.imports import trust


def soon(found: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)


def test_keys_are_commands_or_the_pilots() -> None:
    ours, theirs = pty.openpty()
    tty.setcbreak(theirs)
    keys = Keys(theirs)
    assert keys() is None
    os.write(ours, b"tl")
    soon(lambda: keys() is None and keys._others == "tl")
    assert (keys.others(), keys.others()) == ("tl", "")
    os.write(ours, b"xs q")
    told = []
    soon(lambda: told.append(keys()) or told[-1])
    assert told[-1] == "stop"  # whatever else was pressed before it
    os.write(ours, b"Q")
    soon(lambda: told.append(keys()) or told[-1])
    assert told[-1] == "stop"
    os.write(ours, b"sfd")
    soon(lambda: told.append(keys()) or told[-1])
    assert told[-1] == "success"
    os.close(ours)
    os.close(theirs)


def test_whoever_may_stop_the_robot_is_heard_first() -> None:
    assert first_of([lambda: "success", lambda: None, lambda: "stop"])() == "stop"
    assert first_of([lambda: None, lambda: "failure"])() == "failure"
    assert first_of([])() is None


def test_ctrl_c_stops_and_a_second_one_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with signals() as told:
        assert told() is None
        os.kill(os.getpid(), signal.SIGINT)
        soon(told)
        assert told() == "stop"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with signals() as told:
        os.kill(os.getpid(), signal.SIGTERM)
        soon(told)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_between_episodes_a_wish_to_end_interrupts(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with endings_interrupt(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_a_stop_file_and_a_heartbeat_file(tmp_path: Path) -> None:
    stop, beat = StopFile(tmp_path / "stop"), HeartbeatFile(tmp_path / "beat")
    assert stop() is None
    (tmp_path / "stop").touch()
    soon(lambda: stop() == "stop")
    for _ in range(2):
        before_s = beat()
        time.sleep(0.03)
        assert beat() == before_s
        (tmp_path / "beat").write_text("x")
        os.utime(tmp_path / "beat", (1, 1 + before_s))  # whatever its clock says
        soon(lambda at_s=before_s: beat() > at_s)
    before_s = beat()
    (tmp_path / "beat").rename(tmp_path / "away")  # as of a folder that comes and goes
    time.sleep(0.1)
    (tmp_path / "away").rename(tmp_path / "beat")
    time.sleep(0.1)
    assert beat() == before_s
    stop.close()
    beat.close()


def test_the_key_pilot_takes_moves_and_gives_back() -> None:
    pressed = iter(["l", "tl", "", "jju", "t", "l"])
    pilot = KeyPilot(lambda: next(pressed), components=(0, 2, 1), step=0.5)
    holding = np.array([1, 2, 3], np.float32)
    told = [pilot({}, holding) for _ in range(6)]
    assert [None if action is None else action.tolist() for action in told] == [
        None,
        [1.5, 2, 3],
        [1, 2, 3],
        [0, 1.5, 3],
        None,
        None,
    ]


def test_one_process_holds_a_robot(tmp_path: Path) -> None:
    name = f"tests:robot {os.getpid()}"
    holder = (
        "import sys, time; from softflow.robot.robot_lock import RobotLock\n"
        "lock = RobotLock(sys.argv[1]); print('held', flush=True); time.sleep(60)"
    )
    theirs = os.environ | {"TMPDIR": str(tmp_path)}  # another user's, another shell's
    other = subprocess.Popen(
        [sys.executable, "-c", holder, name], stdout=subprocess.PIPE, env=theirs
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    for _ in range(3):
        with pytest.raises(RobotBusyError, match=f"held by process {other.pid} .* only one robot"):
            RobotLock(name)
    other.kill()  # however it ends
    other.wait()
    with RobotLock(name), RobotLock(f"{name} 2"):
        pass


def leave_a_note() -> None:
    Path(os.environ["SOFTFLOW_TEST_NOTE"]).write_text("stopped")


WATCHED = """
import sys, time
from softflow.robot.death_watch import DeathWatch
from softflow.utils.imports import trust
if __name__ == "__main__":
    with DeathWatch("test_person:leave_a_note"):
        print("watched", flush=True)
        if sys.argv[1] == "dies":
            time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["dies", "ends"])
def test_if_the_process_dies_the_robot_is_stopped(tmp_path: Path, how: str) -> None:
    script, note = tmp_path / "watched.py", tmp_path / "note"
    script.write_text(WATCHED)
    here = Path(__file__).parent
    paths = f"{os.environ.get('PYTHONPATH', '')}:{here}:{here.parent / 'support'}"
    environment = os.environ | {"PYTHONPATH": paths, "SOFTFLOW_TEST_NOTE": str(note)}
    process = subprocess.Popen(
        [sys.executable, str(script), how], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"watched\n"
    if how == "dies":
        process.kill()
        soon(note.exists)
    process.wait()
    assert note.exists() == (how == "dies")


@pytest.mark.slow
def test_a_function_that_is_not_there_is_told_before_anything_moves() -> None:
    trust("nowhere:stop")
    with pytest.raises(ConfigError, match="'nowhere:stop', which cannot be imported"):
        DeathWatch("nowhere:stop")
