"""Episodes played again from their seed and actions, seen by an environment with cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.metadata import metadata_value
from softflow.envs.contract import Observation, RobotEnv, data_spec
from softflow.errors import DataError

SEED = "seed"
"""Metadata key of the seed an episode's environment was reset with."""


class ReplayedStore:
    """The episodes of a store, as an environment sees them; a `formats.source.Source`.

    An environment gives the same states for the same seed and actions, so nothing else need have
    been recorded. That the recorded states come again proves it.

    Args:
        path: the store.
        env: plays them; with cameras if there are to be pictures.
        env_id: its name.
        tolerance: how much recorded observations may differ from those seen now.

    Raises:
        DataError: the store is of another environment.
    """

    def __init__(self, path: Path, env: RobotEnv, env_id: str, *, tolerance: float) -> None:
        self.path, self._env, self._tolerance = path, env, tolerance
        self._store = EpisodeStore.open(path)
        self.spec: DataSpec = data_spec(env, env_id)
        if self._store.spec.env_id != env_id:
            raise DataError(
                f"'{path}' is of the environment {self._store.spec.env_id or 'nobody named'!r}, "
                f"not of {env_id!r}; only there can it be played again"
            )
        self.largest_errors: dict[str, float] = {}
        """Key -> how much it differed at most, over all that was read so far."""

    def episodes(self) -> list[str]:
        """0, 1, … as text."""
        return [str(index) for index in range(len(self._store))]

    def read(self, name: str) -> Episode:
        """An episode, seen again.

        Raises:
            DataError: it does not say its seed, or other states than the recorded ones came.
        """
        where = f"episode {name} of '{self.path}'"
        recorded = self._store.episode(int(name), with_images=False)
        seed = metadata_value(recorded.metadata, SEED, int, 0, where)
        if SEED not in recorded.metadata:
            raise DataError(
                f"{where} does not say the seed of its environment (metadata '{SEED}'), and holds "
                "no simulator states; only what softflow recorded in simulation can be seen again"
            )
        observation, _ = self._env.reset(seed=seed)
        seen = [observation]
        self._compare(recorded, seen[-1], 0, where)
        for step, action in enumerate(recorded.actions, 1):
            observation, _, terminated, truncated, _ = self._env.step(action)
            seen.append(observation)
            self._compare(recorded, observation, step, where)
            if (terminated or truncated) and step < recorded.length:
                raise DataError(
                    f"{where}: it ended at step {step} when it was played again, recorded are "
                    f"{recorded.length} steps; another version of the simulator recorded it"
                )
        arrays = {key: np.stack([moment[key] for moment in seen]) for key in observation}
        return replace(recorded, observations=arrays)

    def _compare(self, recorded: Episode, seen: Observation, step: int, where: str) -> None:
        for key, values in recorded.observations.items():
            error = float(np.abs(seen[key] - values[step]).max())
            self.largest_errors[key] = max(error, self.largest_errors.get(key, 0.0))
            if error > self._tolerance:
                raise DataError(
                    f"{where}: at step {step} '{key}' is {error:.3g} away from what was recorded "
                    f"(--tolerance allows {self._tolerance:g}); another version of the simulator "
                    "or another kind of processor recorded it"
                )
