"""Observations out of messages: joints by name, signs of quaternions, pictures within bounds."""

from __future__ import annotations

import io
import struct
import zlib
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from softflow.errors import DataError
from softflow.robot.ros2.message_decoding import SignalDecoder, concerns, picture
from softflow.robot.ros2.signal_settings import Camera, Joints, Pose

KEY = "observation.state"
CAMERA = "observation.images.front"


def joints(names: list[str], position: list[float]) -> Any:
    return SimpleNamespace(name=names, position=position, velocity=[], effort=[])


def pose(*values: float, frame: str = "base") -> Any:
    place = SimpleNamespace(**dict(zip("xyz", values[:3], strict=True)))
    turn = SimpleNamespace(**dict(zip("xyzw", values[3:], strict=True)))
    header = SimpleNamespace(frame_id=frame)
    return SimpleNamespace(header=header, pose=SimpleNamespace(position=place, orientation=turn))


def raw(encoding: str, pixels: np.ndarray) -> Any:
    height, width = pixels.shape[:2]
    step = pixels[0].size
    data = array("B", pixels.tobytes())  # as rclpy has it
    return SimpleNamespace(encoding=encoding, height=height, width=width, step=step, data=data)


def compressed(kind: str) -> Any:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (250, 0, 0)).save(file, kind)
    return SimpleNamespace(format=kind, data=file.getvalue())


def announced(width: int, height: int) -> Any:
    """A PNG that says it has this size; its pixels never follow."""
    small = compressed("png")
    head = b"IHDR" + struct.pack(">II", width, height) + small.data[24:29]
    small.data = small.data[:12] + head + struct.pack(">I", zlib.crc32(head)) + small.data[33:]
    return small


def test_joints_by_their_names_never_by_their_place() -> None:
    decode = SignalDecoder(Joints(KEY, "/j", ["b", "a"]))
    assert decode(joints(["a", "x", "b"], [1.0, 9.0, 2.0])).tolist() == [2, 1]
    assert decode(joints(["b", "a"], [5.0, 6.0])).tolist() == [5, 6]
    with pytest.raises(DataError, match="no joint 'b'"):
        decode(joints(["a"], [1.0]))
    with pytest.raises(DataError, match="0 values of 'velocity' for 2 joints"):
        SignalDecoder(Joints(KEY, "/j", ["a"], "velocity"))(joints(["a", "b"], [1.0, 2.0]))
    assert concerns(joints(["a"], [1.0]), frozenset({"a", "b"}))
    assert not concerns(joints(["wheel"], [1.0]), frozenset({"a", "b"}))


def test_a_quaternion_keeps_its_sign_within_an_episode() -> None:
    decode = SignalDecoder(Pose(KEY, "/p", "orientation"))
    assert decode(pose(1, 2, 3, 0, 0, 0, -1)).tolist() == [0, 0, 0, 1]
    nearly = np.array([0.0, 0.0, np.sin(0.1), np.cos(0.1)])
    assert decode(pose(1, 2, 3, *-nearly)) == pytest.approx(nearly)
    beyond = np.array([0.0, 0.0, np.sin(1.6), np.cos(1.6)])  # w is below zero here
    assert decode(pose(1, 2, 3, *-beyond)) == pytest.approx(beyond)
    decode.begin_episode()
    assert decode(pose(1, 2, 3, *beyond)) == pytest.approx(-beyond)
    with pytest.raises(DataError, match="norm 0, not 1"):
        decode(pose(1, 2, 3, 0, 0, 0, 0))
    with pytest.raises(DataError, match="in the frame 'base', not 'world'"):
        SignalDecoder(Pose(KEY, "/p", frame_id="world"))(pose(1, 2, 3, 0, 0, 0, 1))


def test_raw_pictures_and_grey_only_if_said() -> None:
    camera = Camera(CAMERA, "/c", (4, 6))
    red = np.full((4, 6, 3), (250, 0, 0), np.uint8)
    assert (picture(raw("rgb8", red), camera) == red).all()
    assert (picture(raw("bgr8", red[:, :, ::-1]), camera) == red).all()
    grey = raw("mono8", np.full((4, 6, 1), 7, np.uint8))
    with pytest.raises(DataError, match="grey = true"):
        picture(grey, camera)
    assert (picture(grey, Camera(CAMERA, "/c", (4, 6), grey=True)) == 7).all()
    with pytest.raises(DataError, match="16UC1"):
        picture(raw("16UC1", np.zeros((4, 6, 2), np.uint8)), camera)


def test_compressed_pictures_within_bounds() -> None:
    camera = Camera(CAMERA, "/c", (3, 4), compressed=True)
    for kind in ("jpeg", "png"):
        found = picture(compressed(kind), camera)
        assert (found.shape, found.dtype) == ((3, 4, 3), np.uint8)
        assert found[..., 0].min() > 230
    with pytest.raises(DataError, match="no JPEG or PNG"):
        picture(compressed("webp"), camera)
    cut = compressed("png")
    cut.data = cut.data[:40]
    with pytest.raises(DataError, match="cut off"):
        picture(cut, camera)
    with pytest.raises(DataError, match="max_bytes is 9"):
        picture(compressed("png"), Camera(CAMERA, "/c", (3, 4), compressed=True, max_bytes=9))
    with pytest.raises(DataError, match="pixels"):
        picture(announced(20_000, 20_000), camera)
