"""Conditions on recorded data as a person writes them: `observation.state[3] > 0.5 and …`.

    condition   = all-of ("or" all-of)*
    all-of      = comparison ("and" comparison)*
    comparison  = KEY [ "[" NUMBER or NAME "]" ]  (">" | ">=" | "<" | "<=" | "==" | "!=")  NUMBER

Nothing is evaluated but these comparisons.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from softflow.curation.components import parse_component, rows_of
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.errors import DataError

_COMPARE: dict[str, Callable[[np.ndarray, np.float32], np.ndarray]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_COMPARISON = re.compile(r"\s*(?P<reference>.+?)\s*(?P<sign>>=|<=|==|!=|>|<)(?P<number>.+)")


@dataclass(frozen=True)
class Comparison:
    """One component compared with a number.

    Args:
        key: an observation, "action" or "next.reward".
        component: flat index.
        sign: one of > >= < <= == !=.
        number: compared as float32, as the data is stored.
    """

    key: str
    component: int
    sign: str
    number: float

    def holds(self, episode: Episode) -> np.ndarray:
        """Bool `[T]`: of an observation, whether what was seen after action t fulfils it."""
        values = rows_of(episode, self.key)[-episode.length :, self.component]
        return _COMPARE[self.sign](values, np.float32(self.number))


@dataclass(frozen=True)
class Condition:
    """Comparisons joined by "and", and such groups joined by "or".

    Args:
        groups: the condition holds where all comparisons of one of these hold.
        text: as it was written.
    """

    groups: tuple[tuple[Comparison, ...], ...]
    text: str

    def holds(self, episode: Episode) -> np.ndarray:
        """Bool `[T]`: whether it holds after action t."""
        groups = [np.all([c.holds(episode) for c in group], axis=0) for group in self.groups]
        return np.any(groups, axis=0)

    def first_step(self, episode: Episode, hold_steps: int = 1) -> int | None:
        """The control step by which it has held `hold_steps` times running; None if never."""
        holds = self.holds(episode).astype(np.int64)
        if hold_steps > len(holds):
            return None
        held = np.convolve(holds, np.ones(hold_steps, np.int64), "valid") == hold_steps
        return int(np.argmax(held)) + hold_steps - 1 if held.any() else None


def parse_condition(text: str, spec: DataSpec) -> Condition:
    """A condition on the data of `spec`.

    Raises:
        DataError: it does not follow the grammar, or names what the data has not.
    """
    groups = tuple(
        tuple(_comparison(part, text, spec) for part in re.split(r"\band\b", group))
        for group in re.split(r"\bor\b", text)
    )
    return Condition(groups, text)


def _comparison(part: str, text: str, spec: DataSpec) -> Comparison:
    match = _COMPARISON.fullmatch(part)
    try:
        number = float(match["number"]) if match else float("nan")
    except ValueError:
        number = float("nan")
    if match is None or not np.isfinite(number):
        raise DataError(
            f"cannot read {part.strip()!r} in the condition '{text}'; write comparisons such as "
            "observation.state[3]>0.5, joined by 'and' and 'or'"
        )
    key, components = parse_component(match["reference"], spec)
    if len(components) != 1:
        raise DataError(
            f"the condition '{text}' compares all {len(components)} components of '{key}' with a "
            f"number; choose one, as in {key}[0]"
        )
    return Comparison(key, components[0], match["sign"], number)
