"""Time left of a whole job: known from the pace of each kind of work, bounded below before."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from softflow.utils.job_time import JobTime, duration
from softflow.utils.progress import ConsoleProgress


class Clock:
    """Stands still until somebody moves it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def worked(job: JobTime, clock: Clock, title: str, total: int, unit_s: float) -> None:
    """A whole piece of work at one pace."""
    job.begin(title, total)
    for done in range(1, total + 1):
        clock.now_s += unit_s
        job.advance(done)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def job(clock: Clock) -> JobTime:
    return JobTime(clock)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (1234, "21 min"), (3899, "1 h 05 min")],
)
def test_spans_are_told_in_hours_and_minutes(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_without_a_job_it_is_the_time_of_the_piece(job: JobTime, clock: Clock) -> None:
    job.begin("import", 10, 4)
    assert job.left() == ""
    clock.now_s += 200
    job.advance(6)
    assert job.left() == "7 min left", "4 of 10 at 100 s each"


def test_what_has_not_begun_bounds_the_time_from_below(job: JobTime, clock: Clock) -> None:
    job.expect({"evaluate": 20, "imitation": 100, "collect": 0})
    job.begin("imitation", 100)
    clock.now_s += 60
    job.advance(10)
    assert job.left() == "≥ 9 min left"
    clock.now_s += 540
    job.advance(100)
    job.begin("evaluate imitation", 10)
    clock.now_s += 60
    job.advance(1)
    assert job.left() == "19 min left"


def test_that_nothing_is_left_is_not_said_of_a_piece_alone(job: JobTime, clock: Clock) -> None:
    job.expect({"evaluate": 20, "imitation": 100})
    worked(job, clock, "imitation", 100, 6)
    assert job.left() == "", "how long evaluating takes nobody knows"
    worked(job, clock, "evaluate imitation", 20, 1)
    assert job.left() == "0 s left"


def test_pieces_of_a_kind_add_up(job: JobTime, clock: Clock) -> None:
    """Two rounds: what the first took says what the second will."""
    job.expect({"evaluate": 4, "collect": 20, "learn": 200})
    worked(job, clock, "round 1: collect", 10, 60)
    worked(job, clock, "round 1: learn", 100, 6)
    worked(job, clock, "evaluate online_rl_round_01", 2, 30)
    assert job.left() == "21 min left"
    worked(job, clock, "round 2: collect", 10, 60)
    assert job.left() == "11 min left"


def test_a_stage_that_ends_early_leaves_nothing_behind(job: JobTime, clock: Clock) -> None:
    job.expect({"evaluate": 10, "critic warmup": 1000, "offline rl": 100})
    worked(job, clock, "critic warmup", 10, 1)
    worked(job, clock, "evaluate critic_warmup", 5, 2)
    job.begin("offline rl", 100)
    clock.now_s += 50
    job.advance(50)
    assert job.left() == "60 s left", "5 evaluation episodes and 50 updates"


def test_a_pause_between_pieces_does_not_count(job: JobTime, clock: Clock) -> None:
    worked(job, clock, "import", 2, 10)
    clock.now_s += 10_000
    job.begin("import", 2)
    clock.now_s += 10
    job.advance(1)
    assert job.left() == "10 s left"


@pytest.mark.parametrize("live", [True, False])
def test_the_console_tells_it(live: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=live, width=200, color_system=None)
    with ConsoleProgress(console) as progress:
        progress.expect({"evaluate": 10, "imitation": 10})
        progress.begin("imitation", 2)
        time.sleep(0.2)
        progress.advance(2, "nll 3")
    assert re.search(r"≥ [1-9]\d* s left", file.getvalue())
