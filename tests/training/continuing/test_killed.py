"""Killed while it grows, or while it starts from another run, a run ends as if nothing had been."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from point_world import write_demonstrations
from runs_compared import differences, everything_that_lasts
from training_processes import train

from softflow.training.continuing.history import read_history

KILLED = -9
WORDS = ("--stages", "imitation", "--eval-episodes", "0", "--checkpoint-interval-s", "0")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_demonstrations(tmp_path / "demos", (True, True, True, False))


def trained(data: Path, run: Path, *words: str, die_at: str = "") -> None:
    """One command, which is killed if it shall be, and else succeeds."""
    status, said = train(data, run, *WORDS, *words, die_at=die_at)
    assert status == (KILLED if die_at else 0), said


def updates(number: int) -> tuple[str, str]:
    return "--imitation.num-updates", str(number)


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_grows(data: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for run in (whole, killed):
        trained(data, run, *updates(10))
    more = (*updates(20), "--noise-std", "0.1")
    for death in ("imitation_update 1 1", "imitation_update 4 3", "save 1 2"):
        trained(data, killed, *more, die_at=death)
    for run in (whole, killed):
        trained(data, run, *more)
    assert differences(everything_that_lasts(whole), everything_that_lasts(killed)) == []
    told = [[(c.what, c.now) for c in e.changes] for e in read_history(killed).continuations]
    assert told == [[("imitation.num_updates", 20), ("noise_std", 0.1)]]


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_starts_from_another(data: Path, tmp_path: Path) -> None:
    first, whole, killed = (tmp_path / name for name in ("first", "whole", "killed"))
    trained(data, first, *updates(10))
    origin = (*updates(15), "--from", str(first))
    trained(data, whole, *origin)
    for death in ("save 1 1", "save 1 12"):
        trained(data, killed, *origin, die_at=death)
    trained(data, killed, *origin, die_at="imitation_update 8 1")
    shutil.rmtree(first)
    trained(data, killed, *origin)
    assert differences(everything_that_lasts(whole), everything_that_lasts(killed)) == []
    assert read_history(killed).origin is not None
