"""What the benchmarks of a robot count is what happened; the ways to a policy are really taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import robot_links
from benchmarks.robot_soak import facts_of, jumps_of, limits_text, outside
from benchmarks.watched_robot import Seen, WatchedRobot, read_notes
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.robot.safety.limits_file import read_limits

HZ = 20.0
SPEC = DataSpec({STATE_KEY: (1,)}, 2, (-1.0, 0.0), (1.0, 0.5), HZ)


def told(missed: int) -> dict[str, Any]:
    loop = {"missed_ticks": missed, "held_steps": 1, "skipped_actions": 2}
    loop |= {name: {"mean_ms": 50.0, "number": 3} for name in ("latency", "deciding")}
    counts = {"counts": {"clipped": 4}}
    return {"policy_version": f"p{missed}", "loop": loop, "interventions": counts}


def test_pauses_that_the_loop_did_not_count_are_told() -> None:
    even, actions = np.arange(6) / HZ, np.zeros((6, 2))
    late = even + np.array([0, 0, 2, 2, 2, 2]) / HZ  # two control steps were let go
    seen = [Seen(even, actions), Seen(late, actions), Seen(late, actions)]
    facts = facts_of(seen, [told(0), told(2), told(0)], HZ)
    assert facts["missed ticks, unhandled"] == 2
    assert facts["missed ticks, counted by the loop"] == 2
    assert facts["pauses of the robot above 1.5 periods"] == 2
    assert facts["longest pause, ms"] == pytest.approx(150)
    assert (facts["held steps"], facts["clipped by the limits"]) == (3, 12)
    assert facts["policies"] == "2, from p0 to p0"


def test_actions_outside_limits_are_counted_anew(tmp_path: Path) -> None:
    (tmp_path / "limits").write_text(limits_text(SPEC))
    limits = read_limits(tmp_path / "limits")
    inside = np.array([[-1, 0], [0, 0.25], [1, 0.5]], np.float64)
    too_far = inside + np.array([0, 0.1])
    too_fast = np.array([[-1.0, 0], [0.1, 0], [0.1, 0]])
    episodes = [Seen(np.arange(3.0), actions) for actions in (inside, too_far, too_fast)]
    assert [outside([one], limits, SPEC) for one in episodes] == [0, 1, 1]
    jumps = jumps_of(episodes)
    assert jumps["largest jump, each component"] == [1.1, 0.25]
    assert jumps["largest jump"] == 1.1


def test_a_watched_robot_notes_what_reaches_it(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    commanded = []
    for _ in range(2):  # started anew, it goes on in the file
        robot = WatchedRobot("cube-single", notes)
        for seed in range(2):
            robot.reset(seed)
            for step in range(3):
                robot.observe()
                action = robot.hold() + np.float32(0.1 * step)
                robot.act(action)
                commanded.append(action)
        robot.close()
    seen = read_notes(notes, 5)
    assert [len(one.actions) for one in seen] == [3, 3, 3, 3]
    np.testing.assert_array_equal(np.concatenate([one.actions for one in seen]), commanded)
    assert all((np.diff(one.looks_s) > 0).all() for one in seen)


@pytest.mark.slow
def test_the_links_of_a_robot_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_ROS", "nowhere")  # two more processes: tests/robot/ros2 is for them
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        section = robot_links.run(turns=2, pixels=32, steps=6)
    finally:
        torch.set_num_threads(threads)
    rows = {row.name: row for row in section.rows}
    measured = [row for name, row in rows.items() if not name.startswith("ROS 2")]
    assert len(measured) == 6
    assert all(row.ms is not None and row.ms.low > 0 for row in measured)
    assert all(row.ratio is not None and row.ratio.low > 0 for row in measured[1:])
    assert "no ROS 2 for nowhere" in rows["ROS 2, topics to command"].note
