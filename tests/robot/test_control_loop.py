"""One episode on a robot: what is commanded, what is recorded, and when the robot is stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_robot import HZ, SPEC, FakeClock, ToyRobot, ToySource

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.errors import RobotStoppedError
from softflow.robot.control_loop import EpisodeEnd, LoopParts, run_episode
from softflow.robot.person.operator_commands import Command
from softflow.robot.protocol import Outcome, Sensed
from softflow.robot.safety.limits import ComponentLimit, Limits, Patience, Watchdogs
from softflow.sampling.chunk_dataset import ChunkDataset

CHUNK = ChunkSpec(chunk_length=4, execution_horizon=3, prefix_length=2, history_length=2)
STILL = 0.0


def parts(
    chunk: ChunkSpec = CHUNK, latency_s: Callable[[], float] = lambda: 0.0, steps: int = 9
) -> tuple[LoopParts, ToyRobot, ToySource]:
    clock = FakeClock()
    robot, source = ToyRobot(clock, steps), ToySource(clock, chunk, latency_s)
    return LoopParts(robot, source, clock=clock), robot, source


def play(loop: LoopParts, **changes: Any) -> EpisodeEnd:
    return run_episode(changed(loop, **changes), number=5, seed=11)


def recorded(end: EpisodeEnd) -> list[float]:
    assert end.episode is not None
    end.episode.validate(SPEC)
    return end.episode.actions[:, 0].tolist()


def test_decisions_arrive_a_step_later_and_the_prefix_covers_it() -> None:
    loop, robot, source = parts(latency_s=lambda: 0.02)
    end = play(loop)
    # As in a simulator without delay, because P is 2: decisions 1, 2, 3 begin at steps 2, 5 and 8.
    assert robot.commands == [STILL, STILL, 0, 1, 2, 0, 1, 2, 0]
    assert recorded(end) == robot.commands
    assert end.ending == "time limit"
    assert [asked.step for asked in source.questions] == [0, 3, 6]
    seen = [asked.observations[STATE_KEY][:, 0].tolist() for asked in source.questions]
    assert seen == [[0, 0], [2, 3], [5, 6]]
    assert [asked.prefix[:, 0].tolist() for asked in source.questions] == [[0, 0], [1, 2], [1, 2]]
    assert {(asked.episode, asked.seed) for asked in source.questions} == {(5, 11)}
    episode = end.episode
    assert episode is not None
    assert episode.observations[STATE_KEY][:, 0].tolist() == list(range(10))
    assert (episode.truncated, episode.success) == (True, False)
    assert episode.metadata["policy_version"] == "toy-3"
    told = episode.metadata["loop"]
    assert told["decisions"] == {"in time": 3}
    assert told["latency"]["mean_ms"] == pytest.approx(100)  # seen at the next tick
    assert (told["missed_ticks"], told["held_steps"], told["lateness"]["number"]) == (0, 0, 10)
    assert robot.stops == 1


def test_a_slow_first_decision_skips_nothing_and_is_waited_for() -> None:
    loop, robot, _ = parts(ChunkSpec(4, 4), iter([2.05, 0, 0, 0]).__next__, steps=26)
    end = play(loop)
    assert robot.commands[:21] == [STILL] * 21
    assert robot.commands[21:25] == [0, 1, 2, 3]
    assert end.ending == "time limit"
    assert end.episode is not None
    assert end.episode.metadata["loop"]["decisions"]["waited for"] >= 1


def test_when_nothing_comes_it_holds_then_stops() -> None:
    loop, robot, source = parts(ChunkSpec(3, 3), steps=99)
    source.latency_s = iter([0.0, 1e9]).__next__
    end = play(loop, limits=Limits(watchdogs=Watchdogs(decision_s=1.0)))
    assert end.ending == "stopped"
    assert "no decision of the policy for 1.1 s: look at" in end.fault
    assert robot.commands == [STILL, 0, 1, 2] + [STILL] * 10
    assert recorded(end) == robot.commands
    assert robot.stops == 1


def test_a_whole_episode_without_a_decision_is_no_episode_like_others() -> None:
    loop, robot, _ = parts(latency_s=lambda: 1e9, steps=8)  # shorter than the first may take
    end = play(loop)
    assert robot.commands == [STILL] * 8
    assert end.ending == "stopped"
    assert "no decision of the policy for the whole episode: look at" in end.fault


def test_a_dead_policy_is_named_and_what_it_planned_is_still_done() -> None:
    loop, robot, source = parts(ChunkSpec(3, 3), steps=99)

    def dies(values: object, holding: np.ndarray) -> None:
        if len(robot.commands) == 2:
            source.problem = "the policy's process died"

    end = play(loop, take_over=dies)
    assert robot.commands[:5] == [STILL, 0, 1, 2, STILL]
    assert "the policy's process died; then start again" in end.fault
    assert 20 <= len(robot.commands) - 4 <= 21  # two seconds of holding still


def test_a_decision_that_is_not_finite_is_refused() -> None:
    loop, _, source = parts(ChunkSpec(3, 3), steps=9)
    source.nan_at = 2
    end = play(loop)
    assert recorded(end) == [STILL, 0, 1, 2, STILL, STILL, 0, 1, 2]
    assert end.episode is not None
    assert end.episode.metadata["interventions"]["counts"] == {"refused": 1}


def test_stale_observations_hold_then_stop() -> None:
    loop, robot, _ = parts(steps=99)
    frozen_at_s = loop.clock.now_s() + 0.5

    def observed() -> Sensed:
        fresh = robot.fresh(1)
        return Sensed(fresh.values, min(fresh.taken_at_s, frozen_at_s))

    robot.observed = observed
    patience = Patience(hold_s=0.25, stop_s=0.65)
    end = play(loop, limits=Limits(watchdogs=Watchdogs(observation=patience)))
    assert "no fresh, finite observation for 0.70 s" in end.fault
    assert robot.commands[8:] == [STILL] * 4  # from 0.3 s of age on
    told = recorded(end), end.episode
    assert told[0] == robot.commands
    assert told[1] is not None
    counts = told[1].metadata["interventions"]["counts"]
    assert counts == {"held": 4, "stopped": 1}


def test_one_bad_observation_is_bridged_and_neither_recorded_nor_decided_on() -> None:
    loop, robot, source = parts(steps=9)

    def observed() -> Sensed:
        bad = len(robot.commands) == 3
        return robot.fresh(float("nan") if bad else len(robot.commands))

    robot.observed = observed
    end = play(loop)
    assert end.ending == "time limit"
    assert end.episode is not None
    seen = end.episode.observations[STATE_KEY][:, 0].tolist()
    assert seen == [0, 1, 2, 2, 4, 5, 6, 7, 8, 9]
    assert np.isfinite([asked.observations[STATE_KEY] for asked in source.questions]).all()


def test_an_unusable_first_observation_moves_nothing() -> None:
    loop, robot, _ = parts()
    robot.observed = lambda: Sensed({STATE_KEY: np.zeros(2, np.float32)}, loop.clock.now_s())
    end = play(loop)
    assert "first observation is unusable" in end.fault
    assert (robot.commands, end.episode, robot.stops) == ([], None, 1)


def test_a_robot_that_sees_nothing_new_is_decided_for_all_the_same() -> None:
    # Servers that drop questions like the one before leave a robot without a plan.
    loop, robot, source = parts(ChunkSpec(4, 3), steps=12)
    robot.observed = lambda: robot.fresh(7)
    end = play(loop)
    assert end.ending == "time limit"
    assert [asked.step for asked in source.questions] == [0, 4, 7, 10]
    assert end.episode is not None
    assert end.episode.metadata["loop"]["held_steps"] == 1  # until the first decision is there


def test_an_observation_that_repeats_itself_stops_it() -> None:
    loop, robot, _ = parts(steps=99)
    robot.observed = lambda: robot.fresh(7)
    end = play(loop, limits=Limits(watchdogs=Watchdogs(frozen_s=0.5)))
    assert "'observation.state' has not changed for 0.5 s; restart its driver" in end.fault


def test_without_a_sign_of_life_it_stops() -> None:
    loop, robot, _ = parts(steps=99)
    begun_s = loop.clock.now_s()
    end = play(loop, heartbeat=lambda: begun_s)
    assert "no sign of life from outside for 2.10 s" in end.fault
    assert robot.commands[-5:] == [STILL] * 5


def test_limits_are_kept_and_the_executed_action_is_recorded_and_the_next_prefix() -> None:
    loop, robot, source = parts(steps=12)
    source.scale = 7.0
    end = play(loop, limits=Limits([ComponentLimit(0, high=3.0, velocity=20.0)]))
    assert max(robot.commands) <= 3.0
    assert np.abs(np.diff([0.0, *robot.commands])).max() <= 2.0 + 1e-6
    assert recorded(end) == robot.commands
    assert end.episode is not None
    assert end.episode.metadata["interventions"]["counts"]["clipped"] > 3


@given(
    st.lists(st.floats(0, 1.2), min_size=40, max_size=40),
    st.lists(st.floats(0, 0.12), min_size=60, max_size=60),
    st.integers(0, 3),
)
def test_whatever_the_latencies_and_the_jitter_limits_hold_and_rows_are_what_was_done(
    latencies: list[float], lateness: list[float], prefix: int
) -> None:
    late = iter(lateness * 3)
    clock = FakeClock(late=late.__next__)
    robot = ToyRobot(clock, 40)
    source = ToySource(clock, ChunkSpec(4, 3, prefix), iter(latencies * 3).__next__, scale=17.0)
    dogs = Watchdogs(decision_s=20.0)
    limits = Limits([ComponentLimit(0, high=50.0, velocity=100.0)], watchdogs=dogs)
    end = run_episode(LoopParts(robot, source, limits, clock=clock), 0, 0)
    assert end.ending == "time limit"
    assert len(robot.commands) == 40
    assert recorded(end) == robot.commands
    assert max(robot.commands) <= 50
    assert np.abs(np.diff([0.0, *robot.commands])).max() <= 100.0 / HZ + 1e-4


def test_a_person_takes_over_and_gives_back(tmp_path: Path) -> None:
    loop, robot, source = parts(ChunkSpec(4, 2), steps=12)

    def person(values: object, holding: np.ndarray) -> np.ndarray | None:
        return holding + 9 if 4 <= len(robot.commands) < 7 else None

    end = play(loop, take_over=person)
    assert robot.commands[4:7] == [9, 9, 9]
    assert end.episode is not None
    assert end.episode.metadata["taken_over"] == [[4, 6]]
    with EpisodeStore.create(tmp_path / "data", SPEC) as store:
        store.append(end.episode)
        windows = ChunkDataset(store, ChunkSpec(4, 2)).gather(np.arange(12))
    assert windows.person_steps.tolist() == [0, 0, 0, 0, 3, 2, 1, 0, 0, 0, 0, 0]
    # What was asked for before is void; a decision of the step after begins the next plan.
    assert 7 in [asked.step for asked in source.questions]
    assert robot.commands[8] == 0
    assert recorded(end) == robot.commands


@pytest.mark.parametrize(
    ("command", "ending", "success"),
    [("success", "success", True), ("failure", "failure", False), ("discard", "discarded", None)],
)
def test_a_person_ends_the_episode(command: Command, ending: str, success: bool | None) -> None:
    loop, robot, _ = parts(steps=99)
    end = play(loop, commands=lambda: command if len(robot.commands) == 5 else None)
    assert (end.ending, end.fault, robot.stops) == (ending, "", 1)
    assert len(robot.commands) == 5
    if success is not None:
        assert end.episode is not None
        assert recorded(end) == robot.commands
        assert (end.episode.terminated, end.episode.success) == (True, success)
        assert end.episode.rewards.tolist() == [0, 0, 0, 0, float(success)]


def test_a_stop_comes_before_the_next_command() -> None:
    loop, robot, _ = parts(steps=99)
    end = play(loop, commands=lambda: "stop" if len(robot.commands) == 5 else None)
    assert "stopped by a person" in end.fault
    assert (len(robot.commands), robot.stops) == (5, 1)
    assert recorded(end) == robot.commands


def test_what_the_robot_says_of_a_step_ends_the_episode() -> None:
    loop, robot, _ = parts(steps=99)
    robot.succeeds_at = 6
    end = play(loop)
    assert end.ending == "terminated"
    assert end.episode is not None
    assert (end.episode.length, end.episode.success) == (6, True)
    assert end.episode.rewards.tolist() == [0, 0, 0, 0, 0, 1]


def test_a_driver_that_raises_stops_the_robot_and_what_was_done_is_kept() -> None:
    loop, robot, _ = parts(steps=99)
    robot.raises_at = 4
    end = play(loop)
    assert "the robot raised OSError: the cable is out" in end.fault
    assert "toy_robot.py, line" in end.fault
    assert robot.stops == 1
    assert recorded(end) == robot.commands


def test_a_loop_that_misses_too_much_stops() -> None:
    clock = FakeClock(late=lambda: 0.2)
    robot, source = ToyRobot(clock, 99), ToySource(clock, CHUNK)
    limits = Limits(watchdogs=Watchdogs(missed_ticks=5))
    end = run_episode(LoopParts(robot, source, limits, clock=clock), 0, 0)
    assert "missed 6 control steps in a row" in end.fault


def test_a_robot_outside_its_limits_is_not_commanded() -> None:
    loop, robot, _ = parts()
    with pytest.raises(RobotStoppedError, match="stands outside its limits"):
        play(loop, limits=Limits([ComponentLimit(0, low=1.0)]))
    assert robot.commands == []


class _Reusing(ToyRobot):
    """A driver that fills the same arrays again and again, and writes into what it is given."""

    def __init__(self, clock: FakeClock, max_episode_steps: int) -> None:
        super().__init__(clock, max_episode_steps)
        self._state, self._target = np.zeros(1, np.float32), np.zeros(1, np.float32)
        self.observed = self._look

    def _look(self) -> Sensed:
        self._state[0] = len(self.commands)
        return Sensed({STATE_KEY: self._state}, self._clock.now_s())

    def act(self, action: np.ndarray) -> Outcome | None:
        told = super().act(action)
        self._target[:] = action
        action *= 1000
        return told

    def hold(self) -> np.ndarray:
        return self._target


def test_a_driver_may_use_its_arrays_again() -> None:
    loop, robot, source = parts(latency_s=lambda: 0.02)
    reusing = _Reusing(robot._clock, 9)
    end = play(loop, robot=reusing, limits=Limits(watchdogs=Watchdogs(frozen_s=0.25)))
    assert end.ending == "time limit"
    assert recorded(end) == reusing.commands == [STILL, STILL, 0, 1, 2, 0, 1, 2, 0]
    assert end.episode is not None
    assert end.episode.observations[STATE_KEY][:, 0].tolist() == list(range(10))
    seen = [asked.observations[STATE_KEY][:, 0].tolist() for asked in source.questions]
    assert seen == [[0, 0], [2, 3], [5, 6]]
    assert [asked.prefix[:, 0].tolist() for asked in source.questions] == [[0, 0], [1, 2], [1, 2]]


def test_a_robot_that_cannot_be_stopped_is_told_of_and_what_was_done_is_kept(
    capfd: pytest.CaptureFixture[str],
) -> None:
    loop, robot, _ = parts(steps=99)
    robot.raises_at = 4

    def unplugged() -> None:
        raise OSError("no such device")

    robot.stop = unplugged  # type: ignore[method-assign]
    end = play(loop)
    assert "the cable is out" in end.fault
    assert "stop it by hand: its stop() raised OSError: no such device" in end.fault
    assert "stop it by hand" in capfd.readouterr().err
    assert recorded(end) == robot.commands
    robot.raises_at = -1
    end = play(loop, commands=lambda: "success" if len(robot.commands) == 5 else None)
    assert end.ending == "stopped"  # or the next episode would reset it


@pytest.mark.parametrize("wrong", [np.float32(5), np.array([1, 2], np.float32)])
def test_what_is_no_action_of_the_robot_is_not_commanded(wrong: Any) -> None:
    loop, robot, _ = parts()
    end = play(loop, take_over=lambda values, holding: wrong)
    assert "is to be commanded, the robot takes (1,)" in end.fault
    assert (robot.commands, robot.stops) == ([], 1)


@pytest.mark.parametrize("ahead_s", [1e9, float("inf"), float("nan")])
def test_observations_by_another_clock_would_never_be_old(ahead_s: float) -> None:
    loop, robot, _ = parts()
    robot.observed = lambda: Sensed(robot.fresh(1).values, loop.clock.now_s() + ahead_s)
    end = play(loop)
    assert "give Sensed.taken_at_s by time.monotonic()" in end.fault
    assert robot.commands == []
