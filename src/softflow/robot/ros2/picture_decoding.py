"""The pictures of a topic, decoded beside the control loop and beside ROS; the newest one wins.

Decoding a JPEG takes milliseconds, on a busy machine many: in the loop's thread a command would be
late, in the node's thread every other topic.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from softflow.errors import DataError, brief
from softflow.robot.ros2.message_decoding import picture
from softflow.robot.ros2.signal_settings import Camera
from softflow.robot.ros2.topic_buffers import Received, TopicBuffers

CLOSE_S = 2.0


class PictureDecoding:
    """A thread that puts a topic's pictures into the buffers: message -> {key: picture}.

    While one is decoded, of those that come in the meantime only the last is kept.

    Args:
        topic: the topic; cameras: what is made of its pictures.
        buffers: where they go, or what is wrong with them.
    """

    def __init__(self, topic: str, cameras: Sequence[Camera], buffers: TopicBuffers) -> None:
        self._topic, self._cameras, self._buffers = topic, cameras, buffers
        self._waiting: Received | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=topic, daemon=True)
        self._thread.start()

    def take(self, received: Received) -> None:
        """Have a message decoded; returns at once."""
        with self._changed:
            self._waiting = received
            self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while (received := self._next()) is not None:
            try:
                pictures = {one.key: picture(received.message, one) for one in self._cameras}
            except Exception as error:  # no picture ends the thread: old ones stop the robot
                told = str(error) if isinstance(error, DataError) else brief(error)
                self._buffers.tell(self._topic, told)
            else:
                self._buffers.add(self._topic, replace(received, message=pictures))

    def _next(self) -> Received | None:
        """The newest message, when there is one; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._closing)
            received, self._waiting = self._waiting, None
            return None if self._closing else received
