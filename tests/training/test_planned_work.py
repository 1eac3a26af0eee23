"""What a run still has to do, and how its progress counts rounds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from point_world import LocalPool, tiny_config

from softflow.training.config import STAGES
from softflow.training.planned_work import planned_work, title_of
from softflow.training.run import Run
from softflow.training.run_folder import Position
from softflow.training.stages import run_stages
from softflow.utils.progress import SilentProgress

CONFIG = tiny_config()
"""60, 30, 30 updates; 2 rounds of 3 episodes and 15 updates; 3 and 2 evaluation episodes."""


def test_all_of_a_new_run() -> None:
    assert planned_work(CONFIG, STAGES, Position(), 0) == {
        "evaluate": 4 * 3 + 2 * 2,
        "imitation": 60,
        "critic warmup": 30,
        "offline rl": 30,
        "collect": 6,
        "learn": 30,
    }


def test_what_is_behind_a_run_is_not_ahead_of_it() -> None:
    assert planned_work(CONFIG, STAGES, Position("offline_rl", 10), 0) == {
        "evaluate": 2 * 3 + 2 * 2,
        "offline rl": 20,
        "collect": 6,
        "learn": 30,
    }
    within_round_2 = planned_work(CONFIG, STAGES, Position("online_rl", 20), 6)
    assert within_round_2 == {"evaluate": 3 + 2, "collect": 0, "learn": 10}
    assert planned_work(CONFIG, ["imitation"], Position("online_rl", 20), 6) == {"evaluate": 0}


def test_updates_of_online_rl_are_those_of_a_round() -> None:
    assert title_of("online_rl", 15, 30) == "round 2: learn"
    assert title_of("critic_warmup", 0, 30) == "critic warmup"


class Diary(SilentProgress):
    """Every piece of work, with how far it came, and the job that was told."""

    def __init__(self) -> None:
        self.work: list[list[object]] = []
        self.job: Mapping[str, int] = {}

    def expect(self, work: Mapping[str, int]) -> None:
        self.job = work

    def begin(self, title: str, total: int, done: int = 0) -> None:
        self.work.append([title, total, done])

    def advance(self, done: int, status: str = "") -> None:
        self.work[-1][2] = done


@pytest.mark.slow
def test_progress_within_a_round_counts_that_round(demonstrations: Path, tmp_path: Path) -> None:
    diary = Diary()
    run = Run(tmp_path / "run", CONFIG, demonstrations, LocalPool(), diary)
    run_stages(run, ["imitation", "online_rl"])
    run.close()
    assert [tuple(work) for work in diary.work] == [
        ("imitation", 60, 60),
        ("evaluate imitation", 3, 3),
        ("round 1: collect", 3, 3),
        ("round 1: learn", 15, 15),
        ("evaluate online_rl_round_01", 2, 2),
        ("round 2: collect", 3, 3),
        ("round 2: learn", 15, 15),
        ("evaluate online_rl_round_02", 2, 2),
        ("evaluate online_rl", 3, 3),
    ]
    done = sum(int(str(work[1])) for work in diary.work)
    assert sum(diary.job.values()) == done, "the job is exactly what was done"
