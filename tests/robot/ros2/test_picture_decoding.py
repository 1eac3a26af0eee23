"""Pictures decoded beside the loop: nobody waits for them, and the newest one wins."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from softflow.robot.ros2 import picture_decoding
from softflow.robot.ros2.picture_decoding import PictureDecoding
from softflow.robot.ros2.settings import Matching
from softflow.robot.ros2.signal_settings import Camera
from softflow.robot.ros2.topic_buffers import NANOSECONDS, Received, TopicBuffers

TOPIC, WIDE, CUT = "/c", "observation.images.wide", "observation.images.cut"
CAMERAS = [
    Camera(WIDE, TOPIC, (6, 8), compressed=True),
    Camera(CUT, TOPIC, (3, 4), crop=(0, 0, 3, 4), compressed=True),
]


@pytest.fixture
def buffers() -> TopicBuffers:
    return TopicBuffers([TOPIC], Matching(tolerance_s=0.0))


@pytest.fixture
def decoding(buffers: TopicBuffers) -> Iterator[PictureDecoding]:
    decoding = PictureDecoding(TOPIC, CAMERAS, buffers)
    yield decoding
    decoding.close()
    assert not decoding._thread.is_alive()


def received(number: int, data: bytes | None = None) -> Received:
    """A picture of this brightness, taken now."""
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (number, number, number)).save(file, "png")
    message = SimpleNamespace(format="png", data=data or file.getvalue())
    stamp_ns = number * NANOSECONDS
    return Received(message, stamp_ns, stamp_ns, time.monotonic())


def newest(buffers: TopicBuffers, number: int) -> dict[str, np.ndarray]:
    """The pictures of this number, once they are there."""
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        found = buffers.newest()
        if found is not None and found[TOPIC].stamp_ns == number * NANOSECONDS:
            return found[TOPIC].message
        time.sleep(0.005)
    raise AssertionError(f"picture {number} never came")


def test_a_topic_gives_every_camera_its_picture(
    decoding: PictureDecoding, buffers: TopicBuffers
) -> None:
    decoding.take(received(7))
    pictures = newest(buffers, 7)
    assert {key: one.shape for key, one in pictures.items()} == {WIDE: (6, 8, 3), CUT: (3, 4, 3)}
    assert {int(one[0, 0, 0]) for one in pictures.values()} == {7}


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[int]]:
    """Decoding waits for the event; what was begun, in its order."""
    going, begun = threading.Event(), list[int]()
    decode = picture_decoding.picture

    def slowly(message: Any, camera: Camera) -> np.ndarray:
        pixels = decode(message, camera)
        begun.append(int(pixels[0, 0, 0]))
        assert going.wait(20)
        return pixels

    monkeypatch.setattr(picture_decoding, "picture", slowly)
    return going, begun


def test_while_one_is_decoded_the_newest_waits_and_nobody_else(
    held_up: tuple[threading.Event, list[int]], decoding: PictureDecoding, buffers: TopicBuffers
) -> None:
    going, begun = held_up
    decoding.take(received(1))
    while not begun:
        time.sleep(0.005)
    for number in range(2, 9):
        decoding.take(received(number))
    assert buffers.newest() is None  # and whoever looks does not wait
    going.set()
    newest(buffers, 8)
    assert begun == [1, 1, 8, 8]


def test_what_was_on_its_way_when_an_episode_began_is_not_seen_in_it(
    held_up: tuple[threading.Event, list[int]], decoding: PictureDecoding, buffers: TopicBuffers
) -> None:
    going, begun = held_up
    decoding.take(received(1))
    while not begun:
        time.sleep(0.005)
    buffers.clear()
    going.set()
    decoding.take(received(2))
    newest(buffers, 2)
    assert begun == [1, 1, 2, 2]
    assert buffers.missing() == []


def test_a_picture_that_is_none_is_told_once_and_the_next_one_is_decoded(
    decoding: PictureDecoding, buffers: TopicBuffers, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        decoding.take(received(number, b"GIF89a, of no use"))
        while TOPIC not in buffers.problems:
            time.sleep(0.005)
    decoding.take(received(3))
    newest(buffers, 3)
    assert capsys.readouterr().err.count("no JPEG or PNG") == 1
