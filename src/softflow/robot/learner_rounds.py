"""What a robot does between two episodes when it shares a folder with a learner."""

from __future__ import annotations

import time
from collections.abc import Callable

from softflow.robot.exchange.robot_side import Next, RobotSide
from softflow.robot.inference.process import InferenceProcess

PAUSE_S = 0.5
_WAITING = {
    Next.WAIT: "waiting for the learner's next policy (Ctrl-C ends)",
    Next.STOP: "somebody told robots to stop; waiting for a start (Ctrl-C ends)",
}


class LearnerRounds:
    """Sends episodes, takes newer policies, and waits while it is to wait; the robot rests.

    Args:
        side: of the folder.
        source: the policy's process.
        say: what it waits for, once.
        pause_s: between two looks at the folder.
    """

    def __init__(
        self,
        side: RobotSide,
        source: InferenceProcess,
        say: Callable[[str], None],
        pause_s: float = PAUSE_S,
    ) -> None:
        self._side, self._source = side, source
        self._say, self._pause_s = say, pause_s
        if side.policy is not None:
            self._use(str(side.policy.checkpoint))

    def __call__(self) -> None:
        """Return when an episode may begin."""
        before = Next.EPISODE
        while True:
            self._side.send()
            newer = self._side.newer_policy()
            if newer is not None:
                self._use(str(newer.checkpoint))
            now = self._side.next()
            if now is Next.EPISODE:
                return
            if now is not before:
                self._say(_WAITING[now])
            before = now
            time.sleep(self._pause_s)

    def _use(self, checkpoint: str) -> None:
        """Act with a policy from now on; the present one goes on if it cannot be loaded."""
        why = self._source.load(checkpoint)
        if why:
            self._side.reject_policy(why)
        else:
            self._say(f"policy {self._source.facts.version}")
