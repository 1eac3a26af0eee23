"""Several episodes: what is kept, what a person is asked; the robot is closed at every end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest
from toy_robot import SPEC, FakeClock, ToyRobot, ToySource

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import RobotStoppedError
from softflow.robot.control_loop import LoopParts
from softflow.robot.person.operator_commands import Commands
from softflow.robot.protocol import Outcome
from softflow.robot.session import SessionPlan, run_session


class Person:
    """Answers questions in turn, and tells commands at certain moments."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.questions = list(answers), list[str]()

    def __call__(self, question: str) -> str:
        self.questions.append(question)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


def play(
    folder: Path, plan: SessionPlan, person: Person, commands: Commands = lambda: None
) -> tuple[ToyRobot, EpisodeStore]:
    clock = FakeClock()
    robot = ToyRobot(clock, 6)
    parts = LoopParts(robot, ToySource(clock, ChunkSpec(4, 3)), clock=clock)

    @contextmanager
    def listening() -> Iterator[LoopParts]:
        yield changed(parts, commands=lambda: commands())

    with EpisodeStore.open_or_create(folder, SPEC) as store:
        try:
            run_session(parts, store, plan, listening, person)
        finally:
            assert robot.closes == 1
    return robot, store


def test_episodes_are_sealed_and_labelled_and_rounds_are_paused(tmp_path: Path) -> None:
    person = Person("s", "what?", "", "", "f")
    plan = SessionPlan(3, seed=4, pause_every=2, asks_verdict=True, annotator="anna")
    robot, store = play(tmp_path, plan, person)
    assert len(store) == 3
    assert robot.resets == 3
    told = [store.summary(index) for index in range(3)]
    assert [summary.success for summary in told] == [True, False, False]
    episode = store.episode(0)
    assert (episode.terminated, episode.rewards[-1], episode.length) == (True, 1.0, 6)
    assert store.newest_label(0) is None  # it is sealed so
    assert [summary.metadata.get("unlabelled") for summary in told] == [None, True, None]
    assert told[0].metadata["annotator"] == "anna"
    assert store.episode(2).terminated
    assert [summary.metadata["episode"] for summary in told] == [0, 1, 2]
    assert len({summary.metadata["seed"] for summary in told}) == 3
    asked = [question.partition(" ")[0] for question in person.questions]
    assert asked == ["success", "success", "success", "2", "success"]


def test_going_on_in_a_store_draws_other_seeds(tmp_path: Path) -> None:
    play(tmp_path, SessionPlan(2), Person())
    _, store = play(tmp_path, SessionPlan(2), Person())
    seeds = [store.summary(index).metadata["seed"] for index in range(4)]
    assert len(set(seeds)) == 4


def test_a_stopped_robot_is_not_reset_again_and_what_happened_is_kept(tmp_path: Path) -> None:
    asked = iter(range(99))
    with pytest.raises(RobotStoppedError, match="stopped by a person; look around"):
        play(tmp_path, SessionPlan(3), Person(), lambda: "stop" if next(asked) == 9 else None)
    store = EpisodeStore.open(tmp_path)
    # Six steps of the first episode, with one more tick for what they led to; two of the second.
    assert [store.summary(index).length for index in range(len(store))] == [6, 2]
    metadata = store.summary(1).metadata
    assert metadata["ended"] == "stopped"
    assert "stopped by a person" in metadata["interventions"]["told"][0][3]


def test_a_discarded_episode_is_forgotten(tmp_path: Path) -> None:
    asked = iter(range(99))
    _, store = play(
        tmp_path, SessionPlan(2), Person(), lambda: "discard" if next(asked) == 3 else None
    )
    assert len(store) == 1


def test_a_person_may_discard_an_episode_when_it_is_over(tmp_path: Path) -> None:
    _, store = play(tmp_path, SessionPlan(2, asks_verdict=True), Person("d", "s"))
    assert [store.summary(index).success for index in range(len(store))] == [True]


def test_where_nobody_answers_it_ends_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RobotStoppedError, match="--verdict never"):
        play(tmp_path, SessionPlan(2, asks_verdict=True), Person())
    assert len(EpisodeStore.open(tmp_path)) == 1


def test_a_policy_that_cannot_act_moves_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    robot, source = ToyRobot(clock), ToySource(clock, ChunkSpec(4, 3), lambda: 1e9)
    source.problem = "the policy's process died"
    parts = LoopParts(robot, source, clock=clock)

    @contextmanager
    def listening() -> Iterator[LoopParts]:
        raise AssertionError("no episode may begin")
        yield parts

    with EpisodeStore.create(tmp_path, SPEC) as store:
        for told in ("process died; the robot did not move", "took more than 300 s"):
            with pytest.raises(RobotStoppedError, match=told):
                run_session(parts, store, SessionPlan(1), listening)
            source.problem, source._due_s = "", None
    assert (robot.commands, robot.closes) == ([], 2)


@pytest.mark.parametrize("raised", [OSError("no power"), KeyboardInterrupt()])
def test_a_reset_that_fails_stops_and_closes_the_robot(
    tmp_path: Path, raised: BaseException
) -> None:
    clock = FakeClock()

    class Powerless(ToyRobot):
        def reset(self, seed: int) -> None:
            raise raised

    robot = Powerless(clock)
    parts = LoopParts(robot, ToySource(clock, ChunkSpec(4, 3)), clock=clock)
    told = RobotStoppedError if isinstance(raised, OSError) else KeyboardInterrupt
    with EpisodeStore.create(tmp_path, SPEC) as store, pytest.raises(told):
        run_session(parts, store, SessionPlan(1), lambda: nullcontext(parts))
    assert (robot.stops, robot.closes) == (1, 1)


def test_what_happened_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Turning(ToyRobot):
        def act(self, action: np.ndarray) -> Outcome:
            super().act(action)
            number = len(self.commands)
            events = {2: ("rotated",), 4: ("rotated", "dropped")}.get(number, ())
            return Outcome(float("rotated" in events), "dropped" in events, False, events)

    clock = FakeClock()
    parts = LoopParts(Turning(clock, 6), ToySource(clock, ChunkSpec(4, 3)), clock=clock)
    with EpisodeStore.open_or_create(tmp_path, SPEC) as store:
        run_session(parts, store, SessionPlan(1), lambda: nullcontext(parts))
    said = capsys.readouterr().out
    assert "after 4 control steps, rotated 2 times, dropped, reward 2; decisions" in said
