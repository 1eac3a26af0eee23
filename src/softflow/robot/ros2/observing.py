"""The newest observation of a robot out of the messages of its topics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from softflow.data.data_spec import is_image_key
from softflow.errors import DataError, RobotStoppedError
from softflow.robot.protocol import Sensed
from softflow.robot.ros2.message_decoding import SignalDecoder
from softflow.robot.ros2.settings import Ros2Settings
from softflow.robot.ros2.topic_buffers import Received, TopicBuffers

LOOK_EVERY_S = 0.005


class Observing:
    """Decodes numbers when they are needed, one set of messages a control step.

    Pictures come decoded. A message that cannot be used is dropped and told of once; the ones
    before it serve on, and are too old sooner or later.

    Args:
        settings: of the robot.
        buffers: what has been received.
        fault: what is wrong with the node; empty: nothing.
    """

    def __init__(
        self, settings: Ros2Settings, buffers: TopicBuffers, fault: Callable[[], str]
    ) -> None:
        self._settings, self._buffers, self._fault = settings, buffers, fault
        self._decoders = [SignalDecoder(signal) for signal in settings.observation]
        self._sensed: Sensed | None = None
        self._stamps: dict[str, int] = {}
        self.messages: dict[str, Any] = {}

    def begin_episode(self) -> None:
        """Forget everything and wait until every topic has been seen.

        Raises:
            RobotStoppedError: says which was not, or that they do not fit together.
        """
        self._buffers.clear()
        self._sensed, self._stamps = None, {}
        for decoder in self._decoders:
            decoder.begin_episode()
        patience_s = self._settings.timeouts.first_messages_s
        deadline_s = time.monotonic() + patience_s
        while self._look() is None:
            if self._fault() or time.monotonic() > deadline_s:
                raise RobotStoppedError(self._fault() or self._why_nothing(patience_s))
            time.sleep(LOOK_EVERY_S)

    def observe(self) -> Sensed:
        """The newest observation, or the one before where nothing newer fits together.

        Raises:
            RobotStoppedError: nothing was ever seen, or the node has a fault.
        """
        if told := self._fault():
            raise RobotStoppedError(told)
        sensed = self._look()
        if sensed is None:
            raise RobotStoppedError("observe() before reset(): not every topic has been seen")
        return sensed

    def _look(self) -> Sensed | None:
        while (found := self._buffers.newest()) is not None:
            stamps = {topic: one.stamp_ns for topic, one in found.items()}
            # A message that was dropped takes no other topic back in time.
            before = self._stamps
            if stamps == before or any(stamps[topic] < before[topic] for topic in before):
                break
            values = self._decoded(found)
            if values is not None:
                taken_at_s = min(one.taken_at_s for one in found.values())
                self._sensed, self._stamps = Sensed(values, taken_at_s), stamps
                self.messages = {topic: one.message for topic, one in found.items()}
                break
        return self._sensed

    def _decoded(self, found: dict[str, Received]) -> dict[str, np.ndarray] | None:
        """What a set of messages holds; None where one cannot be used, which is dropped."""
        parts: dict[str, list[np.ndarray]] = {}
        for decoder in self._decoders:
            signal = decoder.signal
            try:
                parts.setdefault(signal.key, []).append(decoder(found[signal.topic].message))
            except DataError as error:
                self._buffers.tell(signal.topic, str(error))
                self._buffers.drop(signal.topic, found[signal.topic].stamp_ns)
                return None
        return {
            key: part[0] if is_image_key(key) else np.concatenate(part).astype(np.float32)
            for key, part in parts.items()
        }

    def _why_nothing(self, patience_s: float) -> str:
        problems = self._buffers.problems
        said = "; ".join(f"{topic}: {told}" for topic, told in problems.items())
        missing = [topic for topic in self._buffers.missing() if topic not in problems]
        if missing:
            said = "; ".join([*([said] if said else []), f"nothing came of {', '.join(missing)}"])
            said += " (is its driver running, its qos as in the settings, ROS_DOMAIN_ID the same?)"
        if not said:
            said = (
                f"stamps of the topics are {self._buffers.spread_s():.3f} s apart, with "
                f"tolerance_s {self._settings.matching.tolerance_s:g}; synchronise the clocks, or "
                'match by clock = "receive"'
            )
        return f"no observation within {patience_s:g} s: {said}. Nothing was commanded"
