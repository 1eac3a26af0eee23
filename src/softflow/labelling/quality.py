"""How good proposed events are, held against labels: precision and recall with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.labelling.agreement import match_steps
from softflow.labelling.event_kinds import EventDeclaration, EventKinds
from softflow.labelling.proposals import Proposer
from softflow.utils.intervals import wilson_interval

WITHIN_S = 0.5
"""A proposed event this far from the true one is right."""


@dataclass(frozen=True)
class Quality:
    """Proposed events held against true ones.

    Attributes:
        hits: proposed events that belong to a true one.
        proposed, true: how many there are of each.
        differences: control steps by which each hit came late.
    """

    hits: int = 0
    proposed: int = 0
    true: int = 0
    differences: tuple[int, ...] = ()

    def __add__(self, other: Quality) -> Quality:
        return Quality(
            self.hits + other.hits,
            self.proposed + other.proposed,
            self.true + other.true,
            self.differences + other.differences,
        )

    @property
    def precision(self) -> float:
        """Share of what is proposed that is true; nan if nothing is."""
        return self.hits / self.proposed if self.proposed else math.nan

    @property
    def recall(self) -> float:
        """Share of what is true that is proposed; nan if nothing is."""
        return self.hits / self.true if self.true else math.nan

    @property
    def f1(self) -> float:
        """Harmonic mean of the two, 0 without a hit."""
        total = self.proposed + self.true
        return 2 * self.hits / total if total else 0.0

    def told(self) -> str:
        """Both with their 95 % Wilson intervals, for people."""
        parts = [
            f"{name} {value:.2f} ({low:.2f}–{high:.2f}, {self.hits} of {count})"
            for name, value, count in (
                ("precision", self.precision, self.proposed),
                ("recall", self.recall, self.true),
            )
            for low, high in [wilson_interval(self.hits, count)]
        ]
        return ", ".join(parts)


def quality_of(proposed: Sequence[int], true: Sequence[int], within: float) -> Quality:
    """Steps proposed for an episode held against the true ones; each belongs to one at most."""
    ordered, real = sorted(proposed), sorted(true)
    pairs = match_steps(ordered, real, within)
    late = tuple(ordered[i] - real[j] for i, j in pairs)
    return Quality(len(pairs), len(ordered), len(real), late)


def steps_of(label: Label, event: EventDeclaration) -> tuple[int, ...]:
    """Control steps of an event; one without a name is meant if it does and is worth the same."""
    return tuple(
        one.step
        for one in label.events
        if one.name == event.name or (not one.name and one == replace(event.at(one.step), name=""))
    )


def measured(
    proposer: Proposer,
    store: EpisodeStore,
    kinds: EventKinds,
    indices: Iterable[int],
    within_s: float = WITHIN_S,
) -> dict[str, Quality]:
    """How good a proposer is on labelled episodes: name of an event -> quality, where it knows any.

    Args:
        proposer: what is measured; it must not have learned from these labels.
        store: with the labels.
        kinds: the events that the data set declares.
        indices: the episodes; those without a label that counts are left out.
        within_s: how far a proposed event may be from the true one, s.

    Raises:
        SoftflowError: as the proposer raises it.
    """
    within = within_s * store.spec.control_hz + 1e-9
    found = {kind.name: Quality() for kind in kinds.kinds}
    for index in indices:
        label = store.newest_label(index)
        if label is None:
            continue
        proposed = list(proposer.propose(store, index))
        for kind in kinds.kinds:
            steps = [one.event.step for one in proposed if one.event.name == kind.name]
            found[kind.name] += quality_of(steps, steps_of(label, kind), within)
    return {name: quality for name, quality in found.items() if quality.proposed}
