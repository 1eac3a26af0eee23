"""Small charts as inline SVG: no dependencies, sharp at any size, coloured by the page's CSS.

A mark names its colour by a CSS class (a stage, such as `online_rl`); the page defines what that
looks like in light and in dark mode. One unit of a chart is one CSS pixel at its natural size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

Unit = Callable[[float], str]
"""Writes a value of an axis as text."""


@dataclass(frozen=True)
class Scale:
    """A range of values, linear or logarithmic (base 10, both ends above 0)."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"no scale from {self.low} to {self.high} (log={self.log})")

    def fraction(self, value: float) -> float:
        """Where `value` lies: 0 at the low end, 1 at the high end."""
        if self.log:
            value, low, high = (math.log10(v) for v in (value, self.low, self.high))
            return (value - low) / (high - low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, target: int = 4) -> list[float]:
        """About `target` round numbers within the range."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            step = max(1, math.ceil((last - first + 1) / (target + 1)))
            return [10.0**power for power in range(first, last + 1, step)]
        raw = (self.high - self.low) / target
        magnitude = 10.0 ** math.floor(math.log10(raw))
        step = next(s * magnitude for s in (1, 2, 2.5, 5, 10) if s * magnitude >= raw * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def scale_of(values: Iterable[float], *, log: bool = False, margin: float = 0.06) -> Scale:
    """A scale that holds the bulk of `values` (2nd to 98th percentile, and the median) with air.

    The few values beyond (a loss in its first updates) leave the picture instead of flattening it.
    """
    array = np.asarray(list(values), dtype=float)
    array = array[np.isfinite(array) & ((array > 0) | (not log))]
    if array.size == 0:
        return Scale(0.1 if log else 0.0, 1.0, log)
    if log:
        low, high = np.log10(array.min()), np.log10(array.max())
        margin_size = max(margin * (high - low), 0.15)
        return Scale(10 ** float(low - margin_size), 10 ** float(high + margin_size), log=True)
    low, high = (float(v) for v in np.percentile(array, [2, 98]))
    low -= min(0.3 * (high - low), low - float(array.min()))
    high += min(0.3 * (high - low), float(array.max()) - high)
    air = margin * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(low - air, high + air)


_TIME_STEPS_S = (1, 2, 5, 10, 30, *(60 * n for n in (1, 2, 5, 10, 30, 60, 120, 360, 720)))


def time_ticks(last_s: float) -> tuple[list[float], Unit]:
    """Round times from 0 to `last_s`, and what writes them: in one unit, no two alike."""
    days = 86400.0 * max(1, math.ceil(last_s / 4 / 86400))
    step = next((float(s) for s in _TIME_STEPS_S if s >= last_s / 4.0), days)
    size, unit = next((s, u) for s, u in ((3600, "h"), (60, "min"), (1, "s")) if step >= s)
    ticks = [index * step for index in range(math.floor(last_s / step + 1e-9) + 1)]
    return ticks, lambda time_s: f"{time_s / size:g} {unit}"


@dataclass(frozen=True)
class Frame:
    """Size of a chart and the room left around its plot area, in CSS pixels."""

    width: float = 330
    height: float = 180
    left: float = 42
    right: float = 12
    top: float = 10
    bottom: float = 26


class Chart:
    """Collects marks in data coordinates and returns them as one SVG element."""

    def __init__(self, x: Scale, y: Scale, frame: Frame) -> None:
        self.x, self.y, self.frame = x, y, frame
        self._parts: list[str] = []

    def _px(self, value: float) -> float:
        inner = self.frame.width - self.frame.left - self.frame.right
        return self.frame.left + self.x.fraction(value) * inner

    def _py(self, value: float) -> float:
        inner = self.frame.height - self.frame.top - self.frame.bottom
        return self.frame.top + (1 - self.y.fraction(value)) * inner

    def axis_x(
        self, ticks: Sequence[float] | None = None, *, lines: bool = False, unit: Unit | None = None
    ) -> None:
        """Write values below the plot, and draw vertical grid lines if asked."""
        bottom = self.frame.height - self.frame.bottom
        for tick in self.x.ticks() if ticks is None else ticks:
            if lines:
                self._segment(tick, self.y.low, tick, self.y.high, "grid")
            self._text(self._px(tick), bottom + 17, (unit or compact)(tick), "tick", "middle")

    def axis_y(self, ticks: Sequence[float] | None = None, *, unit: Unit | None = None) -> None:
        """Draw horizontal grid lines and write their values left of the plot."""
        for tick in self.y.ticks() if ticks is None else ticks:
            self._segment(self.x.low, tick, self.x.high, tick, "grid")
            text = (unit or compact)(tick)
            self._text(self.frame.left - 7, self._py(tick) + 3.5, text, "tick", "end")

    def line(self, x: Sequence[float], y: Sequence[float], css: str) -> None:
        """A line through the points; parts outside the plot area are cut off."""
        points = " ".join(f"{self._px(a):.1f},{self._py(b):.1f}" for a, b in zip(x, y, strict=True))
        self._clipped(f'<polyline class="line {css_class(css)}" points="{points}"/>')

    def band(
        self, x: Sequence[float], low: Sequence[float], high: Sequence[float], css: str
    ) -> None:
        """The area between `low` and `high`, cut off at the plot area."""
        there = [(self._px(a), self._py(b)) for a, b in zip(x, high, strict=True)]
        back = [(self._px(a), self._py(b)) for a, b in zip(x, low, strict=True)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in there + back[::-1])
        self._clipped(f'<polygon class="band {css_class(css)}" points="{points}"/>')

    def box(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        css: str,
        *,
        opacity: float = 1.0,
        title: str = "",
    ) -> None:
        """A filled rectangle from (x[0], y[0]) to (x[1], y[1]): a bar, or a cell of a map."""
        tooltip = f"<title>{escape(title)}</title>" if title else ""
        faded = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
        left, right = self._px(x[0]), self._px(x[1])
        bottom, top = self._py(y[0]), self._py(y[1])
        self._parts.append(
            f'<rect class="dot {css_class(css)}" x="{left:.1f}" y="{top:.1f}" '
            f'width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}"{faded}>{tooltip}</rect>'
        )

    def dot(self, x: float, y: float, css: str, *, radius: float = 3.5, title: str = "") -> None:
        """A filled circle, with a text shown when pointed at."""
        tooltip = f"<title>{escape(title)}</title>" if title else ""
        self._parts.append(
            f'<circle class="dot {css_class(css)}" cx="{self._px(x):.1f}" cy="{self._py(y):.1f}" '
            f'r="{radius}">{tooltip}</circle>'
        )

    def interval(self, x: tuple[float, float], y: tuple[float, float], css: str) -> None:
        """A thick line from (x[0], y[0]) to (x[1], y[1]): the interval around a dot."""
        self._segment(x[0], y[0], x[1], y[1], f"interval {css}")

    def reference(self, x: tuple[float, float], y: tuple[float, float], css: str = "") -> None:
        """A dashed line from (x[0], y[0]) to (x[1], y[1]) to compare with."""
        self._segment(x[0], y[0], x[1], y[1], f"reference {css}")

    def label(
        self,
        x: float,
        y: float,
        text: str,
        css: str = "",
        *,
        anchor: str = "start",
        shift: tuple[float, float] = (0, 0),
    ) -> None:
        """Text at a point, moved by `shift` pixels."""
        left, top = self._px(x) + shift[0], self._py(y) + 4 + shift[1]
        self._text(left, top, text, f"label {css}", anchor)

    def svg(self, description: str) -> str:
        """The chart as an SVG element that a screen reader can announce."""
        return (
            f'<svg viewBox="0 0 {self.frame.width:g} {self.frame.height:g}" role="img" '
            f'style="max-width: {1.25 * self.frame.width:g}px" '
            f'aria-label="{escape(description)}">{"".join(self._parts)}</svg>'
        )

    def _clipped(self, mark: str) -> None:
        # An inner <svg> cuts off at its own edges, without the page-wide name a clipPath needs.
        left, top = self.frame.left - 2, self.frame.top - 2
        width = self.frame.width - self.frame.right + 2 - left
        height = self.frame.height - self.frame.bottom + 2 - top
        self._parts.append(
            f'<svg x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" '
            f'viewBox="{left:g} {top:g} {width:g} {height:g}">{mark}</svg>'
        )

    def _segment(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self._parts.append(
            f'<line class="{css_class(css)}" x1="{self._px(x1):.1f}" y1="{self._py(y1):.1f}" '
            f'x2="{self._px(x2):.1f}" y2="{self._py(y2):.1f}"/>'
        )

    def _text(self, left: float, top: float, text: str, css: str, anchor: str) -> None:
        self._parts.append(
            f'<text class="{css_class(css)}" x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )


@dataclass(frozen=True)
class Binned:
    """A long series summed up in a few points: mean, smallest and largest value of each bin."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def binned(x: np.ndarray, y: np.ndarray, bins: int = 60) -> Binned:
    """Sum up the finite points of (x, y) in at most `bins` bins of equally many places on x."""
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    places, place = np.unique(x, return_inverse=True)
    size = max(1, math.ceil(len(places) / bins))
    parts = [place // size == part for part in range(math.ceil(len(places) / size))]
    return Binned(
        np.array([x[part].mean() for part in parts]),
        np.array([y[part].mean() for part in parts]),
        np.array([y[part].min() for part in parts]),
        np.array([y[part].max() for part in parts]),
    )


def scale_of_bands(lines: Iterable[Binned]) -> Scale:
    """A scale that holds the bulk of these lines and of their bands."""
    ends = [value for line in lines for value in (line.mean, line.low, line.high)]
    return scale_of(np.concatenate(ends))


def css_class(name: str) -> str:
    """A name, such as a stage that a file tells, as CSS classes that end no attribute."""
    return "".join(c for c in name[:100] if c.isascii() and (c.isalnum() or c in "_- "))


def compact(value: float) -> str:
    """A number as short as an axis wants it: 1200 → 1.2k, 0.00005 → 5e-05."""
    if value == 0:
        return "0"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.4g}{unit}".replace("-", "−")
    if abs(value) < 1e-3:
        return f"{value:.1e}".replace(".0e", "e").replace("-", "−")
    return f"{value:.4g}".replace("-", "−")
