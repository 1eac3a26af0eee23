"""Frames out of a stretch of video, and into one: by time, exact to the frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream

from softflow.errors import DataError
from softflow.formats.frames import DEPTH, resized
from softflow.formats.lerobot.layout import Clip
from softflow.formats.lerobot.opening import damage_named

CONTAINERS = {
    ".mp4": "mp4",
    ".mov": "mp4",
    ".m4v": "mp4",
    ".mkv": "matroska",
    ".webm": "matroska",
    ".avi": "avi",
}
"""How a video's name ends -> its kind. FFmpeg would guess, and some kinds open other files."""
DECODERS = ("h264", "hevc", "av1", "libdav1d", "libaom-av1", "vp9", "libvpx-vp9", "vp8", "libvpx")
DECODERS += ("mpeg4", "mjpeg", "ffv1")
OPTIONS = {"protocol_whitelist": "file", "codec_whitelist": ",".join(DECODERS)}
CODED_MARGIN = 256
"""Pixels that decoders add to a side: whole blocks, and room for motion beyond the edge."""
REORDERED_FRAMES = 16
"""Some files index key frames by decoding time, which B-frames put up to so many frames early."""


def read_clip(
    clip: Clip, fps: float, frames: np.ndarray, promised: tuple[int, ...] | None = None
) -> None:
    """Decode a stretch of video into `frames`, uint8 [T, height, width, 3].

    Row t is the frame of second start_s + t / fps. Frames are of the size (height, width) that is
    `promised`, and brought to that of `frames` one by one; None: these are the same.

    Raises:
        DataError: the video is missing or damaged, has too few or (a whole file) too many frames,
            one of another size, or none within half a frame of that second.
    """
    _require_length(clip, fps, len(frames))
    promised = frames.shape[1:3] if promised is None else promised[:2]
    count = 0
    with damage_named(clip.path), opened(clip.path) as container:
        for time_s, frame in _timed(container, clip, fps, promised):
            if count == len(frames):
                if clip.start_s is None:
                    count += 1
                break
            where = f"{clip.path}, frame {count}"
            _require_fit(frame, time_s - count / fps, fps, promised, where)
            frames[count] = resized(frame.to_ndarray(format="rgb24"), frames.shape[1:3])
            count += 1
    if count != len(frames):
        found = f"more than {count - 1}" if count > len(frames) else str(count)
        where = f" from second {clip.start_s:.4f} on" if clip.start_s else ""
        raise DataError(
            f"{clip.path}: {found} frames{where}, but the episode has {len(frames)} rows; the "
            "video was cut or belongs to another episode, download it again or leave this camera "
            "out"
        )


def _require_length(clip: Clip, fps: float, steps: int) -> None:
    if clip.start_s is None or clip.end_s is None:
        return
    count = (clip.end_s - clip.start_s) * fps
    # Some writers note when the last frame begins, and not when it ends.
    if not -1.5 < count - steps < 1:
        raise DataError(
            f"{clip.path}: meta/episodes says the episode lasts from {clip.start_s:.4f} to "
            f"{clip.end_s:.4f} s of it, {count:.2f} frames at {fps:g} Hz, but it has {steps} rows; "
            "record it again, or leave this camera out"
        )


def opened(path: Path) -> Any:
    """A video file as what its name says that it is, and nothing it names.

    Raises:
        FileNotFoundError, ValueError: there is no such file.
        DataError: its name is not that of a video.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_file():
        raise ValueError("it is no file")
    if path.suffix.lower() not in CONTAINERS:
        raise DataError(f"{path}: a video's name ends in {', '.join(CONTAINERS)}; convert it")
    kind = CONTAINERS[path.suffix.lower()]
    return av.open(f"file:{path}", format=kind, options=OPTIONS)


def _decoder(container: Any, clip: Clip, size: tuple[int, ...]) -> VideoStream:
    """The video in a file, ready to be decoded to frames of this size and not much larger ones."""
    if not container.streams.video:
        raise DataError(f"{clip.path} holds no video; it was cut, download it again")
    stream: VideoStream = container.streams.video[0]
    decoder: Any = stream.codec_context
    if decoder.codec.name not in DECODERS:
        raise DataError(
            f"{clip.path} is encoded as {decoder.codec.name}; softflow decodes "
            f"{', '.join(DECODERS)}: convert it"
        )
    stream.thread_type = "AUTO"
    if (decoder.height, decoder.width) != size:
        raise _of_another_size(str(clip.path), (decoder.height, decoder.width), size)
    # A stream may change its size on the way.
    decoder.options = {"max_pixels": str(4 * prod(side + CODED_MARGIN for side in size))}
    return stream


def _timed(
    container: Any, clip: Clip, fps: float, size: tuple[int, ...]
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames of a clip from its start, with the seconds since then."""
    stream = _decoder(container, clip, size)
    start_s = clip.start_s
    if start_s and stream.time_base is not None:
        earlier_s = max(start_s - REORDERED_FRAMES / fps, 0.0)
        container.seek(int(earlier_s / stream.time_base), stream=stream)
    for frame in container.decode(stream):
        if frame.time is None:
            raise DataError(f"{clip.path}: a frame without a time; convert the video to MP4 anew")
        # A file of one episode starts with it, whatever time its first frame has.
        start_s = frame.time if start_s is None else start_s
        if frame.time >= start_s - 0.5 / fps:
            yield frame.time - start_s, frame


def _require_fit(
    frame: av.VideoFrame, late_s: float, fps: float, shape: tuple[int, ...], where: str
) -> None:
    if abs(late_s) > 0.5 / fps:
        raise DataError(
            f"{where}: the next frame comes {late_s * fps:+.2f} frames off its time at {fps:g} Hz; "
            "frames are missing, record the episode again or leave this camera out"
        )
    if (frame.height, frame.width) != shape:
        raise _of_another_size(where, (frame.height, frame.width), shape)
    if any(part.bits > 8 for part in frame.format.components) and len(frame.format.components) == 1:
        raise DataError(
            f"{where}: pixels of kind {frame.format.name}: {DEPTH} (--cameras names others)"
        )


def _of_another_size(where: str, found: tuple[int, ...], promised: tuple[int, ...]) -> DataError:
    return DataError(
        f"{where}: the frame is {found[0]} × {found[1]}, meta/info.json promises "
        f"{promised[0]} × {promised[1]}; correct meta/info.json or leave this camera out"
    )


class VideoWriter:
    """Frames of many episodes as one H.264 file of constant rate.

    H.264 is lossy: a frame comes back within a few grey levels, not the same. Every other frame is
    a key frame, as LeRobot has it, for quick reading at random.

    Args:
        path: the file; its folder exists.
        fps: frames per second.
        height, width: of a frame. Colour has half the resolution when both are even (yuv420p,
            which everything plays), else the full one (yuv444p).
    """

    def __init__(self, path: Path, fps: float, height: int, width: int) -> None:
        self.path, self.frames, self._fps = path, 0, fps
        rate = Fraction(fps).limit_denominator(10_000)
        # LeRobot asks for frames by time, to a tenth of a millisecond.
        self._container = av.open(str(path), "w", options={"video_track_timescale": "90000"})
        options = {"g": "2", "crf": "18", "bf": "0", "preset": "veryfast"}
        stream = self._container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuv444p" if height % 2 or width % 2 else "yuv420p"
        self._stream: Any = stream
        self.info: dict[str, Any] = {
            "video.height": height,
            "video.width": width,
            "video.codec": "h264",
            "video.pix_fmt": stream.pix_fmt,
            "video.is_depth_map": False,
            "video.fps": round(fps),
            "video.channels": 3,
            "has_audio": False,
        }

    @property
    def time_s(self) -> float:
        """When the next frame is shown."""
        return self.frames / self._fps

    @property
    def size(self) -> int:
        """Bytes written so far, but for what the encoder still holds."""
        return self.path.stat().st_size

    def append(self, frames: np.ndarray) -> None:
        """Add an episode, uint8 [T, height, width, 3]; it starts with a key frame."""
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pict_type = PictureType.I if number == 0 else PictureType.NONE
            self._container.mux(self._stream.encode(frame))
        self.frames += len(frames)

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        self._container.mux(self._stream.encode())
        self._container.close()
