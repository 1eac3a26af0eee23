"""The one loop that copies a foreign dataset into an episode store, episode by episode."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from softflow.data.batch import DataSpec, Episode, is_image_key
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.frames import resized
from softflow.formats.source import Source
from softflow.progress import ProgressReporter

IMPORTED = "imported"
"""Metadata key: which episode of which file or folder this one was."""
Outcome = Literal["unknown", "success", "failure"]


def import_into(
    source: Source,
    store_path: Path,
    progress: ProgressReporter,
    *,
    env_id: str = "",
    unlabelled: Outcome = "unknown",
    skip_bad: bool = False,
    image_size: tuple[int, int] | None = None,
) -> int:
    """Copy what is not there yet into a store, new or existing; an interrupted import goes on.

    Args:
        source: the dataset.
        store_path: the store; several sources may fill one, if they hold the same kind of data.
        progress: told after every episode.
        env_id: the environment to evaluate policies in, if there is one for this data.
        unlabelled: what episodes without rewards are taken for; success earns 1 at the last step.
        skip_bad: leave unusable episodes out, and say why, instead of stopping.
        image_size: (height, width) to bring all cameras to; None leaves them as they are.

    Returns:
        How many episodes were imported now.

    Raises:
        DataError: the store holds data of another kind, or an episode is unusable.
    """
    names = source.episodes()
    spec = replace(source.spec, env_id=env_id or source.spec.env_id)
    if image_size is not None:
        spec = _with_image_size(spec, image_size)
    origin = str(source.path)
    imported = 0
    with EpisodeStore.open_or_create(store_path, spec) as store:
        there = {summary.metadata.get(IMPORTED) for summary in store.summaries()}
        missing = [name for name in names if f"{origin}: {name}" not in there]
        progress.begin("import", len(names), len(names) - len(missing))
        for done, name in enumerate(missing, len(names) - len(missing) + 1):
            try:
                episode = taken_as(source.read(name), unlabelled)
                if image_size is not None:
                    episode = _resized(episode, image_size)
                episode.metadata[IMPORTED] = f"{origin}: {name}"
                store.append(episode)
                imported += 1
            except DataError as error:
                if not skip_bad:
                    raise DataError(
                        f"{error} (--skip-bad goes on without such episodes)"
                    ) from error
                progress.say(f"left out {name}: {error}")
            progress.advance(done, name)
    return imported


def _with_image_size(spec: DataSpec, size: tuple[int, int]) -> DataSpec:
    shapes = {
        key: (*size, 3) if is_image_key(key) else shape
        for key, shape in spec.observation_shapes.items()
    }
    return replace(spec, observation_shapes=shapes)


def _resized(episode: Episode, size: tuple[int, int]) -> Episode:
    observations = {
        key: np.stack([resized(frame, size) for frame in values]) if is_image_key(key) else values
        for key, values in episode.observations.items()
    }
    return replace(episode, observations=observations)


def taken_as(episode: Episode, outcome: Outcome) -> Episode:
    """An episode without rewards, with an outcome that somebody vouches for; others unchanged."""
    if outcome == "unknown" or not episode.metadata.get("unlabelled"):
        return episode
    success = outcome == "success"
    rewards = np.zeros_like(episode.rewards)
    rewards[-1] = success
    metadata = {key: value for key, value in episode.metadata.items() if key != "unlabelled"}
    return replace(
        episode,
        rewards=rewards,
        terminated=success or episode.terminated,
        truncated=not (success or episode.terminated),
        success=success,
        metadata=metadata | {"outcome_from": f"import --unlabelled {outcome}"},
    )
