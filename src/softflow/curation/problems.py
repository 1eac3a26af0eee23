"""What validation reports: one `Problem` per finding, with its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """Something wrong, or doubtful, in a dataset.

    Args:
        severity: "error": not fit to be trained on; "warning": look at it.
        check: which check found it, e.g. "not-finite".
        episode: name of the episode; empty if it concerns all of them.
        message: what is wrong, with values and, where it is not obvious, the fix.
        key: the array it is in, e.g. "action".
        step: control step, from 0, at which it begins.
        last_step: control step at which it ends; None if it is at one step.
        component: index into one row of the array, flattened.
    """

    severity: Severity
    check: str
    episode: str
    message: str
    key: str = ""
    step: int | None = None
    last_step: int | None = None
    component: int | None = None

    @property
    def place(self) -> str:
        """Where it is, for people: episode 12, 'action', steps 3–7, component 2."""
        # Foreign episodes bring a name, such as demo_3; those of a store are numbers.
        numbered = self.episode[:1].isdecimal()
        many = "s" * (numbered and any(sign in self.episode for sign in ",–"))
        called = f"episode{many} {self.episode}" if numbered else self.episode
        parts = [called or "all episodes"]
        parts += [f"'{self.key}'"] * bool(self.key)
        if self.step is not None:
            single = self.last_step is None or self.last_step == self.step
            parts.append(f"step {self.step}" if single else f"steps {self.step}–{self.last_step}")
        if self.component is not None:
            parts.append(f"component {self.component}")
        return ", ".join(parts)

    def __str__(self) -> str:
        return f"{self.severity}: {self.place}: {self.message} [{self.check}]"

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return asdict(self)


def verdict(problems: Sequence[Problem], episodes: int) -> str:
    """How many problems of which kind, in how many episodes."""
    if not problems:
        return f"{episodes} episodes, no problems"
    counts = Counter((p.severity, p.check) for p in problems)
    kinds = ", ".join(f"{n} {check}" for (_, check), n in sorted(counts.items()))
    errors = sum(p.severity == "error" for p in problems)
    bad = len({p.episode for p in problems if p.severity == "error" and p.episode})
    return (
        f"{episodes} episodes, {bad} of them with errors: {errors} errors, "
        f"{len(problems) - errors} warnings ({kinds})"
    )


def alike_together(problems: Iterable[Problem]) -> list[Problem]:
    """One problem for those that differ in nothing but the episode: "episodes 0–4, 7".

    200 episodes without a label are one line to read, not 200 that hide the next problem.
    """
    groups: dict[Problem, list[str]] = {}
    for problem in problems:
        groups.setdefault(replace(problem, episode=""), []).append(problem.episode)
    return [replace(problem, episode=_names(names)) for problem, names in groups.items()]


def _names(names: Sequence[str]) -> str:
    """Names of episodes; neighbouring numbers as a range."""
    if len(names) < 2 or not all(name.isdigit() for name in names):
        return listed(names)
    numbers = sorted({int(name) for name in names})
    flags = np.zeros(numbers[-1] + 1, np.bool_)
    flags[numbers] = True
    return listed([str(a) if a == b else f"{a}–{b}" for a, b in runs_of(flags)])


def runs_of(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every stretch of True in `flags` `[T]`."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    first, behind = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(a), int(b) - 1) for a, b in zip(first, behind, strict=True)]


def listed(numbers: Sequence[int | str], most: int = 8) -> str:
    """Numbers as text, cut off after `most`: 0, 1, 2 and 61 more."""
    shown = ", ".join(map(str, numbers[:most]))
    more = len(numbers) - most
    return f"{shown} and {more} more" if more > 0 else shown
