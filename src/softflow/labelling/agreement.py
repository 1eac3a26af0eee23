"""How far annotators agree, where they do not, and a resolution that is itself a label.

Each annotator counts with the newest label; one that was withdrawn takes all before it along. A
resolution is a label by "resolution:NAME": it settles what was said before it, and is compared with
nobody.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from operator import itemgetter
from typing import Literal, NamedTuple

from softflow.data.labels import Event, Label
from softflow.utils.intervals import wilson_interval

RESOLUTION = "resolution:"
MATCH_S = 1.0
"""Events of one kind within this time of each other are the same event, seen by two people."""
NO_OUTCOME = "none"

State = Literal["unlabelled", "labelled", "disagreement", "proposed"]


class Match(NamedTuple):
    """One event as two annotators saw it; steps are control steps."""

    first: Event
    second: Event

    @property
    def difference(self) -> int:
        """How many control steps later the second one put it."""
        return self.second.step - self.first.step


@dataclass(frozen=True)
class Comparison:
    """Two labels of an episode beside each other.

    Attributes:
        outcomes: "success", "failure", "end" or "none", of the first and of the second.
        matches: events that both saw, in order.
        only_first, only_second: events that one of them saw.
    """

    outcomes: tuple[str, str]
    matches: tuple[Match, ...]
    only_first: tuple[Event, ...]
    only_second: tuple[Event, ...]

    @property
    def agree(self) -> bool:
        """Whether outcomes are the same and each event of one has its match."""
        return self.outcomes[0] == self.outcomes[1] and not (self.only_first or self.only_second)


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of two annotators' outcomes: agreement beyond that of chance.

    Attributes:
        value: 1 if they always agree, 0 if as often as chance would; None where nothing can be said
            of it: no episode in common, or both gave every episode one and the same outcome.
        low, high: 95 %; Wilson's interval of the share that agrees, chance taken as known.
        observed: share of episodes on which they agree; expected: by chance, from how often each
            gave each outcome.
        num_episodes: labelled by both.
    """

    value: float | None
    low: float | None
    high: float | None
    observed: float
    expected: float
    num_episodes: int


@dataclass(frozen=True)
class Agreement:
    """Two annotators, over the episodes that both labelled.

    Attributes:
        annotators: in alphabetic order.
        kappa: of the outcomes.
        differences_s: of every event that both saw, seconds by which the second put it later.
        only_first, only_second: how many events one of them saw and the other did not.
        disagreements: episodes on which they do not agree, ascending.
    """

    annotators: tuple[str, str]
    kappa: Kappa
    differences_s: tuple[float, ...]
    only_first: int
    only_second: int
    disagreements: tuple[int, ...]


def resolution(name: str, events: Sequence[Event]) -> Label:
    """The label by which somebody settles a disagreement.

    Raises:
        DataError: the events contradict each other.
    """
    return Label(f"{RESOLUTION}{name.removeprefix(RESOLUTION)}", tuple(events))


def is_resolution(label: Label) -> bool:
    """Whether a label settles what others said."""
    return label.annotator.startswith(RESOLUTION)


def outcome_of(label: Label) -> str:
    """How the episode ended, as a label has it: the kind of its end, or "none"."""
    return label.end.kind if label.end else NO_OUTCOME


def newest_of_each(history: Iterable[Label]) -> dict[str, Label]:
    """Annotator -> the newest label, in the order in which these were written; no resolutions.

    Args:
        history: every label of an episode, the oldest first.
    """
    newest: dict[str, Label] = {}
    for label in history:
        if label.withdrawn:
            newest.clear()
        elif not is_resolution(label):
            newest.pop(label.annotator, None)
            newest[label.annotator] = label
    return newest


def unsettled(history: Sequence[Label]) -> dict[str, Label]:
    """As `newest_of_each`, of what still stands against each other: nothing if it was resolved.

    Labels that came behind a resolution stand against it.
    """
    last = max((i for i, label in enumerate(history) if is_resolution(label)), default=None)
    if last is None:
        return newest_of_each(history)
    behind = history[last + 1 :]
    later, was_withdrawn = newest_of_each(behind), any(label.withdrawn for label in behind)
    return (
        later if was_withdrawn or not later else {history[last].annotator: history[last], **later}
    )


def state_of(history: Sequence[Label], control_hz: float, *, is_proposed: bool = False) -> State:
    """What the list of episodes says of one.

    Args:
        history: every label of it, the oldest first.
        control_hz: control steps per second.
        is_proposed: whether something proposes events for it.
    """
    if not history or history[-1].withdrawn:
        return "proposed" if is_proposed else "unlabelled"
    labels = unsettled(history).values()
    pairs = combinations(labels, 2)
    agree = all(compare(first, second, control_hz).agree for first, second in pairs)
    return "labelled" if agree else "disagreement"


def compare(first: Label, second: Label, control_hz: float, match_s: float = MATCH_S) -> Comparison:
    """Two labels of an episode: which events are the same, and what only one of them has."""
    within = match_s * control_hz + 1e-9
    matches: list[Match] = []
    for kind in sorted({_kind(event) for event in (*first.events, *second.events)}):
        ours = [event for event in first.events if _kind(event) == kind]
        theirs = [event for event in second.events if _kind(event) == kind]
        matches += _matched(ours, theirs, within)
    matches.sort(key=lambda match: (match.first.step, match.second.step))
    return Comparison(
        (outcome_of(first), outcome_of(second)),
        tuple(matches),
        _without(first.events, [match.first for match in matches]),
        _without(second.events, [match.second for match in matches]),
    )


def _kind(event: Event) -> tuple[str, str, float]:
    """What is the same of two equal events but the step: a larger reward is another one."""
    return event.name, event.kind, event.value


def _without(events: Sequence[Event], matched: Sequence[Event]) -> tuple[Event, ...]:
    """Events that have no match; equal ones are counted, not merged."""
    left = Counter(matched)
    single: list[Event] = []
    for event in events:
        if left[event]:
            left[event] -= 1
        else:
            single.append(event)
    return tuple(single)


def _matched(first: Sequence[Event], second: Sequence[Event], within: float) -> list[Match]:
    pairs = match_steps([e.step for e in first], [e.step for e in second], within)
    return [Match(first[i], second[j]) for i, j in pairs]


_Pairs = tuple[int, int, "tuple[_Pairs, int, int] | None"]
"""How many pairs, how close together (0 at best), and the last of them behind those before it."""
_count_and_closeness = itemgetter(0, 1)


def match_steps(
    first: Sequence[int], second: Sequence[int], within: float
) -> tuple[tuple[int, int], ...]:
    """Which of two ascending lists of control steps belong together, as pairs of positions.

    As many pairs as possible of at most `within` steps, of these the ones closest together. Pairs
    that cross are never better than those that do not, so each list is gone through once, and only
    what lies within reach of each other is compared.
    """
    best: list[_Pairs] = [(0, 0, None)] * (len(second) + 1)
    for i, ours in enumerate(first):
        low, high = bisect_left(second, ours - within), bisect_right(second, ours + within)
        row = best[:]
        for j in range(low, high):
            met = (best[j][0] + 1, best[j][1] - abs(second[j] - ours), (best[j], i, j))
            row[j + 1] = max(best[j + 1], row[j], met, key=_count_and_closeness)
        row[high + 1 :] = [row[high]] * (len(second) - high)
        best = row
    found: list[tuple[int, int]] = []
    last = best[-1][2]
    while last is not None:
        before, i, j = last
        found.append((i, j))
        last = before[2]
    return tuple(reversed(found))


def cohens_kappa(outcomes: Sequence[tuple[str, str]]) -> Kappa:
    """Cohen's kappa (1960) of pairs of outcomes, one pair an episode."""
    count = len(outcomes)
    if count == 0:
        return Kappa(None, None, None, 0.0, 0.0, 0)
    same = sum(first == second for first, second in outcomes)
    firsts, seconds = (Counter(pair[side] for pair in outcomes) for side in (0, 1))
    chance = sum(firsts[outcome] * seconds[outcome] for outcome in firsts)
    observed, expected = same / count, chance / count**2
    if chance == count**2:
        return Kappa(None, None, None, observed, expected, count)

    def beyond_chance(share: float) -> float:
        return (share - expected) / (1 - expected)

    low, high = (beyond_chance(end) for end in wilson_interval(same, count))
    return Kappa(beyond_chance(observed), low, high, observed, expected, count)


def agreements(
    histories: Mapping[int, Sequence[Label]], control_hz: float, match_s: float = MATCH_S
) -> tuple[Agreement, ...]:
    """Every pair of annotators that labelled an episode both.

    Args:
        histories: episode -> every label of it, the oldest first.
        control_hz: control steps per second.
        match_s: events of one kind within this time are the same.
    """
    newest = {index: newest_of_each(history) for index, history in histories.items()}
    names = sorted({name for labels in newest.values() for name in labels})
    pairs: list[Agreement] = []
    for first, second in combinations(names, 2):
        compared = {
            index: compare(labels[first], labels[second], control_hz, match_s)
            for index, labels in sorted(newest.items())
            if first in labels and second in labels
        }
        if compared:
            pairs.append(_agreement((first, second), compared, control_hz))
    return tuple(pairs)


def _agreement(
    names: tuple[str, str], compared: Mapping[int, Comparison], control_hz: float
) -> Agreement:
    matches = [match for comparison in compared.values() for match in comparison.matches]
    return Agreement(
        names,
        cohens_kappa([comparison.outcomes for comparison in compared.values()]),
        tuple(match.difference / control_hz for match in matches),
        sum(len(comparison.only_first) for comparison in compared.values()),
        sum(len(comparison.only_second) for comparison in compared.values()),
        tuple(index for index, comparison in compared.items() if not comparison.agree),
    )
