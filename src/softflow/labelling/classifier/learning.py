"""A small classifier that learns from labels where an event happens, and proposes it elsewhere.

It looks at one moment: the frozen features of all cameras (the same files that training caches), or
the state where there are no cameras. Frames up to `window_s` behind a labelled event are positive,
those up to `window_s` before it are left out, all others negative. What only a history shows, such
as a turn by 90 degrees, it cannot learn; a rule can.

How good it is comes from folds of whole episodes: each is judged by a classifier that never saw it,
with the threshold that is best on the other folds. The one that proposes has learned from all.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError
from softflow.labelling.classifier.detection import Seeing, best_threshold, sum_quality
from softflow.labelling.classifier.frame_rows import FrameRows, rows_for
from softflow.labelling.event_kinds import EventDeclaration, EventKinds
from softflow.labelling.proposals import ProposedEvent
from softflow.labelling.quality import WITHIN_S, Quality, steps_of
from softflow.utils.progress import ProgressReporter

NAME = "classifier"
LEAST_EPISODES = 5
"""With the event, to learn from: with fewer nobody can say how good it is."""
NEGATIVES = 60
"""Frames without the event that are learned from, of an episode at most."""
HOLD_S, APART_S = 0.15, 0.5
"""Probabilities are averaged over the first; two events of one kind are the second apart."""
Curve = tuple[np.ndarray, Sequence[int]]
"""Probabilities [T+1] of an episode, and the steps of its true events."""
HIDDEN, DROPOUT, BATCH, RATE, DECAY = 64, 0.3, 256, 1e-3, 0.05


@dataclass(frozen=True)
class ClassifierSettings:
    """What it learns, and from what.

    Attributes:
        event: the declared event; "" for the one that is a success.
        labels: another store of the same keys to learn from; "" for the one it proposes for.
        window_s: how long behind an event frames show it, and before it nobody can tell.
        within_s: a proposal this far from the true event is right.
        folds: into how many parts episodes are split to measure how good it is.
        updates: gradient steps.
        seed: of all that is random.
        cache_folder: for features that cannot lie beside the episodes.
    """

    event: str = ""
    labels: str = ""
    window_s: float = 0.25
    within_s: float = WITHIN_S
    folds: int = 5
    updates: int = 300
    seed: int = 0
    cache_folder: str = ""

    def __post_init__(self) -> None:
        if not (0 < self.window_s < math.inf and 0 < self.within_s < math.inf):
            raise ConfigError(
                f"classifier: window_s is {self.window_s}, within_s {self.within_s}; give seconds"
            )
        if not (2 <= self.folds <= 20 and 1 <= self.updates <= 100_000 and self.seed >= 0):
            raise ConfigError(
                f"classifier: folds {self.folds} (2 to 20), updates {self.updates} (1 to 100,000) "
                f"and seed {self.seed} (from 0) must lie within these"
            )


@dataclass(frozen=True)
class LabelledEpisode:
    """An episode to learn from: its index, recorded control steps, steps of the event."""

    index: int
    length: int
    steps: tuple[int, ...]


class Head(nn.Module):
    """Features of a moment -> the logit that the event shows."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.layers = nn.Sequential(
            nn.Linear(len(mean), HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 1)
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [N, D] -> logits [N]."""
        return self.layers((rows - self.mean) / self.std).squeeze(-1)


class EventClassifier:
    """A trained classifier as a proposer; made by `train_classifier`.

    Attributes:
        name, version, note: as of every proposer; the note tells the held-out precision and recall.
        quality: these as numbers.
    """

    def __init__(
        self,
        head: Head,
        event: EventDeclaration,
        seeing: Seeing,
        threshold: float,
        quality: Quality,
        settings: ClassifierSettings,
    ) -> None:
        self.name = f"{NAME}:{event.name}"
        self.quality = quality
        self._head, self._event = head, event
        self._seeing, self._threshold, self._settings = seeing, threshold, settings
        self._rows: tuple[EpisodeStore, FrameRows] | None = None
        self.version = self._hash()
        self.note = f"held out, within {settings.within_s:g} s: {quality.told()}"

    def propose(self, store: EpisodeStore, index: int) -> Iterable[ProposedEvent]:
        """Where it sees the event.

        Raises:
            DataError: the store holds other cameras or states than it learned from.
            StoreError: the episode is damaged.
        """
        if self._rows is None or self._rows[0] is not store:
            self._rows = store, rows_for(store, self._settings.cache_folder)
        rows = self._rows[1].of(index)
        if rows.shape[1] != len(self._head.mean):
            raise DataError(
                f"the classifier learned from {len(self._head.mean)} numbers a frame, and '"
                f"{store.path}' has {rows.shape[1]}: other cameras or states; learn from its labels"
            )
        curve = probabilities(self._head, rows)
        found = self._seeing.events(curve, self._threshold)
        return [ProposedEvent(self._event.at(one.step), min(one.probability, 1.0)) for one in found]

    def _hash(self) -> str:
        digest = hashlib.sha256(f"{self._event} {self._seeing} {self._threshold}".encode())
        for name, value in sorted(self._head.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.numpy().tobytes())
        return digest.hexdigest()[:12]


def train_classifier(
    store: EpisodeStore, kinds: EventKinds, settings: ClassifierSettings, progress: ProgressReporter
) -> EventClassifier:
    """Learn an event from the labels that count, and measure how well that goes.

    Args:
        store: with the labels.
        kinds: the events that the data set declares.
        settings: what and how.
        progress: where to tell how far it is.

    Raises:
        ConfigError: no such event, or too few labels of it; says how many are missing.
        StoreError: an episode is damaged, or features cannot be written.
    """
    event = _event(kinds, settings.event)
    hz = store.spec.control_hz
    episodes = labelled_episodes(store, event)
    rows = rows_for(store, settings.cache_folder)
    rows.prepare([episode.index for episode in episodes], progress)
    seeing = Seeing(
        event.repeats, hold=max(1, round(HOLD_S * hz)), apart=max(1, round(APART_S * hz))
    )
    learner = _Learner(rows, episodes, event, settings, max(1, round(settings.window_s * hz)))
    curves = learner.held_out_curves(progress)
    within = settings.within_s * hz + 1e-9
    quality = Quality()
    for number, fold in enumerate(curves):
        others = chain.from_iterable(curves[:number] + curves[number + 1 :])
        quality += sum_quality(fold, seeing, best_threshold(others, seeing, within), within)
    threshold = best_threshold(chain.from_iterable(curves), seeing, within)
    return EventClassifier(learner.trained(episodes), event, seeing, threshold, quality, settings)


def labelled_episodes(store: EpisodeStore, event: EventDeclaration) -> list[LabelledEpisode]:
    """What the labels that count say of an event, an episode each.

    Raises:
        ConfigError: it is labelled in fewer than `LEAST_EPISODES` episodes.
        StoreError: an episode or label is damaged.
    """
    episodes = [
        LabelledEpisode(index, store.summary(index, labelled=False).length, steps_of(label, event))
        for index in range(len(store))
        if (label := store.newest_label(index)) is not None
    ]
    there = sum(bool(episode.steps) for episode in episodes)
    if there < LEAST_EPISODES:
        raise ConfigError(
            f"'{event.name}' is labelled in {there} episodes of '{store.path}' ({len(episodes)} "
            f"have a label); the classifier needs it in {LEAST_EPISODES}: label some more by hand"
        )
    return episodes


def _event(kinds: EventKinds, name: str) -> EventDeclaration:
    if name:
        return kinds.named(name)
    successes = [kind for kind in kinds.kinds if kind.success]
    if len(successes) != 1:
        known = ", ".join(kind.name for kind in kinds.kinds)
        raise ConfigError(f"say with --set event=NAME what to learn; declared are {known}")
    return successes[0]


class _Learner:
    """Learns from any subset of the labelled episodes."""

    def __init__(
        self,
        rows: FrameRows,
        episodes: Sequence[LabelledEpisode],
        event: EventDeclaration,
        settings: ClassifierSettings,
        window: int,
    ) -> None:
        self._rows, self._settings = rows, settings
        self._episodes = episodes
        self._samples = {
            one.index: _samples(
                one, window, event, np.random.default_rng([settings.seed, one.index])
            )
            for one in episodes
        }

    def held_out_curves(self, progress: ProgressReporter) -> list[list[Curve]]:
        """For each fold the curves of its episodes, by a classifier that never saw them."""
        folds = _folds(self._episodes, self._settings)
        curves: list[list[Curve]] = []
        progress.begin("train the classifier", len(folds))
        for number, fold in enumerate(folds):
            head = self.trained([e for other in folds if other is not fold for e in other])
            curves.append([(probabilities(head, self._rows.of(e.index)), e.steps) for e in fold])
            progress.advance(number + 1)
        return curves

    def trained(self, episodes: Sequence[LabelledEpisode]) -> Head:
        """A head that has learned from these episodes, the same each time."""
        frames = [(one.index, *self._samples[one.index]) for one in episodes]
        rows = torch.from_numpy(np.concatenate([self._rows.of(i)[at] for i, at, _ in frames]))
        shown = torch.from_numpy(np.concatenate([target for *_, target in frames]))
        return _trained(rows, shown, self._settings)


def _samples(
    episode: LabelledEpisode, window: int, event: EventDeclaration, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of an episode to learn from, and whether each shows the event."""
    frames = np.arange(episode.length + 1)
    positive, unclear = np.zeros(len(frames), bool), np.zeros(len(frames), bool)
    for step in episode.steps:
        positive[step + 1 : step + 1 + window] = True
        unclear[max(step + 1 - window, 0) : step + 1] = True
        if event.ends:  # whether it still shows later, the label does not say
            unclear[step + 1 + window :] = True
    negative = np.flatnonzero(~positive & ~unclear)
    negative = rng.permutation(negative)[:NEGATIVES]
    chosen = np.concatenate([np.flatnonzero(positive), negative])
    return chosen, positive[chosen]


def _folds(
    episodes: Sequence[LabelledEpisode], settings: ClassifierSettings
) -> list[list[LabelledEpisode]]:
    """Episodes in parts, with and without the event as evenly as possible."""
    rng = np.random.default_rng(settings.seed)
    shuffled = [episodes[i] for i in rng.permutation(len(episodes))]
    ordered = sorted(shuffled, key=lambda episode: bool(episode.steps))
    count = min(settings.folds, sum(bool(episode.steps) for episode in episodes))
    return [ordered[number::count] for number in range(count)]


def _trained(rows: Tensor, shown: Tensor, settings: ClassifierSettings) -> Head:
    """A head fitted to rows [N, D], of which `shown` [N] says whether they show the event.

    A batch holds as many that do as that do not: an episode has one event and hundreds of frames.
    """
    if not shown.any() or shown.all():
        raise DataError("the classifier has frames of one sort alone to learn from; label more")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        head = Head(rows.mean(0), rows.std(0).clamp(min=1e-3))
        optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
        pools = [torch.nonzero(shown == value).squeeze(-1) for value in (True, False)]
        target = torch.cat([torch.ones(BATCH // 2), torch.zeros(BATCH // 2)])
        for _ in range(settings.updates):
            drawn = [pool[torch.randint(len(pool), (BATCH // 2,))] for pool in pools]
            loss = F.binary_cross_entropy_with_logits(head(rows[torch.cat(drawn)]), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head.eval()


@torch.no_grad()
def probabilities(head: Head, rows: np.ndarray) -> np.ndarray:
    """Rows [T+1, D] -> probability [T+1] that each shows the event."""
    return torch.sigmoid(head(torch.from_numpy(rows))).numpy()
