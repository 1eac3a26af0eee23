"""Frames as the page asks for them: some steps of all cameras, as JPEGs, in one answer.

    number of steps, number of cameras, then a length for every picture (uint32, little endian),
    then the pictures: the cameras of the first step, of the second, …

A block is made once and kept while there is room. Few are made at a time, a few frames at a time:
cameras of any size, and any number of people, need no more memory than that.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from threading import Lock
from typing import Protocol

import numpy as np

from softflow.data.files.frame_reading import OpenEpisodes
from softflow.labelling.pictures import jpeg
from softflow.labelling.server.episodes import Recording

MAX_STEPS = 32
"""In one answer."""
LARGEST_SIDE = 480
"""Pixels; larger pictures are made smaller, the page shows several side by side."""
CACHE_BYTES = 128 * 2**20
PIECE_BYTES = 32 * 2**20
"""Of frames that are in memory at once, for one block; one step of all cameras at least."""
AT_ONCE = 4
"""Blocks that are made at the same time."""
Frames = dict[str, np.ndarray]


class ReadFrames(Protocol):
    """Where frames come from."""

    def __call__(self, recording: Recording, start: int, stop: int) -> Frames:
        """Of all cameras, uint8 [n, H, W, 3], from a step to before another one.

        Raises:
            SoftflowError: there are none; says why.
        """
        ...

    def close(self) -> None:
        """Leave the files; what is asked for later opens them again."""
        ...


class RecordedFrames:
    """What the cameras of episodes recorded; raises StoreError as `read_frames`."""

    def __init__(self) -> None:
        self._files = OpenEpisodes()

    def __call__(self, recording: Recording, start: int, stop: int) -> Frames:
        """Frames of all cameras."""
        cameras = recording.spec.image_keys
        return self._files.frames(recording.path, recording.spec, cameras, start, stop)

    def close(self) -> None:
        """Close the episodes' files."""
        self._files.close()


class FrameBlocks:
    """Blocks of pictures, the ones asked for last kept.

    Args:
        read: where frames come from; by default from the episodes' files.
        most_bytes: of the blocks that are kept.
    """

    def __init__(self, read: ReadFrames | None = None, most_bytes: int = CACHE_BYTES) -> None:
        self._read, self._most_bytes = read or RecordedFrames(), most_bytes
        self._kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._bytes, self._lock = 0, Lock()
        self._making = [Lock() for _ in range(AT_ONCE)]

    def block(self, recording: Recording, start: int, count: int) -> bytes:
        """The pictures of `count` steps from `start` on; fewer at the end, none behind it.

        Raises:
            StoreError: the file cannot be read.
        """
        name = (recording.digest, start, count)
        if (kept := self._found(name)) is not None:
            return kept
        with self._making[hash(name) % AT_ONCE]:
            if (kept := self._found(name)) is not None:  # somebody else asked for it, too
                return kept
            block = _packed(self._pieces(recording, start, start + count))
            self._keep(name, block)
        return block

    def close(self) -> None:
        """Leave the episodes' files."""
        self._read.close()

    def _pieces(self, recording: Recording, start: int, stop: int) -> Iterator[Frames]:
        shapes = recording.spec.observation_shapes
        bytes_a_step = sum(int(np.prod(shapes[key])) for key in recording.spec.image_keys)
        steps = max(1, PIECE_BYTES // max(1, bytes_a_step))
        for first in range(start, stop, steps):
            yield self._read(recording, first, min(first + steps, stop))

    def _found(self, name: tuple[str, int, int]) -> bytes | None:
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
            return self._kept.get(name)

    def _keep(self, name: tuple[str, int, int], block: bytes) -> None:
        with self._lock:
            self._bytes += len(block) - len(self._kept.pop(name, b""))
            self._kept[name] = block
            while self._bytes > self._most_bytes and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])


def _packed(pieces: Iterable[Frames]) -> bytes:
    pictures: list[bytes] = []
    steps = num_cameras = 0
    for frames in pieces:
        cameras = list(frames.values())
        there = min((len(camera) for camera in cameras), default=0)
        pictures += [jpeg(camera[i], LARGEST_SIDE) for i in range(there) for camera in cameras]
        steps, num_cameras = steps + there, len(cameras)
    head = struct.pack(f"<{2 + len(pictures)}I", steps, num_cameras, *map(len, pictures))
    return b"".join([head, *pictures])
