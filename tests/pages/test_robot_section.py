"""What pages say of a robot's loop: episodes of a real loop, added up by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_run import make_run
from toy_robot import SPEC, FakeClock, ToyRobot, ToySource

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.pages.data_page import write_page
from softflow.pages.robot.loops import TIMES, loops_of
from softflow.pages.run_report import write_report
from softflow.robot.control_loop import LoopParts, run_episode
from softflow.robot.safety.limits import ComponentLimit, Limits
from softflow.utils.progress import SilentProgress

PERIOD_MS = 100
STEPS = 20


def recorded(late_s: float = 0.0, version: str = "arm-1", person: bool = False) -> Episode:
    """An episode of the loop: every second tick comes late, and commands are clipped."""
    lateness = iter([0.0, late_s] * 20)
    clock = FakeClock(late=lateness.__next__)
    robot = ToyRobot(clock, STEPS)
    robot.succeeds_at = STEPS
    source = ToySource(clock, ChunkSpec(4, 4), lambda: 0.15)
    source.facts = replace(source.facts, version=version)

    def takes_over(values: object, holding: np.ndarray) -> np.ndarray | None:
        return holding if person and 4 <= len(robot.commands) < 7 else None

    limits = Limits([ComponentLimit(0, high=2.0)])
    end = run_episode(LoopParts(robot, source, limits, clock=clock, take_over=takes_over), 0, 0)
    assert end.episode is not None
    return end.episode


def store_of(path: Path, *episodes: Episode) -> EpisodeStore:
    with EpisodeStore.create(path, SPEC) as store:
        for episode in episodes:
            store.append(episode)
    return store


def test_episodes_are_added_up(tmp_path: Path) -> None:
    alike = recorded(0.03), recorded(0.03, person=True), recorded(0.0, version="arm-2")
    store = store_of(tmp_path / "data", *alike)
    told = [episode.metadata["loop"] for episode in alike]
    loops = loops_of(store.summaries())
    assert loops is not None
    assert (loops.episodes, loops.steps, loops.unreadable) == (3, 3 * STEPS, 0)
    assert (loops.person_steps, loops.person_episodes) == (3, 1)
    assert loops.held_steps == sum(each["held_steps"] for each in told) > 0
    [(reason, steps)] = loops.reasons.items()
    assert reason.startswith("clipped: ")
    assert loops.interventions["clipped"] == steps > 0
    assert {name: version.episodes for name, version in loops.versions.items()} == {
        "arm-1": 2,
        "arm-2": 1,
    }
    assert [version.successes for version in loops.versions.values()] == [2, 1]
    lateness, jitter = loops.times["lateness"], loops.times["jitter"]
    # 20 steps and the tick that sees the end, every second one 30 ms late in two episodes.
    assert lateness.number == 3 * (STEPS + 1)
    assert lateness.sum_ms == pytest.approx(2 * 10 * 30, abs=0.1)  # means are rounded
    assert lateness.max_ms == jitter.max_ms == pytest.approx(30)
    # From every tick to the next it is 30 ms more or less.
    assert jitter.number == 3 * STEPS
    assert jitter.counts[jitter.edges_ms.searchsorted(30)] == 2 * STEPS
    assert sum(loops.decisions.values()) == sum(sum(each["decisions"].values()) for each in told)


def test_both_pages_show_it(tmp_path: Path) -> None:
    episodes = recorded(0.03), recorded(0.03, "<b>arm</b>", person=True)
    store = store_of(tmp_path / "data", *episodes)
    page = write_page(store, tmp_path / "data.html", 5, SilentProgress()).read_text()
    run = make_run(tmp_path / "run", labels=["imitation"], rollouts=0, videos=False)
    store_of(run / "online", *episodes)
    report = write_report(run).read_text()
    for text in (page, report):
        assert "On the robot" in text
        for title, _ in TIMES.values():
            assert title in text
        assert "2 episodes, 40 control steps: 0 ticks missed" in text
        assert "A person took over 3 steps of 1 episode." in text
        assert "clipped" in text
        assert "arm-1" in text
        assert "<b>arm</b>" not in text


def test_other_episodes_have_no_such_section(tmp_path: Path) -> None:
    plain = replace(recorded(), metadata={"operator": "somebody"})
    store = store_of(tmp_path / "data", plain)
    assert loops_of(store.summaries()) is None
    page = write_page(store, tmp_path / "data.html", 5, SilentProgress()).read_text()
    assert "On the robot" not in page


@pytest.mark.parametrize(
    "changes",
    [
        {"loop": "fast"},
        {"loop": {}},
        {"loop.missed_ticks": -1},
        {"loop.lateness.counts": [1, 2]},
        {"loop.lateness.edges_ms": []},
        {"loop.lateness.mean_ms": 1e300},
        {"loop.busy.edges_ms": [float(5 - n) for n in range(15)]},
        {"loop.decisions": {"late": "often"}},
        {"interventions": [1]},
        {"interventions.told": [[3, "five"]]},
        {"taken_over": [[5, 1]]},
    ],
)
def test_what_no_loop_wrote_is_counted_and_the_rest_is_shown(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    good, strange = recorded(), recorded()
    for name, value in changes.items():
        *place, last = name.split(".")
        there = strange.metadata
        for part in place:
            there = there[part]
        there[last] = value
    store = store_of(tmp_path / "data", good, strange)
    loops = loops_of(store.summaries())
    assert loops is not None
    assert (loops.episodes, loops.unreadable, loops.steps) == (1, 1, STEPS)
    page = write_page(store, tmp_path / "data.html", 5, SilentProgress()).read_text()
    assert "What 1 episode says of its loop cannot be read." in page


def test_other_bins_are_not_mixed(tmp_path: Path) -> None:
    good, other = recorded(), recorded()
    other.metadata["loop"]["busy"] |= {"edges_ms": [1.0], "counts": [3, 4]}
    loops = loops_of(store_of(tmp_path / "data", good, other).summaries())
    assert loops is not None
    assert loops.times["busy"].number == good.metadata["loop"]["busy"]["number"]
