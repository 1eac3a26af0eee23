"""Frames as the page asks for them: some steps of all cameras, as JPEGs, in one answer.

    number of steps, number of cameras, then a length for every picture (uint32, little endian),
    then the pictures: the cameras of the first step, of the second, …

A picture is made once and kept while there is room; the file is opened once a block.
"""

from __future__ import annotations

import io
import struct
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import numpy as np
from PIL import Image

from softflow.data.files.frame_reading import OpenEpisodes
from softflow.labelling.server.episodes import Recording

MAX_STEPS = 32
"""In one answer."""
LARGEST_SIDE = 480
"""Pixels; larger pictures are made smaller, the page shows several side by side."""
JPEG_QUALITY = 85
CACHE_BYTES = 128 * 2**20

ReadFrames = Callable[[Recording, int, int], dict[str, np.ndarray]]
"""Frames of all cameras, from a step to before another one."""


def recorded() -> ReadFrames:
    """What the cameras of episodes recorded; raises StoreError as `read_frames`."""
    files = OpenEpisodes()

    def read(recording: Recording, start: int, stop: int) -> dict[str, np.ndarray]:
        cameras = recording.spec.image_keys
        return files.frames(recording.path, recording.spec, cameras, start, stop)

    return read


class FrameBlocks:
    """Blocks of pictures, the ones asked for last kept.

    Args:
        read: where frames come from; by default from the episodes' files.
        most_bytes: of the blocks that are kept.
    """

    def __init__(self, read: ReadFrames | None = None, most_bytes: int = CACHE_BYTES) -> None:
        self._read, self._most_bytes = read or recorded(), most_bytes
        self._kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._bytes, self._lock = 0, Lock()

    def block(self, recording: Recording, start: int, count: int) -> bytes:
        """The pictures of `count` steps from `start` on; fewer at the end, none behind it.

        Raises:
            StoreError: the file cannot be read.
        """
        name = (recording.digest, start, count)
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        block = _packed(self._read(recording, start, start + count))
        with self._lock:
            self._keep(name, block)
        return block

    def _keep(self, name: tuple[str, int, int], block: bytes) -> None:
        self._bytes += len(block) - len(self._kept.pop(name, b""))
        self._kept[name] = block
        while self._bytes > self._most_bytes and len(self._kept) > 1:
            self._bytes -= len(self._kept.popitem(last=False)[1])


def _packed(frames: dict[str, np.ndarray]) -> bytes:
    cameras = list(frames.values())
    steps = min((len(camera) for camera in cameras), default=0)
    pictures = [_jpeg(camera[step]) for step in range(steps) for camera in cameras]
    head = struct.pack(f"<{2 + len(pictures)}I", steps, len(cameras), *map(len, pictures))
    return b"".join([head, *pictures])


def _jpeg(frame: np.ndarray) -> bytes:
    """A frame `[H, W, 3]` uint8, made smaller if it is large."""
    picture = Image.fromarray(frame)
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()
