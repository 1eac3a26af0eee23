"""Numbers and tables in Markdown, and the marks of what is best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.peers.page.estimates import Estimate

NOTHING = "–"


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def share(value: float, digits: int = 3) -> str:
    """0.975 as .975."""
    text = f"{value:.{digits}f}"
    return text if value >= 1 or text.startswith("1") else text[1:]


def number(value: float | None, digits: int) -> str:
    """1234.5 as 1,234; what is not known or never came as –."""
    return NOTHING if value is None or math.isinf(value) else f"{value:,.{digits}f}"


def estimate(value: Estimate | None, seeds: int) -> str:
    """Rate and interval; with [n] where only n of so many seeds have come so far."""
    if value is None:
        return NOTHING
    low, high = (share(end, 2) for end in value.interval)
    return f"{share(value.rate)} ({low}–{high})" + f" [{value.seeds}]" * (value.seeds < seeds)


def compared(values: Sequence[Estimate | None], seeds: Sequence[int]) -> list[str]:
    """Cells of one column: the highest in bold, ≈ at every other whose interval overlaps its."""
    cells = [estimate(value, count) for value, count in zip(values, seeds, strict=True)]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return cells
    best = max(known, key=lambda value: value.rate)
    marked: list[str] = []
    for value, cell in zip(values, cells, strict=True):
        if value is not None and value.rate == best.rate:
            marked.append(f"**{cell}**")
        else:
            marked.append(cell + " ≈" * (value is not None and value.overlaps(best)))
    return marked


def lowest(values: Sequence[float | None], digits: int) -> list[str]:
    """Cells of one column: the lowest in bold."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    cells = [number(value, digits) for value in values]
    if len(known) < 2:
        return cells
    best = number(min(known), digits)
    return [f"**{cell}**" if cell == best else cell for cell in cells]
