"""Rollouts as H.264 videos that every browser plays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from softflow.errors import DataError
from softflow.utils.files import written_whole


def write_video(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """Write `frames` as an H.264 (yuv420p) mp4 file, whole or not at all.

    H.264 needs even sides: an odd height or width loses its last row or column.

    Args:
        path: the file to write, ending in `.mp4`; its folder is made if needed.
        frames: uint8 [T, H, W, 3], RGB.
        fps: frames per second, above 0.

    Raises:
        DataError: if `frames` or `fps` is not as above.
        StoreError: if the file cannot be written.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise DataError(
            f"video {path}: frames are {frames.dtype} {frames.shape}, need uint8 [T, H, W, 3]"
        )
    if min(frames.shape[:3]) < 1 or min(frames.shape[1:3]) < 2:
        raise DataError(f"video {path}: frames are {frames.shape}, need at least one of 2 × 2")
    if not fps > 0:
        raise DataError(f"video {path}: fps is {fps}, need a number above 0")
    with opened_video(path, fps) as write:
        for frame in frames:
            write(frame)


@contextmanager
def opened_video(path: str | Path, fps: float) -> Iterator[Callable[[np.ndarray], None]]:
    """Write an H.264 (yuv420p) mp4 file frame by frame; it is there, whole, once the block ends.

    Args:
        path: the file to write, ending in `.mp4`; its folder is made if needed.
        fps: frames per second, above 0.

    Yields:
        what takes the next frame, uint8 [H, W, 3], all of one size; an odd height or width loses
        its last row or column.

    Raises:
        StoreError: if the file cannot be written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # "faststart" puts the index first, so that a browser can start before it has read everything.
    options = {"movflags": "faststart"}
    with (
        written_whole(path) as temp,
        av.open(temp, "w", format="mp4", options=options) as container,
    ):
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "23"}
        )
        stream.pix_fmt = "yuv420p"

        def write(frame: np.ndarray) -> None:
            even = frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]
            if not stream.codec_context.is_open:
                stream.height, stream.width = even.shape[:2]
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
            container.mux(stream.encode(image))

        yield write
        container.mux(stream.encode())
