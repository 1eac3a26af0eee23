"""Signals of any rate, brought onto the control steps. numpy only; times are integer nanoseconds.

Method by method: `linear` for what changes continuously, `slerp` for orientations, `nearest` for
images and what jumps, `previous` for what holds until the next message, such as a command.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from softflow.errors import DataError

Interpolation = Literal["linear", "slerp", "nearest", "previous"]
NANOSECONDS = 1_000_000_000
QUATERNION_TOLERANCE = 1e-2
"""How far the norm of a quaternion may be from 1: single precision and sloppy drivers, no more."""
_PARALLEL = 1e-6
"""Below this angle (rad) the chord stands for the arc: its sine would only add noise."""


def control_times(start_ns: int, end_ns: int, control_hz: float) -> np.ndarray:
    """When observations are taken: int64 `[T+1]`, from `start_ns` on, none behind `end_ns`.

    Each is rounded on its own, so that the steps do not drift away from the rate.
    """
    if end_ns < start_ns:
        return np.zeros(0, np.int64)
    period = NANOSECONDS / control_hz
    steps = int((end_ns - start_ns) / period) + 2
    times = start_ns + np.round(np.arange(steps) * period).astype(np.int64)
    return times[times <= end_ns]


def ordered(times: np.ndarray) -> np.ndarray:
    """Positions that sort `times` [n]; of equal times only the last one received is kept."""
    order = np.argsort(times, kind="stable")
    last_of_equal = np.append(np.diff(times[order]) > 0, True)[: len(order)]
    return order[last_of_equal]


def previous(times: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Positions [m] of the last of `times` [n] at or before each of `at` [m].

    Raises:
        DataError: `times` does not rise, or an `at` lies before all of them.
    """
    _require_rising(times)
    _require_inside(times[0] <= at, times, at)
    return np.searchsorted(times, at, side="right") - 1


def nearest(times: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Positions [m] of whichever of `times` [n] is closest to each of `at` [m]; the earlier of two.

    Raises:
        DataError: `times` does not rise, or an `at` lies outside them.
    """
    before, after, _ = _neighbours(times, at)
    return np.where(times[after] - at < at - times[before], after, before)


def linear(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Values [m, ...] at `at` [m] on the straight lines between values [n, ...] at `times` [n].

    Raises:
        DataError: `times` does not rise, or an `at` lies outside them.
    """
    before, after, share = _neighbours(times, at)
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return values[before] * (1 - share) + values[after] * share


def slerp(times: np.ndarray, quaternions: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Orientations [m, 4] at `at` [m], turning evenly along the shorter arc between neighbours.

    The order of the components does not matter, and comes out as it went in. The result has unit
    norm; a quaternion and its negative count as the same orientation.

    Raises:
        DataError: `times` does not rise, an `at` lies outside them, or a norm is not 1.
    """
    before, after, share = _neighbours(times, at)
    chain = continuous(quaternions)
    start, end = chain[before], chain[after]
    chord = np.linalg.norm(end - start, axis=1, keepdims=True)
    angle = 2 * np.arctan2(chord, np.linalg.norm(end + start, axis=1, keepdims=True))
    share = share[:, None]
    even = np.where(angle < _PARALLEL, 1.0, np.sin(angle))
    turned = (start * np.sin((1 - share) * angle) + end * np.sin(share * angle)) / even
    result = np.where(angle < _PARALLEL, start * (1 - share) + end * share, turned)
    return result / np.linalg.norm(result, axis=1, keepdims=True)


def continuous(quaternions: np.ndarray) -> np.ndarray:
    """The orientations [n, 4] with unit norm and with signs that never flip between neighbours.

    Raises:
        DataError: a norm is not 1; says which.
    """
    norms = np.linalg.norm(quaternions, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.abs(norms[:, 0] - 1) <= QUATERNION_TOLERANCE))
    if len(bad):
        raise DataError(
            f"quaternion {int(bad[0])} is {quaternions[bad[0]].tolist()} with norm "
            f"{float(norms[bad[0], 0]):.4g}, not 1 ({len(bad)} such in all); it is no orientation"
        )
    unit = quaternions / norms
    flips = np.sum(unit[1:] * unit[:-1], axis=1) < 0
    signs = np.cumprod(np.where(np.concatenate([np.zeros(1, bool), flips])[: len(unit)], -1.0, 1.0))
    return unit * signs[:, None]


def with_positive_start(quaternions_xyzw: np.ndarray) -> np.ndarray:
    """All negated, or none, such that the first one's w (or else z, y, x) is positive.

    Recorders choose signs as they like: after this, equal motions have equal numbers.
    """
    first = quaternions_xyzw[0][::-1]
    leading = first[first != 0][:1]
    return -quaternions_xyzw if np.any(leading < 0) else quaternions_xyzw


def resample(
    method: Interpolation,
    times: np.ndarray,
    values: np.ndarray,
    at: np.ndarray,
    *,
    quaternion_xyzw: bool = False,
) -> np.ndarray:
    """Values [m, n] at `at` [m], of the signal that has `values` [k, n] at `times` [k].

    Args:
        method: how to get from one to the other.
        times: int64, rising.
        values: float64, or whatever `nearest` and `previous` are to pick from.
        at: int64.
        quaternion_xyzw: the values are orientations; their signs are made comparable.

    Raises:
        DataError: `at` lies outside `times`, these do not rise, or a quaternion's norm is not 1.
    """
    if quaternion_xyzw or method == "slerp":
        values = continuous(values)
    if method == "linear":
        result = linear(times, values, at)
    elif method == "slerp":
        result = slerp(times, values, at)
    else:
        result = values[(nearest if method == "nearest" else previous)(times, at)]
    return with_positive_start(result) if quaternion_xyzw and len(result) else result


def _neighbours(times: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions before and after each `at`, and how far it is from the one to the other, 0 to 1."""
    _require_rising(times)
    _require_inside((times[0] <= at) & (at <= times[-1]), times, at)
    before = np.searchsorted(times, at, side="right") - 1
    after = np.minimum(before + 1, len(times) - 1)
    length = np.maximum(times[after] - times[before], 1)
    return before, after, (at - times[before]) / length


def _require_rising(times: np.ndarray) -> None:
    if len(times) == 0:
        raise DataError("there are no messages to resample; record the topic")
    falls = np.flatnonzero(np.diff(times) <= 0)
    if len(falls):
        step = int(falls[0])
        raise DataError(
            f"times do not rise: {int(times[step + 1])} ns follows {int(times[step])} ns "
            f"({len(falls)} such places); sort them and drop repetitions first"
        )


def _require_inside(inside: np.ndarray, times: np.ndarray, at: np.ndarray) -> None:
    if not np.all(inside):
        wrong = int(at[np.flatnonzero(~inside)[0]])
        raise DataError(
            f"{wrong} ns lies outside the messages, {int(times[0])} to {int(times[-1])} ns; "
            "nothing is known there: choose a shorter time range"
        )
