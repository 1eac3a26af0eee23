"""Cameras: which frames are taken, every pixel of them, reduced, and never many in memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softflow.formats.rosbag.reading import RosbagSource
from softflow.formats.rosbag.yaml import parse_mapping

CAMERA = "observation.images.wrist"


def source(path: Path, **cameras: Any) -> RosbagSource:
    signals = {
        "observation.state": [{"topic": "/joint_states", "field": "position"}],
        "action": [{"topic": "/joint_states", "field": "position"}],
    }
    return RosbagSource(path, parse_mapping({"control_hz": 10, **signals, **cameras}))


def ramp(ros: Any) -> list[Any]:
    """A joint at 10 Hz for 1 s."""
    return [("/joint_states", i / 10, ros.joints(["j1"], [i], i / 10)) for i in range(11)]


def frame(number: int, height: int = 6, width: int = 8) -> np.ndarray:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = number, 100, 200
    pixels[0, 0] = (1, 2, 3)
    return pixels


@pytest.mark.parametrize("kind", ["rgb8", "bgr8", "rgba8", "bgra8", "png", "padded"])
def test_images_keep_every_pixel(tmp_path: Path, ros: Any, storage: str, kind: str) -> None:
    def message(number: int, stamp: float) -> Any:
        pixels = frame(number)
        opaque = np.full((6, 8, 1), 255, np.uint8)
        if kind == "png":
            return ros.compressed(pixels, "png", stamp)
        if kind == "padded":
            return ros.image(pixels, "rgb8", stamp, padding=5)
        if kind.startswith("bgr"):
            pixels = pixels[..., ::-1]
        if kind.endswith("a8"):
            pixels = np.concatenate([pixels, opaque], axis=2)
        return ros.image(pixels, kind, stamp)

    # 30 Hz, received 50 ms late: without their stamps every frame would be one or two too early.
    frames = [("/camera", i / 30 + 0.05, message(i, i / 30)) for i in range(31)]
    bag = ros.write(tmp_path / "run", [*ramp(ros), *frames], storage=storage)
    images = {CAMERA: {"topic": "/camera"}}
    found = source(bag, **images).read("run").observations[CAMERA]
    np.testing.assert_array_equal(found, np.stack([frame(3 * k) for k in range(11)]))


def test_a_slow_camera_gives_its_nearest_frame(tmp_path: Path, ros: Any) -> None:
    frames = [("/camera", i / 4, ros.image(frame(i), stamp=i / 4)) for i in range(5)]
    bag = ros.write(tmp_path / "run", [*ramp(ros), *frames])
    found = source(bag, **{CAMERA: {"topic": "/camera"}}).read("run").observations[CAMERA]
    assert found[:, 1, 1, 0].tolist() == [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4]


def test_images_are_cut_and_reduced(tmp_path: Path, ros: Any) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 10:50] = 200
    frames = [("/camera", i / 10, ros.image(pixels, stamp=i / 10)) for i in range(11)]
    bag = ros.write(tmp_path / "run", [*ramp(ros), *frames])
    camera = {"topic": "/camera", "crop": [0, 10, 40, 40], "size": [20, 20]}
    imported = source(bag, **{CAMERA: camera})
    assert imported.spec.observation_shapes[CAMERA] == (20, 20, 3)
    assert (imported.read("run").observations[CAMERA] == 200).all()

    camera = {"topic": "/camera", "size": [10, 15]}
    found = source(bag, **{CAMERA: camera}).read("run").observations[CAMERA][0]
    assert found.shape == (10, 15, 3)
    assert found[5, 7, 0] == 200
    assert found[5, 0, 0] == 0


def test_grey_and_jpeg(tmp_path: Path, ros: Any) -> None:
    grey = np.full((6, 8), 90, np.uint8)
    frames = [("/grey", i / 10, ros.image(grey, "mono8", i / 10)) for i in range(11)]
    smooth = np.full((16, 16, 3), (200, 50, 10), np.uint8)
    frames += [("/jpeg", i / 10, ros.compressed(smooth, "jpeg", i / 10)) for i in range(11)]
    bag = ros.write(tmp_path / "run", [*ramp(ros), *frames])
    cameras = {"observation.images.grey": {"topic": "/grey"}, CAMERA: {"topic": "/jpeg"}}
    found = source(bag, **cameras).read("run").observations
    assert (found["observation.images.grey"] == 90).all()
    assert np.abs(found[CAMERA].astype(int) - smooth).max() <= 4


def test_only_the_frames_that_count_are_decoded(tmp_path: Path, ros: Any) -> None:
    """Frames between control steps are never looked at: broken ones do no harm."""
    frames = []
    for i in range(31):
        message = ros.compressed(frame(i), "png", i / 30)
        if i % 3:
            message.data = message.data[:20]
        frames.append(("/camera", i / 30, message))
    bag = ros.write(tmp_path / "run", [*ramp(ros), *frames])
    found = source(bag, **{CAMERA: {"topic": "/camera"}}).read("run").observations[CAMERA]
    assert found[:, 1, 1, 0].tolist() == list(range(0, 31, 3))


def test_large_images_never_pile_up(tmp_path: Path, ros: Any, storage: str) -> None:
    """56 MB of images, of which no more than a few are in memory at once."""
    pixels = np.zeros((480, 640, 3), np.uint8)
    frames = (("/camera", i / 60, ros.image(pixels, stamp=i / 60)) for i in range(61))
    bag = ros.write(tmp_path / "run", [*ramp(ros), *frames], storage=storage)
    tracemalloc.start()
    try:
        episode = source(bag, **{CAMERA: {"topic": "/camera", "size": [8, 8]}}).read("run")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert episode.observations[CAMERA].shape == (11, 8, 8, 3)
    assert peak < 15 * 2**20
