"""A robot behind ROS 2 topics: `softflow robot POLICY --ros2 SETTINGS`."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from softflow.errors import RobotStoppedError
from softflow.robot.protocol import Outcome, Sensed
from softflow.robot.ros2.commanding import Commanding, JointSender, PoseSender, Sender
from softflow.robot.ros2.node import RobotNode
from softflow.robot.ros2.observing import Observing
from softflow.robot.ros2.settings import Ros2Settings
from softflow.robot.ros2.signal_settings import JointCommand
from softflow.robot.ros2.topic_buffers import NANOSECONDS, TopicBuffers
from softflow.utils.console import say

STOP_MARK_STEPS = 0.25
"""Control steps behind the last observation at which an episode is told to stop."""


class Ros2Robot:
    """The six methods of `softflow.robot.protocol.Robot`.

    Nothing is commanded before a reset has seen every topic, and after a stop not before the next.

    Args:
        settings: of the robot.
        ask: asks the person beside it.

    Raises:
        MissingPackageError: there is no ROS 2.
    """

    def __init__(self, settings: Ros2Settings, ask: Callable[[str], str] = input) -> None:
        self.spec, self.max_episode_steps = settings.spec(), settings.max_episode_steps
        self._settings, self._ask = settings, ask
        buffers = TopicBuffers(settings.topics, settings.matching)
        self._node = RobotNode(settings, buffers)
        self._observing = Observing(settings, buffers, lambda: self._node.fault)
        self._succeeded = False
        if settings.success_topic:
            bool_kind = self._node.ros.standard.Bool
            self._node.listen(bool_kind, settings.success_topic, self._told_of_success)
        self._commanding = Commanding([self._sender(command) for command in settings.command])
        stopped, episode = settings.services.stop_topic, settings.episode_topic
        bool_kind, mark_kind = self._node.ros.standard.Bool, self._node.ros.sensors.JointState
        publisher = self._node.publisher
        self._stop_topic = publisher(bool_kind, stopped, must_be_heard=True) if stopped else None
        self._episode_topic = publisher(mark_kind, episode) if episode else None
        self._looked_ns = self._ended_ns = 0
        self._is_ready = self._was_told = self._rests = False

    def reset(self, seed: int) -> None:
        """Have robot and scene brought to the start, and wait until every topic has been seen.

        Raises:
            RobotStoppedError: a topic is silent or nobody listens to one, or the robot's service
                says no.
        """
        services, self._rests = self._settings.services, False
        self._commanding.rest()
        self._require_no_fault()
        if services.reset_question:
            self._ask(services.reset_question)
        self._node.wait_until_heard()
        self._tell_stopped(False)
        if services.reset:
            self._node.trigger(services.reset)
        self._observing.begin_episode()
        self._commanding.begin_episode(self._observing.messages)
        self._require_no_fault()
        self._succeeded, self._is_ready = False, True

    def observe(self) -> Sensed:
        """The newest messages that belong together.

        Raises:
            RobotStoppedError: it was never reset, or somebody called the node's service to stop.
        """
        self._looked_ns = time.time_ns()
        return self._observing.observe()

    def act(self, action: np.ndarray) -> Outcome | None:
        """Send a command to every topic.

        Returns:
            Whether the task is done, where a topic tells it.

        Raises:
            RobotStoppedError: it was stopped, or not reset yet.
        """
        if not self._is_ready:
            raise RobotStoppedError("act() after stop() or before reset(): nothing is commanded")
        if not self._was_told:
            self._was_told = True
            self._mark_episode(1.0, max(self._looked_ns, self._ended_ns + 1))
        self._commanding.send(action)
        if not self._settings.success_topic:
            return None
        done = self._succeeded
        return Outcome(float(done), terminated=done, success=done)

    def hold(self) -> np.ndarray:
        """The last action; before the first, where the robot stands."""
        return self._commanding.holding

    def stop(self) -> None:
        """Send the hold, then tell the robot's topic and service to stop, if there are any."""
        self._is_ready = False
        try:
            if self._was_told:
                self._was_told = False
                later_ns = round(STOP_MARK_STEPS / self.spec.control_hz * NANOSECONDS)
                self._ended_ns = time.time_ns() + later_ns
                self._mark_episode(0.0, self._ended_ns)
                self._commanding.hold()
        finally:
            self._tell_to_rest()

    def close(self) -> None:
        """Leave ROS."""
        self._commanding.close()
        self._node.close()

    def _told_of_success(self, message: Any) -> None:
        self._succeeded = self._succeeded or bool(message.data)

    def _require_no_fault(self) -> None:
        """Raise RobotStoppedError if anything went wrong, or somebody asked for a stop."""
        if self._node.fault:
            raise RobotStoppedError(self._node.fault)

    def _sender(self, command: Any) -> Sender:
        if isinstance(command, JointCommand):
            hz, timeouts = self._settings.control_hz, self._settings.timeouts
            return JointSender(self._node, command, hz, timeouts)
        return PoseSender(self._node, command)

    def _tell_to_rest(self) -> None:
        """Tell the robot to stop by its own means, once.

        Where its service fails, that is a fault: why the run was stopped is told all the same, and
        no reset follows.
        """
        if self._rests:
            return
        self._rests = True
        self._tell_stopped(True)
        if self._settings.services.stop:
            try:
                self._node.trigger(self._settings.services.stop)
            except RobotStoppedError as error:
                self._node.fault = f"the robot could not be told to stop: {error}"
                say(f"stop it by hand: {self._node.fault}", to_errors=True)

    def _tell_stopped(self, stopped: bool) -> None:
        if self._stop_topic is not None:
            self._stop_topic.publish(self._node.ros.standard.Bool(data=stopped))

    def _mark_episode(self, value: float, stamp_ns: int) -> None:
        """Tell recordings when an episode starts or stops; never a reason to fail."""
        if self._episode_topic is None:
            return
        message = self._node.ros.sensors.JointState(name=["episode"], position=[value])
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, NANOSECONDS)
        with suppress(Exception):
            self._episode_topic.publish(message)
