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
    been recorded. That the recorded states come again proves it; of a state that holds less with
    cameras, the components that both name are compared.

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
        self._compared = _in_common(self._store.spec, self.spec)
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
        for key, (there, here) in self._compared.items():
            error = float(np.abs(seen[key][here] - recorded.observations[key][step][there]).max())
            self.largest_errors[key] = max(error, self.largest_errors.get(key, 0.0))
            if error > self._tolerance:
                raise DataError(
                    f"{where}: at step {step} '{key}' is {error:.3g} away from what was recorded "
                    f"(--tolerance allows {self._tolerance:g}); another version of the simulator "
                    "or another kind of processor recorded it"
                )


def _in_common(recorded: DataSpec, seen: DataSpec) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Low-dimensional key -> which components of it, there and here, are the same thing.

    Raises:
        DataError: none is, so nothing could be proven.
    """
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for key in sorted({*recorded.state_keys} & {*seen.state_keys}):
        theirs, ours = (spec.names.get(key, ()) for spec in (recorded, seen))
        if recorded.observation_shapes[key] == seen.observation_shapes[key]:
            found[key] = (all_of := np.arange(seen.observation_shapes[key][0]), all_of)
        elif shared := [name for name in ours if name in theirs]:
            there, here = ([names.index(name) for name in shared] for names in (theirs, ours))
            found[key] = np.array(there), np.array(here)
    if not found:
        raise DataError(
            f"nothing of what was recorded ({', '.join(recorded.state_keys) or 'cameras alone'}) "
            f"is seen by {seen.env_id!r} now ({', '.join(seen.state_keys)}), so it could not be "
            "proven that the same states come again; render what this version collected"
        )
    return found
