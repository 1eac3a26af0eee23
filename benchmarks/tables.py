"""The printed table of a section."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.measuring import Section, Spread


def table(section: Section) -> Table:
    """One comparison: medians, with quartiles in brackets."""
    result = Table(title=section.title, title_justify="left", box=SIMPLE_HEAD, expand=True)
    for heading, width in zip(
        ("", "ms", section.ratio_heading, "aim"), (30, 20, 18, 5), strict=True
    ):
        justify = "right" if heading else "left"
        result.add_column(heading, justify=justify, min_width=width, no_wrap=True)
    result.add_column("", ratio=1)
    for row in section.rows:
        result.add_row(row.name, _cell(row.ms), _cell(row.ratio), row.aim, row.note)
    return result


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{_number(spread.median)} ({_number(spread.low)}–{_number(spread.high)})"


def _number(value: float) -> str:
    """Three digits that count, and never 4.51e+03."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
