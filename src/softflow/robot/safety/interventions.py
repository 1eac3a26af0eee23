"""What the safety layer did in an episode, for its metadata."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

MOST_TOLD = 200
"""Interventions that an episode's metadata list; all are counted."""

InterventionKind = Literal["clipped", "held", "refused", "stopped"]


class Interventions:
    """Every time it clipped, held, refused a decision or stopped, and why."""

    def __init__(self) -> None:
        self._told: list[list[Any]] = []
        self._counts: Counter[str] = Counter()

    def add(self, control_step: int, kind: InterventionKind, why: str) -> None:
        """Note one; the same as in the step before is counted, and told once."""
        self._counts[kind] += 1
        again = self._told and self._told[-1][2:] == [kind, why]
        if again and self._told[-1][1] == control_step - 1:
            self._told[-1][1] = control_step
        elif len(self._told) < MOST_TOLD:
            self._told.append([control_step, control_step, kind, why])

    def metadata(self) -> dict[str, Any]:
        """How often of each kind, and the first ones: [first step, last step, kind, why]."""
        return {"counts": dict(self._counts), "told": self._told}
