"""The pieces of HTML that the report is made of. Arguments are plain text unless said otherwise."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from softflow.pages.run_charts import Figure
from softflow.utils.console import plain
from softflow.utils.files import write_bytes
from softflow.utils.job_time import duration as duration
from softflow.utils.png import png_bytes

_ITEMS_SHOWN = 8
_DIGITS = 6
"""Of a number in a table of settings: a float32 of 0.3 is 0.3, not 0.30000001192092896."""


def write_html(path: Path, title: str, body: str) -> None:
    """Write a self-contained page; `body` is HTML, and no control character gets into it.

    Raises:
        StoreError: the page cannot be written.
    """
    template = resources.files("softflow.pages").joinpath("page.html").read_text(encoding="utf-8")
    page = Template(template).substitute(title=escape(title), body=body)
    write_bytes(path, plain(page).encode())


def picture_html(frame: np.ndarray, alt: str, title: str = "") -> str:
    """A frame uint8 [H, W, 3] within the page."""
    return png_html(png_bytes(frame), alt, title)


def png_html(payload: bytes, alt: str, title: str = "") -> str:
    """A PNG file within the page."""
    data = base64.b64encode(payload).decode()
    shown = f' title="{escape(title)}"' if title else ""
    return f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}"{shown}>'


def figure_html(figure: Figure, *, note_below: bool = False) -> str:
    """A chart under its heading; the note stands between them, or below the chart."""
    title = f"<h3>{escape(figure.title)}</h3>"
    if note_below:
        note = f'<figcaption class="below">{escape(figure.note)}</figcaption>'
        return f"<figure>{title}{figure.svg}{note}</figure>"
    note = f"<figcaption>{escape(figure.note)}</figcaption>" if figure.note else ""
    return f"<figure>{title}{note}{figure.svg}</figure>"


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls sideways on a narrow screen; the cells are HTML."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def details_html(title: str, count: str, content: str) -> str:
    """`content` (HTML) that opens on a click on its title."""
    return (
        f"<details><summary>{escape(title)} <span>{escape(count)}</span></summary>"
        f"{content}</details>"
    )


def tree_html(title: str, tree: dict[str, Any]) -> str:
    """Nested dictionaries as names and values under their first key; nothing if there are none."""
    groups: dict[str, list[tuple[str, str]]] = {"": []}
    for key, value in tree.items():
        if isinstance(value, dict):
            groups[key] = list(_leaves(value))
        else:
            groups[""].append((key, _text(key, value)))
    count = sum(map(len, groups.values()))
    if not count:
        return ""
    sections = "".join(_group(group, leaves) for group, leaves in groups.items() if leaves)
    return details_html(title, f"{count} values", f'<div class="values">{sections}</div>')


def _group(name: str, leaves: Sequence[tuple[str, str]]) -> str:
    heading = f"<h3>{escape(name)}</h3>" if name else ""
    rows = "".join(
        f"<div><dt>{_breakable(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in leaves
    )
    return f"<section>{heading}<dl>{rows}</dl></section>"


def _breakable(key: str) -> str:
    """A name as HTML that a line may end in, behind its dots and underscores."""
    return escape(key).replace(".", ".<wbr>").replace("_", "_<wbr>")


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(f"{prefix}{key}", value)


def _text(name: str, value: Any) -> str:
    """A value for people: 84 × 84 × 3 of a shape, the first few of a long list."""
    if isinstance(value, list) and value:
        between = " × " if "shape" in name or name.endswith(("size", "resize")) else ", "
        more = f", … ({len(value):,} values)" if len(value) > _ITEMS_SHOWN else ""
        return between.join(_text("", item) for item in value[:_ITEMS_SHOWN]) + more
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    return "–" if value in (None, "", []) else str(value)


def number(value: float | None) -> str:
    """Four digits, or a dash for what is unknown."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}".replace("-", "−")
