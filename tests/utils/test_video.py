from pathlib import Path

import av
import numpy as np
import pytest

from softflow.errors import DataError
from softflow.utils.video import write_video


def moving_block(height: int, width: int, num_frames: int) -> np.ndarray:
    frames = np.full((num_frames, height, width, 3), 225, np.uint8)
    for index, frame in enumerate(frames):
        frame[8:24, 2 * index : 2 * index + 16] = (200, 70, 40)
    return frames


@pytest.mark.parametrize(("height", "width", "fps"), [(48, 64, 20.0), (49, 63, 12.5)])
def test_video_round_trip(tmp_path: Path, height: int, width: int, fps: float) -> None:
    frames = moving_block(height, width, num_frames=15)
    path = tmp_path / "videos" / "imitation.mp4"
    write_video(path, frames, fps)
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate or 0) == pytest.approx(fps)
        decoded = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
    even = frames[:, : height // 2 * 2, : width // 2 * 2]
    assert decoded.shape == even.shape
    assert np.abs(decoded.astype(int) - even.astype(int)).mean() < 8
    assert [file.name for file in path.parent.iterdir()] == ["imitation.mp4"]


@pytest.mark.parametrize(
    ("frames", "fps"),
    [
        (np.zeros((3, 8, 8, 3), np.float32), 10.0),
        (np.zeros((3, 8, 8, 4), np.uint8), 10.0),
        (np.zeros((8, 8, 3), np.uint8), 10.0),
        (np.zeros((0, 8, 8, 3), np.uint8), 10.0),
        (np.zeros((3, 1, 8, 3), np.uint8), 10.0),
        (np.zeros((3, 8, 8, 3), np.uint8), 0.0),
    ],
)
def test_video_refuses_what_it_cannot_write(tmp_path: Path, frames: np.ndarray, fps: float) -> None:
    with pytest.raises(DataError, match=r"video .*x\.mp4"):
        write_video(tmp_path / "x.mp4", frames, fps)
    assert list(tmp_path.iterdir()) == []
