"""How a command that fills a store is told to keep cameras' frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from softflow.data.files.frame_storage import FrameStorage, frame_storage


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """What every such command has."""

    frames: Literal["exact", "jpeg"] | None = None
    """How cameras' frames are kept: exact loses nothing, jpeg is several times smaller and not
    quite the same (docs/data_format.md). If not given, as the store has them; in a new one
    exact."""
    jpeg_quality: int | None = None
    """1 to 100, of --frames jpeg; 95 if not given."""

    def __post_init__(self) -> None:
        frame_storage(self.frames, self.jpeg_quality)

    @property
    def frame_storage(self) -> FrameStorage | None:
        """What was asked for; None if nothing was."""
        return frame_storage(self.frames, self.jpeg_quality)
