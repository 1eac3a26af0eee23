"""What networks see of a store's cameras, as a section of its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from softflow.pages.html import picture_html


@dataclass(frozen=True)
class NetworkView:
    """One moment of one camera.

    Attributes:
        camera: its key.
        frames: caption -> uint8 [H, W, 3], in the order in which they are shown.
    """

    camera: str
    frames: Mapping[str, np.ndarray]


def section_of(views: Sequence[NetworkView], preset: str) -> str:
    """The section, or "" without views."""
    if not views:
        return ""
    parts = "".join(map(_figure, views))
    note = (
        '<p class="note lead">The middle of episode 0, at the size that the '
        "image backbone takes; training frames as augmentation may change them.</p>"
    )
    title = f"What the networks of {escape(preset)} see"
    return f'<h2>{title}</h2>{note}<div class="cameras">{parts}</div>'


def _figure(view: NetworkView) -> str:
    name = view.camera.rpartition(".")[2]
    images = "".join(
        picture_html(frame, f"{name}, {caption}", f"{caption}, {frame.shape[1]}x{frame.shape[0]}")
        for caption, frame in view.frames.items()
    )
    captions = ", ".join(
        f"{escape(caption)} ({frame.shape[1]}×{frame.shape[0]})"
        for caption, frame in view.frames.items()
    )
    return f"<figure><figcaption><b>{escape(name)}</b> {captions}</figcaption>{images}</figure>"
