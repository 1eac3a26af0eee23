"""Actions as messages: poses once a control step, joint targets evenly in between if asked for."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from softflow.errors import DataError, RobotStoppedError, brief
from softflow.robot.ros2.message_decoding import joint_values, pose_values
from softflow.robot.ros2.node import RobotNode
from softflow.robot.ros2.ramp import Ramp
from softflow.robot.ros2.settings import Timeouts
from softflow.robot.ros2.signal_settings import POSITIONS, ROTATIONS, JointCommand, PoseCommand

LEAST_NORM = 0.1
"""Below it, four numbers of a policy say nothing about an orientation."""


class PoseSender:
    """Sends poses as they come.

    Args:
        node: of the robot; command: where and what.
    """

    def __init__(self, node: RobotNode, command: PoseCommand) -> None:
        self.command, self._node = command, node
        kind = node.ros.geometry.PoseStamped
        self._publisher = node.publisher(kind, command.topic, must_be_heard=True)

    def measured(self, messages: dict[str, Any]) -> np.ndarray:
        """Where it stands, [7], by the messages of the observed topics."""
        return pose_values(messages[self.command.measured])

    def holding(self, pose: np.ndarray) -> np.ndarray:
        """What holds still after a pose: it."""
        return pose

    def begin_episode(self, at: np.ndarray) -> None:
        """Nothing is sent until the first command."""

    def require_sendable(self, pose: np.ndarray) -> None:
        """Raise unless a pose [7] can be sent.

        Raises:
            RobotStoppedError: its quaternion is none.
        """
        norm = float(np.linalg.norm(pose[ROTATIONS]))
        if not norm >= LEAST_NORM:
            raise RobotStoppedError(
                f"the quaternion {pose[ROTATIONS].tolist()} for {self.command.topic} has norm "
                f"{norm:.3g}; it is no orientation: look at the policy's data"
            )

    def send(self, pose: np.ndarray) -> None:
        """Send a pose [7]; its quaternion gets unit norm."""
        norm = float(np.linalg.norm(pose[ROTATIONS]))
        message = self._node.ros.geometry.PoseStamped()
        message.header.stamp, message.header.frame_id = self._node.stamp(), self.command.frame_id
        place, turn = message.pose.position, message.pose.orientation
        place.x, place.y, place.z = (float(value) for value in pose[POSITIONS])
        turn.x, turn.y, turn.z, turn.w = (float(value) / norm for value in pose[ROTATIONS])
        self._publisher.publish(message)

    def hold(self, pose: np.ndarray) -> None:
        """Send the last pose once more."""
        self.send(pose)

    def rest(self) -> None:
        """Nothing is sent by itself."""

    def close(self) -> None:
        """Nothing to close."""


class JointSender:
    """Sends joint targets as they come, or at a rate, from a thread that moves them evenly.

    Args:
        node: of the robot; command: where and what.
        control_hz: control steps a second.
        timeouts: after `command_s` without a new action the thread goes quiet.
    """

    def __init__(
        self, node: RobotNode, command: JointCommand, control_hz: float, timeouts: Timeouts
    ) -> None:
        self.command, self._node = command, node
        self._ramp, self._patience_s = Ramp(1 / control_hz), timeouts.command_s
        kind = node.ros.sensors.JointState
        self._publisher = node.publisher(kind, command.topic, must_be_heard=True)
        told = command.target_topic
        self._targets = node.publisher(kind, told) if told else None
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._asked_s: float | None = None
        self._thread: threading.Thread | None = None
        if command.rate_hz:
            self._thread = threading.Thread(target=self._run, name=command.topic, daemon=True)
            self._thread.start()

    def measured(self, messages: dict[str, Any]) -> np.ndarray:
        """Where they stand, by the messages of the observed topics; 0 of steps and velocities."""
        if not self.command.measured:
            return np.zeros(len(self.command.names))
        return joint_values(messages[self.command.measured], self.command.names, "position")

    def holding(self, targets: np.ndarray) -> np.ndarray:
        """What holds still after targets: them; of steps and velocities 0."""
        return targets if self.command.measured else np.zeros_like(targets)

    def begin_episode(self, at: np.ndarray) -> None:
        """Targets begin where the joints stand; nothing is sent until the first command."""
        with self._lock:
            self._ramp.begin(at, time.monotonic())

    def require_sendable(self, targets: np.ndarray) -> None:
        """Every target can be sent."""

    def send(self, targets: np.ndarray) -> None:
        """Send targets, or begin to move to them."""
        if self._targets is not None:
            self._targets.publish(self._message(targets))
        if self._thread is None:
            self._publisher.publish(self._message(targets))
            return
        with self._lock:
            self._asked_s = time.monotonic()
            self._ramp.go_to(targets, self._asked_s)

    def hold(self, targets: np.ndarray) -> None:
        """Send the last targets once more; interpolated ones stay where they are now.

        Those go on for `command_s`, then nothing is sent.
        """
        if self._thread is None:
            self._publisher.publish(self._message(targets))
            return
        with self._lock:
            now_s = time.monotonic()
            self._ramp.begin(self._ramp.at(now_s), now_s)

    def rest(self) -> None:
        """Send nothing until the next targets."""
        with self._lock:
            self._asked_s = None

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        """Send at a fixed rate; what was missed is not made up for."""
        period_s = 1 / self.command.rate_hz
        due_s = time.monotonic()
        while not self._closing.wait(max(due_s - time.monotonic(), 0.0)):
            due_s = max(due_s + period_s, time.monotonic())
            try:
                self._tick(time.monotonic())
            except Exception as error:
                self._node.fault = f"{self.command.topic} cannot be sent to: {brief(error)}"
                return

    def _tick(self, now_s: float) -> None:
        with self._lock:
            asked_s = self._asked_s
            if asked_s is None or now_s - asked_s > self._patience_s:
                return
            # Within the lock: after `hold` nothing is sent that was made before it.
            self._publisher.publish(self._message(self._ramp.at(now_s)))

    def _message(self, targets: np.ndarray) -> Any:
        message = self._node.ros.sensors.JointState()
        message.header.stamp = self._node.stamp()
        message.name = list(self.command.names)
        message.position = [float(value) for value in targets]
        return message


Sender = PoseSender | JointSender


class Commanding:
    """All commands of an action, and the one that holds still.

    Args:
        senders: in the order of the action.
    """

    def __init__(self, senders: list[Sender]) -> None:
        self._senders = senders
        sizes = [len(sender.command.components) for sender in senders]
        self._cuts = np.cumsum(sizes)[:-1]
        self._holding: np.ndarray | None = None

    def begin_episode(self, messages: dict[str, Any]) -> None:
        """Hold where it stands, by these messages of the observed topics.

        Raises:
            RobotStoppedError: they do not say.
        """
        try:
            at = [sender.measured(messages) for sender in self._senders]
        except DataError as error:
            raise RobotStoppedError(f"where the robot stands is not known: {error}") from error
        for sender, place in zip(self._senders, at, strict=True):
            sender.begin_episode(place)
        self._holding = np.concatenate(at).astype(np.float32)

    @property
    def holding(self) -> np.ndarray:
        """The last targets, or where it stood before the first; of steps and velocities 0.

        Raises:
            RobotStoppedError: nothing was sensed yet.
        """
        if self._holding is None:
            raise RobotStoppedError("hold() before reset(): where the robot stands is not known")
        return self._holding

    def send(self, action: np.ndarray) -> None:
        """Send an action [A]: all of it, or nothing.

        Raises:
            RobotStoppedError: a part of it cannot be sent.
        """
        parts = list(zip(self._senders, np.split(action, self._cuts), strict=True))
        for sender, part in parts:
            sender.require_sendable(part)
        held = [sender.holding(part) for sender, part in parts]
        self._holding = np.concatenate(held).astype(np.float32)
        for sender, part in parts:
            sender.send(part)

    def hold(self) -> None:
        """Send what holds still once more; interpolated targets stay where they are."""
        if self._holding is None:
            return
        for sender, part in zip(self._senders, np.split(self._holding, self._cuts), strict=True):
            sender.hold(part)

    def rest(self) -> None:
        """Send nothing until the next action: others may move the robot."""
        for sender in self._senders:
            sender.rest()

    def close(self) -> None:
        """End what goes on by itself."""
        for sender in self._senders:
            sender.close()
