"""What an import needs in memory does not grow with an episode's frames, nor with their size."""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from lerobot_datasets import CAMERA, change_info, shown, write_v21, write_video

from softflow.errors import DataError
from softflow.formats import frames
from softflow.formats.act.reading import ActSource
from softflow.formats.importing import import_into
from softflow.formats.lerobot.reading import LeRobotSource
from softflow.utils.progress import SilentProgress

STEPS, HEIGHT, WIDTH = 150, 120, 160
PIXELS = STEPS * HEIGHT * WIDTH * 3


def act_file(folder: Path) -> Path:
    folder.mkdir()
    with h5py.File(folder / "episode_0.hdf5", "w") as file:
        file["action"] = file["observations/qpos"] = np.zeros((STEPS, 2))
        ramp = np.arange(STEPS, dtype=np.uint8)[:, None, None, None]
        seen = np.broadcast_to(ramp, (STEPS, HEIGHT, WIDTH, 3))
        chunks = (1, HEIGHT, WIDTH, 3)
        file.create_dataset("observations/images/front", data=seen, chunks=chunks)
    return folder


def peak_of(work: Any) -> int:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "FRAMES_IN_MEMORY", 100_000)
    monkeypatch.setattr("softflow.formats.hdf5.frames.PIECE_BYTES", 100_000)


@pytest.mark.parametrize("size", [None, (12, 16)])
def test_hdf5(tmp_path: Path, little_memory: None, size: tuple[int, int] | None) -> None:
    source = ActSource(act_file(tmp_path / "task"), control_hz=50, image_size=size)
    peak = peak_of(lambda: import_into(source, tmp_path / "store", SilentProgress()))
    assert peak < PIXELS / 3
    episode = source.read("episode_0")
    seen = episode.observations["observation.images.front"]
    assert seen.shape == (STEPS + 1, *(size or (HEIGHT, WIDTH)), 3)
    np.testing.assert_array_equal(seen[:-1, 5, 5, 1], np.arange(STEPS))


def test_video_is_resized_frame_by_frame(tmp_path: Path) -> None:
    dataset = write_v21(tmp_path / "set", (STEPS,))
    write_video(
        dataset / f"videos/chunk-000/{CAMERA}/episode_000000.mp4",
        [np.kron(shown(k % 20), np.ones((4, 4, 1), np.uint8)) for k in range(STEPS)],
    )
    shape = [48 * 4, 64 * 4, 3]
    change_info(dataset, lambda info: info["features"][CAMERA].update(shape=shape))
    source = LeRobotSource(dataset, image_size=(12, 16))
    peak = peak_of(lambda: source.read("episode_000000"))
    assert peak < STEPS * np.prod(shape) / 10


def test_no_room_for_frames_is_said(
    monkeypatch: pytest.MonkeyPatch, little_memory: None, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="TMPDIR"):
        frames.room_for_frames((10, HEIGHT, WIDTH, 3))
