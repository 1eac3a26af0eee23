"""What networks see of a store's cameras, as a section of its page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from softflow.pages.svg import png_bytes


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
        '<p class="note" style="margin: -8px 0 22px">The middle of episode 0, at the size that the '
        "image backbone takes; training frames as augmentation may change them.</p>"
    )
    title = f"What the networks of {escape(preset)} see"
    return f'<h2>{title}</h2>{note}<div class="cameras">{parts}</div>'


def _figure(view: NetworkView) -> str:
    name = escape(view.camera.rpartition(".")[2])
    images = "".join(
        f'<img src="data:image/png;base64,{base64.b64encode(png_bytes(frame)).decode()}" '
        f'alt="{name}, {escape(caption)}" '
        f'title="{escape(caption)}, {frame.shape[1]}x{frame.shape[0]}">'
        for caption, frame in view.frames.items()
    )
    captions = ", ".join(
        f"{escape(caption)} ({frame.shape[1]}×{frame.shape[0]})"
        for caption, frame in view.frames.items()
    )
    return f"<figure><figcaption><b>{name}</b> {captions}</figcaption>{images}</figure>"
