"""Pictures of a video file or a folder, one after the other, with their times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from softflow.data.files.limits import MAX_FRAME_PIXELS
from softflow.errors import ConfigError, DataError, brief
from softflow.formats.frames import decoded_picture
from softflow.formats.lerobot.video import DECODERS, opened
from softflow.utils.files import require_regular

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
Frames = Iterator[tuple[float, np.ndarray]]
"""Times in seconds from 0, and pictures uint8 [H, W, 3], RGB."""


@dataclass(frozen=True)
class Film:
    """Pictures that follow each other.

    Attributes:
        fps: how many a second.
        count: how many there are, 0 if that is not known before the end.
        frames: the pictures with their times, to be gone through once.
    """

    fps: float
    count: int
    frames: Frames


def frames_of(path: Path, fps: float | None = None) -> Film:
    """The film in a file or folder.

    Args:
        path: a video file, or a folder whose pictures are taken in the order of their names.
        fps: frames a second: of a folder needed, of a video by default its own times.

    Raises:
        ConfigError: there is no such path, the folder holds no picture, or `fps` is missing.
        DataError: it is no video that can be read, or a picture is damaged; names it.
    """
    if fps is not None and not 0 < fps <= 1000:
        raise ConfigError(f"--fps is {fps}; give above 0, at most 1000 frames a second")
    if not path.is_dir():
        return _video(path, fps)
    files = picture_files(path)
    if fps is None:
        raise ConfigError(
            f"'{path}' is a folder of {len(files)} pictures; say how many a second they are: --fps"
        )
    return Film(fps, len(files), ((i / fps, read_picture(f)) for i, f in enumerate(files)))


def picture_files(folder: Path, deep: bool = False) -> list[Path]:
    """Pictures of a folder in the order of their names; `deep` looks into the folders in it.

    Raises:
        ConfigError: there is none.
    """
    entries = folder.rglob("*") if deep else folder.iterdir()
    files = sorted(file for file in entries if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ConfigError(f"the folder '{folder}' holds no picture ({', '.join(SUFFIXES)})")
    return files


def read_picture(file: Path) -> np.ndarray:
    """A PNG, JPEG or WebP file as uint8 [H, W, 3], RGB.

    Raises:
        DataError: it is damaged or of another kind.
        StoreError: it is no file.
    """
    require_regular(file)
    return decoded_picture(file.read_bytes(), f"'{file}'")


def _video(path: Path, fps: float | None) -> Film:
    if not path.is_file():
        raise ConfigError(f"there is no video or folder '{path}'; correct the path")
    with _opened(path) as container:
        rate, count = container.streams.video[0].average_rate, container.streams.video[0].frames
    if fps is None and not rate:
        raise DataError(f"'{path}' does not say how many frames a second it has; give --fps")
    return Film(fps or float(rate), count, _video_frames(path, fps))


def _opened(path: Path) -> Any:
    """The video of a file, of a kind that is decoded.

    Raises:
        DataError: it is none.
    """
    try:
        container = opened(path)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"'{path}' cannot be read as a video: {brief(error)}") from error
    stream = next(iter(container.streams.video), None)
    if stream is None or stream.codec_context.codec.name not in DECODERS:
        container.close()
        raise DataError(f"'{path}' holds no video in {', '.join(DECODERS)}; convert it to H.264")
    stream.codec_context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    return container


def _video_frames(path: Path, fps: float | None) -> Frames:
    start_s = None
    try:
        with _opened(path) as container:
            for i, frame in enumerate(container.decode(video=0)):
                start_s = frame.time if start_s is None else start_s
                own_s = None if frame.time is None else frame.time - (start_s or 0.0)
                if fps is None and own_s is None:
                    raise DataError(f"'{path}': frame {i} has no time; give --fps")
                yield i / fps if fps else float(own_s or 0.0), frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"'{path}' is damaged: {brief(error)}; cut it off before that") from error
