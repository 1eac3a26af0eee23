"""How cameras' frames are stored: exactly, or as JPEGs, smaller and not quite the same."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from softflow.errors import ConfigError

JPEG_QUALITY = 95
"""The usual one: less than one grey level of a camera's own noise is lost on the mean."""
QUALITIES = (1, 100)
EXACT_LEVEL = 1
"""Of Zstandard, for all that is stored without loss."""


Count = Annotated[int, msgspec.Meta(ge=1, le=10**15)]
Difference = Annotated[float, msgspec.Meta(ge=0, le=255**2)]


class FrameStorage(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the frames of a store, or of an episode, are kept.

    Args:
        codec: "exact" for Zstandard, without any loss; "jpeg" with one.
        quality: of JPEGs, 1 to 100; 0 where nothing is lost.

    Raises:
        ValueError: JPEGs without a quality, or exact frames with one.
    """

    codec: Literal["exact", "jpeg"] = "exact"
    quality: Annotated[int, msgspec.Meta(ge=0, le=QUALITIES[1])] = 0

    def __post_init__(self) -> None:
        if self.is_lossy != (self.quality > 0):
            raise ValueError(f"{self.codec} frames have no quality {self.quality}")

    def __str__(self) -> str:
        return "exact" if self.codec == "exact" else f"JPEG of quality {self.quality}"

    @property
    def is_lossy(self) -> bool:
        """Whether what is read is not quite what was recorded."""
        return self.codec != "exact"


EXACT = FrameStorage()


class FrameLoss(msgspec.Struct, frozen=True):
    """What storing the frames of one camera of an episode with a loss has cost, and saved.

    Args:
        frames: that were compared, spread over the episode.
        mean_difference: mean absolute difference, grey levels of 0 to 255.
        mean_squared_difference: in squares of them.
        exact_bytes: of those frames without loss; bytes: of the same as they are stored.
    """

    frames: Count
    mean_difference: Difference
    mean_squared_difference: Difference
    exact_bytes: Count
    bytes: Count


def frame_storage(
    codec: Literal["exact", "jpeg"] | None, quality: int | None = None
) -> FrameStorage | None:
    """The storage that somebody asks for; of JPEGs in the usual quality if none is given.

    Args:
        codec: None asks for nothing, and gives None.
        quality: 1 to 100, of JPEGs.

    Raises:
        ConfigError: a quality that there is not, or one for frames that are exact.
    """
    if codec != "jpeg":
        if quality is not None:
            raise ConfigError(f"--jpeg-quality {quality} needs --frames jpeg")
        return EXACT if codec == "exact" else None
    quality = JPEG_QUALITY if quality is None else quality
    low, high = QUALITIES
    if not low <= quality <= high:
        raise ConfigError(f"--jpeg-quality is {quality}; give {low} to {high}")
    return FrameStorage(codec, quality)
