"""Pictures of a video file or a folder, one after the other, with their times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from softflow.errors import ConfigError, DataError, brief
from softflow.perception.packages import load_cv2
from softflow.perception.scene.backgrounds import SUFFIXES

MAX_PIXELS = 8192 * 8192


def frames_of(
    path: Path, fps: float | None = None
) -> tuple[float, Iterator[tuple[float, np.ndarray]]]:
    """Frames a second, and times (s, from 0) with pictures uint8 [H, W, 3], RGB.

    Args:
        path: a video file, or a folder whose pictures are taken in the order of their names.
        fps: frames a second: of a folder needed, of a video by default its own.

    Raises:
        ConfigError: there is no such path, the folder holds no picture, or `fps` is missing.
        DataError: it is no video that can be read, or a picture is damaged; names it.
    """
    if fps is not None and not 0 < fps <= 1000:
        raise ConfigError(f"--fps is {fps}; give above 0, at most 1000 frames a second")
    if path.is_dir():
        return _folder(path, fps)
    if not path.is_file():
        raise ConfigError(f"there is no video or folder '{path}'; correct the path")
    return _video(path, fps)


def _folder(path: Path, fps: float | None) -> tuple[float, Iterator[tuple[float, np.ndarray]]]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ConfigError(f"the folder '{path}' holds no picture ({', '.join(SUFFIXES)})")
    if fps is None:
        raise ConfigError(
            f"'{path}' is a folder of {len(files)} pictures; say how many a second they are: --fps"
        )
    return fps, ((i / fps, _picture(file)) for i, file in enumerate(files))


def _picture(file: Path) -> np.ndarray:
    cv2 = load_cv2()
    found = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if found is None:
        raise DataError(f"'{file}' cannot be read as a picture; it is damaged: remove it")
    return np.ascontiguousarray(found[..., ::-1])


def _video(path: Path, fps: float | None) -> tuple[float, Iterator[tuple[float, np.ndarray]]]:
    try:
        with av.open(path) as container:
            if not container.streams.video:
                raise DataError(f"'{path}' holds no video; give a film of the cube")
            rate = container.streams.video[0].average_rate
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"'{path}' cannot be read as a video: {brief(error)}") from error
    own = float(rate) if rate else None
    if fps is None and not own:
        raise DataError(f"'{path}' does not say how many frames a second it has; give --fps")
    return fps or own or 0.0, _video_frames(path, fps or own or 1.0)


def _video_frames(path: Path, fps: float) -> Iterator[tuple[float, np.ndarray]]:
    try:
        with av.open(path) as container:
            for i, frame in enumerate(container.decode(video=0)):
                if frame.width * frame.height > MAX_PIXELS:
                    raise DataError(f"'{path}' has frames of {frame.width} x {frame.height}")
                yield i / fps, frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, OSError) as error:
        raise DataError(
            f"'{path}' is damaged: {brief(error)}; what came before was used"
        ) from error
