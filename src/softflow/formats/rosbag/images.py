"""Images in ROS messages, as uint8 RGB `[height, width, 3]` of the size that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from softflow.errors import DataError
from softflow.formats.frames import decoded_picture, resized

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_TYPE)
_RGB, _BGR, _GREY = slice(0, 3), slice(2, None, -1), slice(0, 1)
CHANNELS: dict[str, tuple[int, slice]] = {
    "rgb8": (3, _RGB),
    "bgr8": (3, _BGR),
    "8UC3": (3, _BGR),  # OpenCV's name for what it keeps as blue, green, red
    "rgba8": (4, _RGB),
    "bgra8": (4, _BGR),
    "8UC4": (4, _BGR),
    "mono8": (1, _GREY),
    "8UC1": (1, _GREY),
}
"""Encoding → bytes a pixel, and which of them are red, green and blue."""


def frame(
    message: Any,
    size: tuple[int, int] | None = None,
    crop: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """The picture in an `Image` or `CompressedImage` message.

    Args:
        message: the decoded message.
        size: (height, width) to reduce it to, with smoothing; as it is when None.
        crop: (top, left, height, width) cut out before that.

    Returns:
        uint8 `[height, width, 3]`; grey becomes three equal channels, transparency is dropped.

    Raises:
        DataError: an encoding without colours, or damaged; the caller says where.
    """
    pixels = _raw(message) if hasattr(message, "encoding") else _decompressed(message)
    if crop is not None:
        top, left, height, width = crop
        if top + height > pixels.shape[0] or left + width > pixels.shape[1]:
            raise DataError(
                f"crop {list(crop)} (top, left, height, width) reaches beyond the image of "
                f"{pixels.shape[0]} x {pixels.shape[1]}; correct the mapping"
            )
        pixels = pixels[top : top + height, left : left + width]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    pixels = np.ascontiguousarray(pixels)
    return pixels if size is None else resized(pixels, size)


def _raw(message: Any) -> np.ndarray:
    """The pixels, red, green, blue or grey, as a view of the message."""
    if message.encoding not in CHANNELS:
        raise DataError(
            f"image encoding '{message.encoding:.40}' is none of {', '.join(CHANNELS)}; record a "
            "colour image (image_proc and depth_image_proc convert)"
        )
    channels, order = CHANNELS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    # Rows may be padded: `step` is the length of one in bytes.
    if height * width == 0 or step < width * channels or len(message.data) < step * height:
        raise DataError(
            f"an image of {height} x {width} in {message.encoding}, {step} bytes a row, has "
            f"{len(message.data)} bytes; the driver wrote it wrongly, or it was cut off"
        )
    rows = np.asarray(message.data, np.uint8)[: step * height].reshape(height, step)
    return rows[:, : width * channels].reshape(height, width, channels)[:, :, order]


def _decompressed(message: Any) -> np.ndarray:
    if "compressedDepth" in message.format:
        raise DataError(f"image format '{message.format}' is depth, not colour; map another topic")
    return decoded_picture(
        bytes(message.data), f"a compressed image of format '{message.format:.40}'"
    )
