"""`softflow learn` and a robot, two processes that share a folder and are killed at random."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from exchange_parts import fill_up, small_disk
from training_processes import begun_run
from warm_python import warm_python

from softflow.data.episode_store import EpisodeStore
from softflow.robot.exchange.commands import CommandFolder
from softflow.robot.exchange.policy_manifest import progress_of
from softflow.robot.exchange_experience import taken_keys

ROBOT = str(Path(__file__).parents[1] / "support" / "exchange_robot.py")


def start_robot(folder: Path, store: Path) -> subprocess.Popen[str]:
    robot = subprocess.Popen(
        [sys.executable, ROBOT, str(folder), str(store)],
        env=os.environ | {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert robot.stdout is not None
    while robot.stdout.readline() != "begun\n":
        assert robot.poll() is None, "the robot ended before it began"
    return robot


@contextmanager
def robot_at(folder: Path, store: Path) -> Iterator[subprocess.Popen[str]]:
    robot = start_robot(folder, store)
    try:
        yield robot
    finally:
        robot.kill()
        robot.wait()


DEATHS = (
    "critic_update 2 0ms",
    "save 2 3",
    "collected 2 1",
    "actor_update 5 0ms",
    "save 1 9",
    "collected 1 4",
)


@pytest.mark.slow
def test_each_goes_on_when_the_other_is_killed(demonstrations: Path, tmp_path: Path) -> None:
    run, folder, store = tmp_path / "run", tmp_path / "exchange", tmp_path / "robot"
    begun_run(demonstrations, run)
    words = ["learn", str(run), "--exchange", str(folder)]
    statuses: list[int] = []
    for index, death in enumerate((*DEATHS, "")):
        with robot_at(folder, store) as robot:
            status, said = warm_python().run(words, death)
            assert robot.poll() is None, "the robot did not notice"
            if index % 2:
                robot.send_signal(signal.SIGKILL)
        assert status in (-signal.SIGKILL, 0), said
        statuses.append(status)
        if status == 0:
            break
    assert statuses[-1] == 0
    assert len(statuses) > 3, "it was killed at several places"
    online = EpisodeStore.open(run / "online")
    keys = taken_keys(online)
    assert len(keys) == len(set(keys)) == 6
    assert online.verify() == []
    published = sorted(filter(progress_of, (p.name for p in (folder / "policies").iterdir())))
    assert published[-1] == "3_online_rl_00000008"
    assert (run / "report.html").exists()
    again, said = warm_python().run(words)
    assert again == 0, said
    assert taken_keys(EpisodeStore.open(run / "online")) == keys


@pytest.mark.slow
def test_a_stop_by_file_reaches_a_robot_in_another_process(
    demonstrations: Path, tmp_path: Path
) -> None:
    """And the learner goes on when it is started."""
    run, folder, store = tmp_path / "run", tmp_path / "exchange", tmp_path / "robot"
    begun_run(demonstrations, run)
    (tmp_path / "exchange/commands").mkdir(parents=True)
    people = CommandFolder(folder / "commands", print)
    people.give("stop", "anna")
    with robot_at(folder, store):
        time.sleep(0.5)
        assert len(EpisodeStore.open(store)) == 0
        people.give("start", "anna")
        status, said = warm_python().run(["learn", str(run), "--exchange", str(folder)])
        assert status == 0, said
    assert len(EpisodeStore.open(run / "online")) == 6


@pytest.mark.slow
def test_a_learner_whose_disk_is_full_says_so_and_goes_on_when_there_is_room(
    demonstrations: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "24m") as disk:
        run, folder, store = disk / "run", tmp_path / "exchange", tmp_path / "robot"
        begun_run(demonstrations, run)
        words = ["learn", str(run), "--exchange", str(folder)]
        filler = fill_up(disk)
        status, said = warm_python().run(words)
        assert status == 2, said
        assert "No space left" in said
        assert "Traceback" not in said
        filler.unlink()
        with robot_at(folder, store):
            status, said = warm_python().run(words)
        assert status == 0, said
        assert len(EpisodeStore.open(run / "online")) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learn", "NOWHERE", "--exchange", "X"], "holds no run; begin one"),
        (["learn", "RUN", "--exchange", "DATA/x"], "lies in the episode store"),
        (["learn", "RUN", "--exchange", "X", "--env-id", "lift"], "names the environment"),
        (["learn", "RUN", "--exchange", "FILE"], "is a file"),
        (["learn", "RUN", "--exchange", "X", "--device", "toaster"], "toaster"),
        (["exchange", "show", "EMPTY"], "has no exchange.json"),
        (["exchange", "stop", "EMPTY", "--author", "anna"], "has no exchange.json"),
        (["exchange", "dance", "EMPTY"], "no command"),
    ],
)
def test_bad_commands_are_told_before_anything_is_written(
    demonstrations: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    run = tmp_path / "run"
    if "RUN" in words:
        begun_run(demonstrations, run)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(path.name for path in tmp_path.iterdir())
    places = {"RUN": run, "NOWHERE": tmp_path / "nowhere", "X": tmp_path / "x"}
    places |= {
        "DATA/x": demonstrations / "x",
        "EMPTY": tmp_path / "empty",
        "FILE": tmp_path / "file",
    }
    status, output = warm_python().run([str(places.get(word, word)) for word in words])
    assert status == 2, output
    assert said in output
    assert "Traceback" not in output
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not (run / "exchange.json").exists()
