"""Minari datasets and D4RL files (HDF5), in; Gymnasium-Robotics' Adroit data included.

Minari:  episode_3/observations [T+1, ...] or a group of such, actions, rewards, terminations,
         truncations [T], infos/...; metadata.json beside the file
D4RL:    observations, actions, rewards, terminals, timeouts [N, ...], all episodes end to end
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from softflow.data.batch import DataSpec, Episode
from softflow.data.files import read_json
from softflow.errors import DataError
from softflow.formats.source import joined, require_equal_lengths

STATE_KEY = "observation.state"
SUCCESS_INFOS = ("success", "is_success", "goal_achieved")
"""What environments call success in their infos, the first one found counts."""


class MinariSource:
    """A Minari dataset.

    Args:
        path: the dataset's folder, or its `main_data.hdf5`.
        control_hz: control steps a second; None takes what metadata.json says.
        end_at_success: cut an episode behind its first success and terminate it there.

    Raises:
        DataError: not such a dataset, or damaged; names the file and the fix.
    """

    def __init__(
        self, path: Path, *, control_hz: float | None = None, end_at_success: bool = True
    ) -> None:
        self.path = _main_data(path)
        self._end_at_success = end_at_success
        with _opened(self.path) as file:
            self._names = sorted(
                (name for name in file if re.fullmatch(r"episode_\d+", name)),
                key=lambda name: int(name.rpartition("_")[2]),
            )
            if not self._names:
                raise DataError(
                    f"{self.path} has no group episode_0 (it has {sorted(file)[:5]}); is it a "
                    "Minari dataset? D4RL files are imported as such"
                )
            state, names = self._state(file, self._names[0])
            low, high = _range_of_actions(
                self._array(file, name, "actions") for name in self._names
            )
        self.spec = DataSpec(
            {STATE_KEY: state.shape[1:]},
            len(low),
            tuple(low),
            tuple(high),
            control_hz or self._rate(),
            names={STATE_KEY: names},
        )

    def episodes(self) -> list[str]:
        """episode_0, episode_1, … in the order of their numbers."""
        return list(self._names)

    def read(self, name: str) -> Episode:
        """An episode; without success in its infos it counts as unlabelled."""
        with _opened(self.path) as file:
            state, _ = self._state(file, name)
            actions = self._array(file, name, "actions").astype(np.float32)
            rewards = self._array(file, name, "rewards").astype(np.float32)
            terminated = bool(self._array(file, name, "terminations")[-1])
            success = self._success(file, name, len(actions))
        lengths = {"actions": len(actions), "rewards": len(rewards), "observations": len(state) - 1}
        require_equal_lengths(lengths, f"{self.path}, {name}")
        return _episode(
            state,
            actions,
            rewards,
            success,
            terminated,
            {"source": str(self.path)},
            self._end_at_success,
        )

    def _state(self, file: h5py.File, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """All numeric observations side by side, float32 [T+1, n]."""
        group = cast("h5py.Group", file[name])
        if "observations" not in group:
            raise DataError(f"{self.path}, {name}: no 'observations'; download the dataset again")
        return joined(_leaves(group["observations"], "observations"))

    def _array(self, file: h5py.File, name: str, key: str) -> np.ndarray:
        group = cast("h5py.Group", file[name])
        if key not in group or isinstance(group[key], h5py.Group):
            raise DataError(
                f"{self.path}, {name}: no array '{key}' (it has {sorted(group)}); softflow needs "
                "a continuous action space and whole episodes"
            )
        return np.asarray(cast("h5py.Dataset", group[key]))

    def _success(self, file: h5py.File, name: str, length: int) -> np.ndarray | None:
        """bool [T], or None where the infos do not say."""
        for key in SUCCESS_INFOS:
            if f"{name}/infos/{key}" in file:
                values = np.asarray(cast("h5py.Dataset", file[f"{name}/infos/{key}"]))
                # Infos of reset come first where there is one more than actions.
                return values.reshape(-1)[-length:].astype(bool)
        return None

    def _rate(self) -> float:
        metadata = self.path.parent / "metadata.json"
        facts = read_json(metadata) if metadata.exists() else {}
        rate = facts.get("control_hz") if isinstance(facts, dict) else None
        if not isinstance(rate, int | float):
            raise DataError(
                f"{self.path}: the dataset does not say how many control steps a second has; give "
                "--control-hz (Adroit: 25, Franka kitchen: 12.5)"
            )
        return float(rate)


class D4RLSource:
    """A D4RL file: episodes end where `terminals` or `timeouts` is set.

    Args:
        path: the HDF5 file.
        control_hz: control steps a second; the files do not say.
        end_at_success: cut an episode behind its first success and terminate it there.

    Raises:
        DataError: not such a file, or damaged; names the file and the fix.
    """

    def __init__(self, path: Path, *, control_hz: float, end_at_success: bool = True) -> None:
        self.path, self._end_at_success = path, end_at_success
        with _opened(path) as file:
            for key in ("observations", "actions", "rewards", "terminals"):
                if key not in file:
                    raise DataError(
                        f"{path} has no '{key}' (it has {sorted(file)}); is it a D4RL file?"
                    )
            self._stretches = self._find_episodes(file)
            actions = cast("h5py.Dataset", file["actions"])
            state = cast("h5py.Dataset", file["observations"])
            low, high = _range_of_actions(actions[a:b] for a, b in self._stretches.values())
            shape = state.shape[1:]
        self.spec = DataSpec({STATE_KEY: shape}, len(low), tuple(low), tuple(high), control_hz)

    def _find_episodes(self, file: h5py.File) -> dict[str, tuple[int, int]]:
        """name -> first row and the row behind the last; the rest after the last end counts too."""
        ends = np.asarray(file["terminals"]).astype(bool).reshape(-1)
        if "timeouts" in file:
            ends |= np.asarray(file["timeouts"]).astype(bool).reshape(-1)
        stops = np.flatnonzero(ends) + 1
        if len(stops) == 0 or stops[-1] < len(ends):
            stops = np.append(stops, len(ends))
        starts = np.concatenate([[0], stops[:-1]])
        pairs = zip(starts.tolist(), stops.tolist(), strict=True)
        return {f"episode_{number}": pair for number, pair in enumerate(pairs)}

    def episodes(self) -> list[str]:
        """episode_0, episode_1, … in the order of the file."""
        return list(self._stretches)

    def read(self, name: str) -> Episode:
        """An episode; its final observation is the file's next one, or the last one again."""
        first, stop = self._stretches[name]
        with _opened(self.path) as file:

            def rows(key: str) -> np.ndarray:
                return np.asarray(cast("h5py.Dataset", file[key])[first:stop])

            state = rows("observations").astype(np.float32)
            final = rows("next_observations")[-1:] if "next_observations" in file else state[-1:]
            success = next(
                (
                    rows(f"infos/{key}").astype(bool)
                    for key in SUCCESS_INFOS
                    if f"infos/{key}" in file
                ),
                None,
            )
            terminated = bool(rows("terminals")[-1])
            actions = rows("actions").astype(np.float32)
            rewards = rows("rewards").astype(np.float32).reshape(-1)
        metadata: dict[str, Any] = {"source": str(self.path)}
        state = np.concatenate([state, final.astype(np.float32)])
        return _episode(
            state, actions, rewards, success, terminated, metadata, self._end_at_success
        )


def _episode(
    state: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    success: np.ndarray | None,
    terminated: bool,
    metadata: dict[str, Any],
    end_at_success: bool,
) -> Episode:
    reached = np.flatnonzero(success) if success is not None else np.zeros(0, np.int64)
    if success is None:
        metadata["unlabelled"] = True
    succeeded = len(reached) > 0
    length = int(reached[0]) + 1 if succeeded and end_at_success else len(actions)
    ends = terminated if length == len(actions) else True
    return Episode(
        {STATE_KEY: state[: length + 1]},
        actions[:length],
        rewards[:length],
        terminated=ends,
        truncated=not ends,
        success=succeeded,
        metadata=metadata,
    )


def _main_data(path: Path) -> Path:
    """The HDF5 file of a dataset's folder."""
    for candidate in (path, path / "main_data.hdf5", path / "data" / "main_data.hdf5"):
        if candidate.is_file():
            return candidate
    raise DataError(f"no main_data.hdf5 in {path}; give the dataset's folder or that file")


def _leaves(node: Any, name: str) -> dict[str, np.ndarray]:
    """Every array below a group, by its path."""
    if isinstance(node, h5py.Group):
        found: dict[str, np.ndarray] = {}
        for key in sorted(node):
            found |= _leaves(node[key], f"{name}/{key}")
        return found
    return {name: np.asarray(node)}


def _range_of_actions(parts: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest action, one episode at a time."""
    low = high = np.zeros(0)
    for actions in parts:
        if actions.ndim != 2:
            raise DataError(
                f"actions have shape {actions.shape}; softflow needs vectors, [steps, components]"
            )
        least, most = actions.min(axis=0), actions.max(axis=0)
        low = least if low.size == 0 else np.minimum(low, least)
        high = most if high.size == 0 else np.maximum(high, most)
    return low.astype(np.float32), high.astype(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error}; download the file again, it may have been cut"
        ) from error
