"""Between two episodes of a robot with a learner: send, take a newer policy, wait, go on."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from softflow.robot.exchange.robot_side import Next, RobotSide
from softflow.robot.inference.process import InferenceProcess
from softflow.robot.learner_rounds import LearnerRounds


class Received:
    def __init__(self, name: str) -> None:
        self.checkpoint = Path(name)


class Side:
    """A folder that says what it is told to."""

    def __init__(self, policies: list[str | None], says: list[Next]) -> None:
        self.policy: Received | None = None
        self.policies, self.says = policies, says
        self.sent, self.rejected = 0, list[str]()

    def newer_policy(self) -> Received | None:
        name = self.policies.pop(0) if self.policies else None
        return Received(name) if name else None

    def reject_policy(self, why: str) -> None:
        self.rejected.append(why)

    def send(self) -> int:
        self.sent += 1
        return 0

    def next(self) -> Next:
        return self.says.pop(0)


class Source:
    def __init__(self) -> None:
        self.loaded: list[str] = []

    @property
    def facts(self) -> Source:
        return self

    @property
    def version(self) -> str:
        return self.loaded[-1]

    def load(self, path: str) -> str:
        if "torn" in path:
            return "it is torn"
        self.loaded.append(path)
        return ""


def rounds(side: Side) -> tuple[LearnerRounds, Source, list[str]]:
    source, said = Source(), list[str]()
    made = LearnerRounds(
        cast("RobotSide", side), cast("InferenceProcess", source), said.append, pause_s=0.001
    )
    return made, source, said


def test_it_waits_takes_what_is_newer_and_goes_on() -> None:
    wait, stop, go = Next.WAIT, Next.STOP, Next.EPISODE
    side = Side([None, "torn one", None, "two"], [wait, wait, stop, go])
    side.policy = Received("one")
    between, source, said = rounds(side)
    between()
    assert source.loaded == ["one", "two"]
    assert side.rejected == ["it is torn"]
    assert side.sent == 4
    assert [line.partition(" ")[0] for line in said] == ["policy", "waiting", "somebody", "policy"]
