"""What looking at three JPEG cameras behind ROS 2 costs the control loop; no ROS is needed."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
from PIL import Image

from softflow.robot.ros2.message_decoding import picture
from softflow.robot.ros2.observing import Observing
from softflow.robot.ros2.picture_decoding import PictureDecoding
from softflow.robot.ros2.settings import Matching, Quality, QualityOfService, Ros2Settings, Timeouts
from softflow.robot.ros2.signal_settings import Camera, JointCommand, Joints
from softflow.robot.ros2.topic_buffers import Received, TopicBuffers

JOINTS = ("a", "b", "c")
CAMERAS = [
    Camera(f"observation.images.camera_{n}", f"/camera_{n}", (224, 224), compressed=True)
    for n in range(3)
]
CAMERA_HZ = 30.0
SETTINGS = Ros2Settings(
    control_hz=20.0,
    max_episode_steps=1000,
    observation=[Joints("observation.state", "/joints", JOINTS), *CAMERAS],
    command=[JointCommand("/targets", JOINTS, "/joints", [-1.0] * 3, [1.0] * 3)],
    matching=Matching(tolerance_s=0.1),
    qos=QualityOfService(Quality("best_effort"), Quality("reliable")),
    timeouts=Timeouts(10.0, 10.0, 10.0),
)


def jpeg() -> SimpleNamespace:
    """A message with a picture of 640 × 480 that looks like a scene, not like noise."""
    coarse = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    scene = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    scene.save(file, "jpeg", quality=90)
    return SimpleNamespace(format="jpeg", data=file.getvalue())


@contextmanager
def variants() -> Iterator[dict[str, Callable[[], object]]]:
    """Looking while cameras deliver at their rate, and decoding what one look needs."""
    message, buffers = jpeg(), TopicBuffers(SETTINGS.topics, SETTINGS.matching)
    decodings = [PictureDecoding(camera.topic, [camera], buffers) for camera in CAMERAS]
    ended = threading.Event()

    def deliver() -> None:
        while not ended.wait(1 / CAMERA_HZ):
            now_ns, now_s = time.time_ns(), time.monotonic()
            joints = SimpleNamespace(name=JOINTS, position=[0.1, 0.2, 0.3])
            buffers.add("/joints", Received(joints, now_ns, now_ns, now_s))
            for decoding in decodings:
                decoding.take(Received(message, now_ns, now_ns, now_s))

    thread = threading.Thread(target=deliver, daemon=True)
    thread.start()
    observing = Observing(SETTINGS, buffers, lambda: "")
    observing.begin_episode()
    try:
        yield {
            "looking at three JPEG cameras": observing.observe,
            "decoding their pictures, beside it": lambda: [picture(message, c) for c in CAMERAS],
        }
    finally:
        ended.set()
        thread.join()
        for decoding in decodings:
            decoding.close()
