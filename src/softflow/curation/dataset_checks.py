"""Checks across episodes: they see every episode once and speak at the end, or on a repetition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from softflow.curation.components import ACTION, REWARD, component_name
from softflow.curation.episode_checks import Subject
from softflow.curation.problems import Problem
from softflow.data.episode import Episode

RARELY = 0.1
"""A component that moves elsewhere but rests in fewer than this share of episodes is suspicious."""


class DatasetCheck(Protocol):
    """A check that remembers a little of every episode."""

    def see(self, subject: Subject) -> Iterator[Problem]:
        """The next episode, with what is already wrong."""
        ...

    def finish(self) -> Iterator[Problem]:
        """What is wrong now that all were seen."""
        ...


class Duplicates:
    """Episodes whose observations and actions were all seen before."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def see(self, subject: Subject) -> Iterator[Problem]:
        """An error if an earlier episode has the same content."""
        if len(subject.episode.actions) == 0:
            return
        first = self._first.setdefault(content_digest(subject.episode), subject.name)
        if first != subject.name:
            yield subject.error("duplicate", f"has the same content as episode {first}; drop one")

    def finish(self) -> Iterator[Problem]:
        """Nothing is left to say."""
        return iter(())


def content_digest(episode: Episode) -> str:
    """SHA-256 of what was seen and done: equal for the same recording under another label."""
    digest = hashlib.sha256()
    for key, array in [*sorted(episode.observations.items()), (ACTION, episode.actions)]:
        array = np.ascontiguousarray(array)
        digest.update(f"{key}{array.dtype.str}{array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


class ConstantComponents:
    """Components of states and actions that never change where they should.

    The same value in every episode is a warning for the whole dataset. Resting within each episode,
    at another value each time, is how goals are recorded, and no problem. A component that moves in
    nearly all episodes and rests in a few is a warning for those: a sensor that failed there.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._still: dict[str, list[np.ndarray]] = {}
        self._range: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._spec = None
        self._episodes: dict[str, list[str]] = {}

    def see(self, subject: Subject) -> Iterator[Problem]:
        """Remember each component's range, and whether it rested."""
        self._spec = subject.spec
        for key, rows in subject.numbers.items():
            if key == REWARD or len(rows) < 2 or not np.isfinite(rows).all():
                continue
            low, high = rows.min(axis=0), rows.max(axis=0)
            old_low, old_high = self._range.get(key, (low, high))
            self._range[key] = np.minimum(low, old_low), np.maximum(high, old_high)
            self._still.setdefault(key, []).append(low == high)
            self._episodes.setdefault(key, []).append(subject.name)
        return iter(())

    def finish(self) -> Iterator[Problem]:
        """Warnings for the dataset, then for single episodes."""
        for key, (low, high) in self._range.items():
            still = np.stack(self._still[key])
            always = still.all(axis=0) & (low == high)
            for component in np.flatnonzero(always).tolist():
                text = f"is always {low[component]:.6g}{self._called(key, component)}"
                yield Problem("warning", "constant", "", text, key, component=component)
            rarely = still.any(axis=0) & (still.mean(axis=0) < RARELY)
            for component in np.flatnonzero(rarely).tolist():
                for episode in np.flatnonzero(still[:, component]).tolist():
                    name, moving = self._episodes[key][episode], 1 - still[:, component].mean()
                    text = (
                        f"rests throughout{self._called(key, component)}, though it moves in "
                        f"{100 * moving:.0f} % of the episodes"
                    )
                    yield Problem("warning", "constant", name, text, key, component=component)

    def _called(self, key: str, component: int) -> str:
        name = component_name(self._spec, key, component) if self._spec else ""
        return f" ({name})" if name else ""


class MissingLabels:
    """Episodes of which nobody said how they went.

    An importer marks them with the metadata "unlabelled", and those of which somebody did with
    "outcome_from". Without such a mark an episode with neither
    reward nor success nor label is taken for a failure if others of the same source have any, and
    for unlabelled if none has.
    """

    def __init__(self) -> None:
        self._silent: dict[str, list[str]] = {}
        self._telling: set[str] = set()

    def see(self, subject: Subject) -> Iterator[Problem]:
        """A warning for a marked episode; the others wait for the rest of their source."""
        episode = subject.episode
        source = str(episode.metadata.get("source", ""))
        if "annotator" in episode.metadata or "outcome_from" in episode.metadata:
            return
        if episode.metadata.get("unlabelled"):
            text = "neither reward nor success was recorded; label it (softflow data relabel)"
            yield subject.warning("missing-label", text)
        elif episode.success or np.any(episode.rewards):
            self._telling.add(source)
        else:
            self._silent.setdefault(source, []).append(subject.name)

    def finish(self) -> Iterator[Problem]:
        """A warning for each episode of a source that never tells an outcome."""
        for source, names in self._silent.items():
            if source in self._telling:
                continue
            of = f" of '{source}'" if source else ""
            for name in names:
                text = (
                    f"no reward, success or label here nor in any other episode{of}; label it "
                    "(softflow data relabel)"
                )
                yield Problem("warning", "missing-label", name, text)


DATASET_CHECKS: dict[str, type[DatasetCheck]] = {
    "duplicate": Duplicates,
    "constant": ConstantComponents,
    "missing-label": MissingLabels,
}
"""The checks across episodes by the name that their problems carry."""
