"""Frames as JPEGs: one a frame, so that a single frame is read and decoded by itself.

Colours are kept at full resolution (4:4:4): small pictures of coloured things suffer most from
less. Each JPEG is one piece of the array, which Zarr calls the codec `imagecodecs_jpeg`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd

from softflow.data.files.frame_storage import EXACT_LEVEL, FrameLoss, FrameStorage
from softflow.errors import StoreError, brief

CODEC = "imagecodecs_jpeg"
FRAMES_COMPARED = 4


@dataclass(frozen=True, eq=False)
class JpegFrames:
    """Frames of one camera, encoded.

    Args:
        shape: `[frames, height, width, 3]`.
        storage: with which quality.
        pieces: a JPEG for each frame.
    """

    shape: tuple[int, ...]
    storage: FrameStorage
    pieces: list[bytes]


def require_codec(storage: FrameStorage) -> None:
    """Raise unless frames can be stored in this way here.

    Raises:
        StoreError: Pillow is not installed.
    """
    if storage.is_lossy:
        _pillow()


def encoded_frames(frames: np.ndarray, storage: FrameStorage) -> JpegFrames:
    """Encode uint8 frames `[T, H, W, 3]`.

    Raises:
        StoreError: Pillow is not installed.
    """
    pillow = _pillow()
    return JpegFrames(frames.shape, storage, [_jpeg(pillow, f, storage.quality) for f in frames])


def _jpeg(pillow: ModuleType, frame: np.ndarray, quality: int) -> bytes:
    content = io.BytesIO()
    picture = pillow.fromarray(np.ascontiguousarray(frame))
    picture.save(content, "JPEG", quality=quality, subsampling=0)
    return content.getvalue()


def decoded_frame(payload: bytes | memoryview, shape: Sequence[int]) -> np.ndarray:
    """A JPEG as uint8 `[height, width, 3]`; read-only.

    Raises:
        ValueError: it is none, or has another size or other colours than declared.
        StoreError: Pillow is not installed.
    """
    pillow = _pillow()
    try:
        # Nothing is decoded before the sizes in the header are held against those declared.
        with pillow.open(io.BytesIO(payload), formats=("JPEG",)) as picture:
            found = (picture.height, picture.width)
            if picture.mode == "RGB" and found == tuple(shape[:2]):
                values = np.asarray(picture)
                values.setflags(write=False)
                return values
            flaw = f"is {picture.mode} of {found}, RGB of {tuple(shape[:2])} was expected"
    except (OSError, SyntaxError, pillow.DecompressionBombError) as error:
        flaw = f"is no whole JPEG ({brief(error)})"
    # Out here: behind an OSError of Pillow's, a disk would be suspected that refuses.
    raise ValueError(f"a frame {flaw}")


def compared(frames: np.ndarray) -> np.ndarray:
    """Some frames, spread over all of them."""
    return frames[_chosen(len(frames))]


def _chosen(count: int) -> list[int]:
    few = min(FRAMES_COMPARED, count)
    return np.linspace(0, count - 1, few).round().astype(int).tolist()


def loss_of(frames: np.ndarray, stored: JpegFrames) -> FrameLoss:
    """What is lost in some frames, and what they weigh without loss."""
    chosen = _chosen(len(frames))
    shape = frames.shape[1:]
    lost = [decoded_frame(stored.pieces[i], shape).astype(np.float64) - frames[i] for i in chosen]
    exact = Zstd(level=EXACT_LEVEL)
    return FrameLoss(
        frames=len(chosen),
        mean_difference=float(np.mean([np.abs(one).mean() for one in lost])),
        mean_squared_difference=float(np.mean([np.square(one).mean() for one in lost])),
        exact_bytes=sum(len(exact.encode(np.ascontiguousarray(frames[i]))) for i in chosen),
        bytes=sum(len(stored.pieces[i]) for i in chosen),
    )


def psnr_db(mean_squared_difference: float) -> float:
    """Peak signal-to-noise ratio, dB; infinite where nothing is lost."""
    if mean_squared_difference <= 0:
        return math.inf
    return 10 * math.log10(255**2 / mean_squared_difference)


def codec_document(storage: FrameStorage) -> dict[str, Any]:
    """What Zarr is told: an array of these is decoded by `imagecodecs`."""
    settings = {"level": storage.quality, "subsampling": "444"}
    return {"name": CODEC, "configuration": settings}


def _pillow() -> ModuleType:
    """Pillow, which the robot's computer needs for such stores alone.

    Raises:
        StoreError: it is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise StoreError(
            "frames that are stored as JPEGs need Pillow; install it: pip install pillow"
        ) from error
    return Image
