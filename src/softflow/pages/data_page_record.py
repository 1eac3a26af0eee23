"""What the page of a dataset is drawn from: bounded samples, gathered in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softflow.curation.components import rows_of
from softflow.curation.lag_correlation import LagCorrelation
from softflow.curation.row_sample import RowSample, sample_rows
from softflow.curation.summary_statistics import KeyStatistics, RowStatistics, component_names
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import EpisodeSummary
from softflow.data.labels import outcome_known
from softflow.sampling.frame_cache import FrameCache
from softflow.utils.progress import ProgressReporter

MOST_EPISODES = 2_000
"""Episodes whose arrays are read; lengths, returns and outcomes are of all."""
COVERAGE_ROWS = 20_000
TIMELINE_EPISODES = 120
REWARD_ROWS = 100_000
THUMBNAIL_EPISODES = 6
THUMBNAIL_CAMERAS = 4
THUMBNAIL_WIDTH = 200


OUTCOMES = {"success": "success", "failure": "no success", "data": "not labelled"}
"""How an episode went, as the CSS class of its colour → what it is called."""


def outcome_of(success: bool, metadata: Mapping[str, Any]) -> str:
    """A key of `OUTCOMES`."""
    if not outcome_known(metadata):
        return "data"
    return "success" if success else "failure"


@dataclass(frozen=True)
class Thumbnails:
    """Frames of one episode: of each camera the first, the middle and the last.

    Args:
        index: the episode.
        outcome: a key of `OUTCOMES`.
        steps: the observations shown.
        frames: camera key → uint8 `[3, height, width, 3]`.
    """

    index: int
    outcome: str
    steps: tuple[int, int, int]
    frames: dict[str, np.ndarray]


@dataclass(frozen=True)
class Timeline:
    """The rewards of one episode.

    Args:
        index: the episode.
        length: control steps.
        outcome: a key of `OUTCOMES`.
        steps, values: control steps with a reward other than 0, and these rewards.
    """

    index: int
    length: int
    outcome: str
    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class DataRecord:
    """A dataset as the page sees it.

    Args:
        path, spec: of the store.
        summaries: of all episodes.
        num_read: episodes of which the arrays were read.
        statistics: of states, action and reward over the episodes read.
        actions: sample `[N, A]`.
        states: sample `[M, D]` of all state components side by side.
        state_outcome: `[M]`, for each row the number of its episode's outcome in `OUTCOMES`.
        correlation: `[lags + 1, A]`, see `LagCorrelation`.
        rewards: sample `[K, 3]`: time in the episode (s), reward, number of the outcome.
        reward_share: share of the control steps read with a reward other than 0.
        timelines: of some episodes.
        thumbnails: of a few.
    """

    path: Path
    spec: DataSpec
    summaries: list[EpisodeSummary]
    num_read: int
    statistics: list[KeyStatistics]
    actions: np.ndarray
    states: np.ndarray
    state_outcome: np.ndarray
    correlation: np.ndarray
    rewards: np.ndarray
    reward_share: float
    timelines: list[Timeline]
    thumbnails: list[Thumbnails]


def gather(store: EpisodeStore, lags: int, progress: ProgressReporter) -> DataRecord:
    """Read what the page needs, one episode at a time.

    Args:
        store: at least one episode.
        lags: control steps over which actions are compared.
        progress: told about each episode.

    Raises:
        StoreError: an episode cannot be read.
    """
    chosen = _some(range(len(store)), MOST_EPISODES)
    shown = set(_some(chosen, TIMELINE_EPISODES))
    gathering = _Gathering(store.spec, lags)
    progress.begin("read", len(chosen))
    for done, index in enumerate(chosen, 1):
        gathering.add(index, store.episode(index, with_images=False), index in shown)
        progress.advance(done)
    summaries = store.summaries()
    return gathering.record(store, summaries, len(chosen), _thumbnails(store, summaries))


def _some(numbers: Sequence[int], most: int) -> list[int]:
    """At most so many of these numbers, in order, always the same ones."""
    # All of them first; a sample that keeps 1 in 2 ** n may hold half of what is wanted.
    sample = RowSample(2 * most)
    sample.add(np.asarray(numbers, np.int64))
    kept = sample.rows
    places = np.linspace(0, len(kept) - 1, min(most, len(kept))).round().astype(int)
    return [int(number) for number in kept[places]]


class _Gathering:
    """The running samples."""

    def __init__(self, spec: DataSpec, lags: int) -> None:
        self._spec = spec
        self._keys = [*spec.state_keys, "action", "next.reward"]
        self._statistics: dict[str, RowStatistics] = {}
        self._actions = RowSample(sample_rows(spec.action_dim))
        self._states: RowSample | None = None
        self._correlation = LagCorrelation(spec.action_dim, lags)
        self._rewards = RowSample(REWARD_ROWS)
        self._rewarded = self._steps = 0
        self._timelines: list[Timeline] = []

    def add(self, index: int, episode: Episode, shown: bool) -> None:
        for key in self._keys:
            rows = rows_of(episode, key)
            self._statistics.setdefault(key, RowStatistics(rows.shape[1])).add(rows)
        self._actions.add(episode.actions)
        self._correlation.add(episode.actions)
        outcome = outcome_of(episode.success, episode.metadata)
        self._add_states(episode, list(OUTCOMES).index(outcome))
        self._add_rewards(episode, list(OUTCOMES).index(outcome))
        if shown:
            steps = np.flatnonzero(episode.rewards)
            line = Timeline(index, episode.length, outcome, steps, episode.rewards[steps])
            self._timelines.append(line)

    def _add_states(self, episode: Episode, outcome: int) -> None:
        if not self._spec.state_keys:
            return
        outcomes = np.full((episode.length + 1, 1), outcome, np.float32)
        columns = [rows_of(episode, key) for key in self._spec.state_keys]
        rows = np.concatenate([*columns, outcomes], axis=1)
        if self._states is None:
            self._states = RowSample(min(COVERAGE_ROWS, sample_rows(rows.shape[1])))
        self._states.add(rows)

    def _add_rewards(self, episode: Episode, outcome: int) -> None:
        time_s = (np.arange(episode.length) + 1) / self._spec.control_hz
        outcomes = np.full(episode.length, outcome)
        self._rewards.add(np.stack([time_s, episode.rewards, outcomes], axis=1))
        self._rewarded += int(np.count_nonzero(episode.rewards))
        self._steps += episode.length

    def record(
        self,
        store: EpisodeStore,
        summaries: list[EpisodeSummary],
        num_read: int,
        thumbnails: list[Thumbnails],
    ) -> DataRecord:
        spec = self._spec
        states = self._states.rows if self._states else np.zeros((0, 1), np.float32)
        return DataRecord(
            path=store.path,
            spec=spec,
            summaries=summaries,
            num_read=num_read,
            statistics=[
                s.result(key, component_names(spec, key)) for key, s in self._statistics.items()
            ],
            actions=self._actions.rows,
            states=states[:, :-1],
            state_outcome=states[:, -1].astype(int),
            correlation=self._correlation.result(),
            rewards=self._rewards.rows,
            reward_share=self._rewarded / self._steps,
            timelines=self._timelines,
            thumbnails=thumbnails,
        )


def _thumbnails(store: EpisodeStore, summaries: Sequence[EpisodeSummary]) -> list[Thumbnails]:
    """Frames of a few episodes, as many successes as others if there are."""
    cameras = store.spec.image_keys[:THUMBNAIL_CAMERAS]
    if not cameras:
        return []
    groups = [[s.index for s in summaries if s.success == success] for success in (True, False)]
    half = THUMBNAIL_EPISODES // 2
    counts = [max(half, THUMBNAIL_EPISODES - len(other)) for other in reversed(groups)]
    chosen = [i for group, count in zip(groups, counts, strict=True) for i in _some(group, count)]
    return [_episode_thumbnails(store, summaries[index], cameras) for index in sorted(chosen)]


def _episode_thumbnails(
    store: EpisodeStore, summary: EpisodeSummary, cameras: Sequence[str]
) -> Thumbnails:
    """Only the pieces that hold the three frames are decoded."""
    steps = (0, summary.length // 2, summary.length)
    read = FrameCache(store, max_bytes=0).frames(
        cameras, np.full(len(steps), summary.index), np.array(steps)
    )
    frames = {key: np.stack([_shrunk(frame) for frame in shown]) for key, shown in read.items()}
    outcome = outcome_of(summary.success, summary.metadata)
    return Thumbnails(summary.index, outcome, steps, frames)


def _shrunk(frame: np.ndarray) -> np.ndarray:
    """A frame not much wider than a thumbnail, by averaging whole blocks of pixels."""
    block = max(1, round(frame.shape[1] / THUMBNAIL_WIDTH))
    height, width = frame.shape[0] // block, frame.shape[1] // block
    if height == 0 or block == 1:
        return frame
    cut = frame[: height * block, : width * block].astype(np.float32)
    return cut.reshape(height, block, width, block, 3).mean(axis=(1, 3)).round().astype(np.uint8)
