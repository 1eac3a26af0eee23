"""Checks of one episode: each is a small function that yields every problem it finds."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from softflow.curation.components import (
    ACTION,
    REWARD,
    component_name,
    component_sizes,
    fits,
    misfit,
    rows_of,
)
from softflow.curation.problems import Problem, listed, runs_of
from softflow.data.data_spec import DataSpec
from softflow.data.episode import ACTION_TOLERANCE, Episode
from softflow.errors import DataError

TIME_NAMES = ("time", "time_s", "timestamp", "timestamps", "stamp")
"""Last parts of observation keys, and metadata keys, that hold the time of every step."""
MOVED_SHARE = 0.05
"""A state moved if it covered this share of its range in the episode."""


@dataclass(frozen=True)
class CheckSettings:
    """What counts as a problem.

    Args:
        max_rate: key → change per second `[components]` that a person allows; more is an error.
        usual_rate: key → change per second that is usual in the data; more is a warning.
        frozen_s: a camera may show the same frame for this long while the state moves.
        idle_s: all actions may be zero for this long.
        min_length: fewer control steps are too few.
        ignore: names of checks that are left out.

    Raises:
        DataError: a number is out of range.
    """

    max_rate: Mapping[str, np.ndarray] = field(default_factory=dict)
    usual_rate: Mapping[str, np.ndarray] = field(default_factory=dict)
    frozen_s: float = 1.0
    idle_s: float = 2.0
    min_length: int = 10
    ignore: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name in ("frozen_s", "idle_s"):
            if not getattr(self, name) > 0:
                raise DataError(f"{name} is {getattr(self, name)}; give seconds above 0")
        if self.min_length < 0:
            raise DataError(f"min_length is {self.min_length}; it must be >= 0")


@dataclass(frozen=True)
class Subject:
    """An episode under examination, and what it is measured against."""

    name: str
    episode: Episode
    spec: DataSpec
    settings: CheckSettings

    @cached_property
    def numbers(self) -> dict[str, np.ndarray]:
        """Key → `[T or T+1, components]` of every float array that has its right shape."""
        keys = [*component_sizes(self.spec), REWARD]
        return {key: rows_of(self.episode, key) for key in keys if self.fits(key)}

    def fits(self, key: str) -> bool:
        """Whether an array may be computed with."""
        return fits(self.episode, key, self.spec) and len(self.episode.actions) > 0

    def error(self, check: str, message: str, **place: Any) -> Problem:
        """A problem that makes the episode unfit for training."""
        return Problem("error", check, self.name, message, **place)

    def warning(self, check: str, message: str, **place: Any) -> Problem:
        """A problem worth looking at."""
        return Problem("warning", check, self.name, message, **place)

    def called(self, key: str, component: int) -> str:
        """The name of a component in brackets, if it has one."""
        name = component_name(self.spec, key, component)
        return f" ({name})" if name else ""


def wrong_shape(subject: Subject) -> Iterator[Problem]:
    """Missing or unexpected arrays, shapes and types, image sizes included."""
    keys = [*subject.spec.observation_shapes, ACTION, REWARD]
    for key in keys:
        if wrong := misfit(subject.episode, key, subject.spec):
            yield subject.error("wrong-shape", wrong, key=key)
    for key in sorted(subject.episode.observations.keys() - subject.spec.observation_shapes.keys()):
        yield subject.error("wrong-shape", "not among the keys of this dataset", key=key)


def wrong_facts(subject: Subject) -> Iterator[Problem]:
    """A contradictory ending, or metadata that cannot be stored."""
    episode = subject.episode
    if bool(episode.terminated) == bool(episode.truncated):
        both = f"terminated and truncated are both {bool(episode.terminated)}"
        fix = "set the one that is true: the task ended, or the recording was cut"
        yield subject.error("wrong-facts", f"{both}; {fix}")
    try:
        json.dumps(episode.metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        yield subject.error("wrong-facts", f"metadata cannot be written as JSON: {error}")


def too_short(subject: Subject) -> Iterator[Problem]:
    """No action at all, or fewer than asked for."""
    length, least = subject.episode.length, subject.settings.min_length
    if length == 0:
        yield subject.error("too-short", "holds no action; drop it")
    elif length < least:
        yield subject.warning("too-short", f"{length} control steps, fewer than {least}")


def not_finite(subject: Subject) -> Iterator[Problem]:
    """NaN and infinity, one problem per stretch of steps."""
    for key, rows in subject.numbers.items():
        bad = ~np.isfinite(rows)
        for first, last in runs_of(np.asarray(bad.any(axis=1))):
            within = bad[first : last + 1]
            components = np.flatnonzero(within.any(axis=0)).tolist()
            one = components[0] if len(components) == 1 else None
            value = rows[first][bad[first]][0]
            where = f"components {listed(components)}: " if one is None else ""
            name = subject.called(key, one) if one is not None else ""
            text = f"{where}{value}{name}, {int(within.sum())} such values; repair the sensor"
            place = {"key": key, "step": first, "last_step": last, "component": one}
            yield subject.error("not-finite", text, **place)


def action_outside(subject: Subject) -> Iterator[Problem]:
    """Actions beyond the bounds of the action space."""
    if ACTION not in subject.numbers:
        return
    actions = subject.numbers[ACTION]
    low, high = np.asarray(subject.spec.action_low), np.asarray(subject.spec.action_high)
    outside = np.where(np.isfinite(actions), np.maximum(low - actions, actions - high), 0)
    for component in range(actions.shape[1]):
        for first, last in runs_of(outside[:, component] > ACTION_TOLERANCE):
            worst = first + int(np.argmax(outside[first : last + 1, component]))
            text = (
                f"up to {actions[worst, component]:.6g}{subject.called(ACTION, component)}, outside"
                f" [{low[component]:.6g}, {high[component]:.6g}]; clip it, or correct the bounds"
            )
            place = {"key": ACTION, "step": first, "last_step": last, "component": component}
            yield subject.error("action-outside", text, **place)


def jump(subject: Subject) -> Iterator[Problem]:
    """Changes faster than allowed (an error) or than usual (a warning)."""
    settings = subject.settings
    for key, rows in subject.numbers.items():
        size = rows.shape[1]
        allowed = settings.max_rate.get(key, np.full(size, np.inf))
        usual = settings.usual_rate.get(key, np.full(size, np.inf))
        usual = np.where(np.isfinite(allowed), np.inf, usual)
        with np.errstate(invalid="ignore"):
            rates = np.abs(np.diff(rows, axis=0)) * subject.spec.control_hz
        yield from _too_fast(subject, key, rates, allowed, "error")
        yield from _too_fast(subject, key, rates, usual, "warning")


def _too_fast(
    subject: Subject, key: str, rates: np.ndarray, limits: np.ndarray, severity: str
) -> Iterator[Problem]:
    over = np.isfinite(rates) & (rates > limits)
    limit = "the limit is" if severity == "error" else "usual are up to"
    for first, last in runs_of(np.asarray(over.any(axis=1))):
        within = over[first : last + 1]
        components = np.flatnonzero(within.any(axis=0)).tolist()
        fastest = np.where(within, rates[first : last + 1], 0).max(axis=0)
        worst = max(components, key=lambda component: fastest[component] / limits[component])
        one = worst if len(components) == 1 else None
        where = f"components {listed(components)}; {worst}" if one is None else ""
        text = (
            f"{where} changes by {fastest[worst]:.4g} per second{subject.called(key, worst)}, "
            f"{limit} {limits[worst]:.4g}"
        )
        place = {"key": key, "step": first + 1, "last_step": last + 1, "component": one}
        report = subject.error if severity == "error" else subject.warning
        yield report("jump", text.strip(), **place)


def frozen_camera(subject: Subject) -> Iterator[Problem]:
    """The same frame again and again while the robot's state moves."""
    for key in subject.spec.image_keys:
        if not subject.fits(key):
            continue
        frames = subject.episode.observations[key]
        same = np.array([np.array_equal(*pair) for pair in itertools.pairwise(frames)])
        for first, last in runs_of(same):
            seconds = (last + 1 - first) / subject.spec.control_hz
            if seconds > subject.settings.frozen_s and _state_moves(subject, first, last + 1):
                text = f"the same frame for {seconds:.3g} s while the state moves"
                place = {"key": key, "step": first, "last_step": last + 1}
                yield subject.error("frozen-camera", text, **place)


def _state_moves(subject: Subject, first: int, last: int) -> bool:
    """Whether a state component covers a good part of its range between two observations."""
    for key in subject.spec.state_keys:
        rows = subject.numbers.get(key, np.zeros((1, 1)))
        rows = rows[:, np.isfinite(rows).all(axis=0)]
        whole, part = np.ptp(rows, axis=0), np.ptp(rows[first : last + 1], axis=0)
        if np.any((whole > 0) & (part > MOVED_SHARE * whole)):
            return True
    return False


def zero_actions(subject: Subject) -> Iterator[Problem]:
    """Every component exactly 0: all the time (an error), or for long."""
    if ACTION not in subject.numbers:
        return
    zero = np.all(subject.numbers[ACTION] == 0, axis=1)
    if zero.all():
        text = "every action is zero; the recorder missed the commands, or nothing was done"
        yield subject.error("zero-actions", text, key=ACTION)
        return
    for first, last in runs_of(zero):
        seconds = (last + 1 - first) / subject.spec.control_hz
        if seconds > subject.settings.idle_s:
            text = f"every component is zero for {seconds:.3g} s"
            place = {"key": ACTION, "step": first, "last_step": last}
            yield subject.warning("zero-actions", text, **place)


def time_not_increasing(subject: Subject) -> Iterator[Problem]:
    """A recorded time that stands still or runs backwards."""
    for key, time in _times(subject):
        steps = np.diff(time)
        for first, last in runs_of(~(steps > 0)):
            text = f"time goes from {time[first]:.9g} to {time[last + 1]:.9g}"
            place = {"key": key, "step": first + 1, "last_step": last + 1}
            yield subject.error("time-not-increasing", text, **place)


def _times(subject: Subject) -> Iterator[tuple[str, np.ndarray]]:
    """Every array of times, of the observations or in the metadata."""
    for key, rows in subject.numbers.items():
        if key.rpartition(".")[2] in TIME_NAMES and rows.shape[1] == 1:
            yield key, rows[:, 0]
    for key in TIME_NAMES:
        value = subject.episode.metadata.get(key)
        if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
            yield f"metadata {key}", np.asarray(value, np.float64)


EPISODE_CHECKS: dict[str, Callable[[Subject], Iterator[Problem]]] = {
    "wrong-shape": wrong_shape,
    "wrong-facts": wrong_facts,
    "too-short": too_short,
    "not-finite": not_finite,
    "action-outside": action_outside,
    "jump": jump,
    "frozen-camera": frozen_camera,
    "zero-actions": zero_actions,
    "time-not-increasing": time_not_increasing,
}
"""The checks of one episode by the name that their problems carry."""
