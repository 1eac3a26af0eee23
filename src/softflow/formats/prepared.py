"""A source whose episodes are read as they are to be stored: chosen, resized, outcome said."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from softflow.data.action_space import ActionSpace
from softflow.data.data_spec import DataSpec, is_image_key
from softflow.data.episode import Episode
from softflow.data.labels import OUTCOME_FROM, TAKEN_AT_IMPORT
from softflow.errors import DataError
from softflow.formats.choice import chosen
from softflow.formats.contents import Notes
from softflow.formats.frames import resized
from softflow.formats.source import Source

Outcome = Literal["unknown", "success", "failure"]


class Prepared:
    """A source whose episodes are read as they are to be stored.

    Args:
        source: the dataset.
        env_id: the environment to evaluate policies in, if there is one for this data.
        unlabelled: what episodes that say nothing of success are taken for; rewards that were
            recorded stay, others become 1 at the last step of a success.
        image_size: (height, width) to bring all cameras to; None leaves them as they are.
        actions: bounds that the source does not know, or knows too narrow.
        episodes: which of its episodes, by their positions (`choice.chosen`); "" takes all.

    Raises:
        ConfigError, DataError: the bounds do not fit the data's components.
    """

    def __init__(
        self,
        source: Source,
        *,
        env_id: str = "",
        unlabelled: Outcome = "unknown",
        image_size: tuple[int, int] | None = None,
        actions: ActionSpace | None = None,
        episodes: str = "",
    ) -> None:
        self.path, self._episodes = source.path, episodes
        self._source, self._image_size = source, image_size
        self._unlabelled: Outcome = unlabelled
        spec = (actions or ActionSpace()).given_to(source.spec)
        spec = replace(spec, env_id=env_id or source.spec.env_id)
        self.spec = spec if image_size is None else _with_image_size(spec, image_size)

    def episodes(self) -> list[str]:
        """The source's, or those of them that were chosen."""
        return chosen(self._source.episodes(), self._episodes)

    def oddities(self) -> list[str]:
        """What the source noticed since it was asked last, and is no fault."""
        notes = getattr(self._source, "notes", None)
        return notes.drained() if isinstance(notes, Notes) else []

    def read(self, name: str) -> Episode:
        """An episode, with the outcome and the image size that were asked for.

        Raises:
            DataError: as the source, or it does not fit into memory.
        """
        try:
            episode = taken_as(self._source.read(name), self._unlabelled)
            return episode if self._image_size is None else _resized(episode, self._image_size)
        except MemoryError as error:
            raise DataError(
                f"{self.path}, {name} does not fit into memory; cut the recording into shorter "
                "episodes, or take fewer or smaller cameras"
            ) from error


def _with_image_size(spec: DataSpec, size: tuple[int, int]) -> DataSpec:
    shapes = {
        key: (*size, 3) if is_image_key(key) else shape
        for key, shape in spec.observation_shapes.items()
    }
    return replace(spec, observation_shapes=shapes)


def _resized(episode: Episode, size: tuple[int, int]) -> Episode:
    observations = {
        # A source that was told the size has brought them to it already.
        key: np.stack([resized(frame, size) for frame in values])
        if is_image_key(key) and values.shape[1:3] != size
        else values
        for key, values in episode.observations.items()
    }
    return replace(episode, observations=observations)


def taken_as(episode: Episode, outcome: Outcome) -> Episode:
    """An episode that says nothing of success, with an outcome that somebody vouches for.

    Rewards that were recorded stay; where all are 0, success earns 1 at the last step. Episodes
    that tell how they went stay as they are.
    """
    if outcome == "unknown" or not episode.metadata.get("unlabelled"):
        return episode
    success = outcome == "success"
    rewards = episode.rewards.copy()
    if not rewards.any():
        rewards[-1] = success
    metadata = {key: value for key, value in episode.metadata.items() if key != "unlabelled"}
    return replace(
        episode,
        rewards=rewards,
        terminated=success or episode.terminated,
        truncated=not (success or episode.terminated),
        success=success,
        metadata=metadata | {OUTCOME_FROM: TAKEN_AT_IMPORT + outcome},
    )
