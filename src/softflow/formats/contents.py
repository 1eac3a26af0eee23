"""What a foreign dataset holds, part by part: what an import takes, and what it leaves out and why.

An importer tells it with a method `contents() -> list[Part]`; one without that method imports all
the same, and tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from softflow.data.data_spec import IMAGE_PREFIX
from softflow.errors import DataError

WITH_A_LOSS = re.compile(r"video|JPEG( XL| 2000)?|WebP|CompressedImage")
"""What a part's `dtype` says of pictures that were compressed, most often with a loss."""
LINES_SHOWN = 60
"""Of what is taken, and of what is not."""


@dataclass(frozen=True)
class Part:
    """An array, column, topic or label of a dataset.

    Args:
        name: what the dataset calls it.
        shape: of one step; None where that means nothing.
        dtype: what it is made of, in the dataset's own word.
        becomes: key of the store, or what else it is used for; empty: it is left out.
        why: for what is left out, the reason and how to take it.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: str
    becomes: str = ""
    why: str = ""

    def __str__(self) -> str:
        shape = "" if self.shape is None else f" [{', '.join(map(str, self.shape))}]"
        return f"{self.name}{shape} {self.dtype}".rstrip()


@runtime_checkable
class TellsContents(Protocol):
    """A source that says what it takes."""

    def contents(self) -> list[Part]:
        """Every part of the dataset, each once."""
        ...


@dataclass
class Notes:
    """What is odd about a dataset and no reason to refuse it: told at import and by `--check`.

    Args:
        lines: what was noticed and not told yet, each with its place.
    """

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Notice something, once; "" is nothing."""
        if line and line not in self.lines:
            self.lines.append(line)

    def drained(self) -> list[str]:
        """What was not told yet; from now on it was."""
        told, self.lines = self.lines, []
        return told


def told_contents(source: object) -> list[str]:
    """Lines that say of every part what becomes of it; none of an importer that does not tell."""
    if not isinstance(source, TellsContents):
        return []
    try:
        parts = source.contents()
    except DataError as error:
        # Whoever reads the damaged episode is told; the others may be whole.
        return [f"what it holds cannot be listed: {error}"]
    taken = [part for part in parts if part.becomes]
    left = [part for part in parts if not part.becomes]
    lines = ["taken:", *_columns([(str(part), f"-> {part.becomes}") for part in taken])]
    if left:
        lines += ["not taken:", *_columns([(str(part), part.why) for part in left])]
    return lines


def lossy_cameras(source: object) -> dict[str, str]:
    """Camera -> how its pictures are compressed, of those that have lost something before."""
    if not isinstance(source, TellsContents):
        return {}
    try:
        parts = source.contents()
    except DataError:
        return {}
    cameras = [part for part in parts if part.becomes.startswith(IMAGE_PREFIX)]
    words = {part.becomes: WITH_A_LOSS.search(part.dtype) for part in cameras}
    return {camera: word.group() for camera, word in words.items() if word}


def _columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Two columns, the first as wide as it needs to be."""
    shown = rows[:LINES_SHOWN]
    width = max((len(first) for first, _ in shown), default=0)
    lines = [f"  {first:<{width}}  {second}".rstrip() for first, second in shown]
    return lines + ([f"  … and {len(rows) - len(shown)} more"] if len(rows) > len(shown) else [])


def spans(widths: Iterable[tuple[str, int]], key: str) -> dict[str, str]:
    """Name of each array that is laid beside others -> its place there: "observation.state[3:6]".

    Args:
        widths: the arrays in their order, with the number of their components.
        key: what they become together.
    """
    places: dict[str, str] = {}
    start = 0
    for name, width in widths:
        places[name] = f"{key}[{start}:{start + width}]"
        start += width
    return places
