"""D4RL files (HDF5), in, such as door-human-v1.hdf5 or hopper-medium-v2.hdf5.

observations, actions, rewards, terminals    [N, ...], all episodes end to end
timeouts              [N]: where an episode was cut; absent in some files
next_observations     [N, ...]: what was seen after each action; absent in many files
infos/...             [N, ...]: goal_achieved; qpos, qvel, door_body_pos, … of the simulator
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.files.limits import array_bytes, require_episode_bytes
from softflow.errors import DataError
from softflow.formats.contents import Part
from softflow.formats.faults import require_valid
from softflow.formats.hdf5.files import (
    has,
    member,
    member_array,
    opened,
    require_stored,
    values_of,
)
from softflow.formats.hdf5.tree import Tally, leaves
from softflow.formats.outcome import SUCCESS_INFOS, episode_of, range_of_actions
from softflow.formats.rates import control_rate
from softflow.formats.source import require_equal_lengths

ACTION_BOUND = 1.0
"""D4RL's environments take actions of -1 to 1."""
SIMULATOR_INFOS = re.compile(r"qpos|qvel|\w+_pos|desired_orien")
"""Infos that set the simulator to where an episode began."""
WHOLE = "is it a D4RL file? Download it again"


class D4RLSource:
    """A D4RL file: episodes end where `terminals` or `timeouts` is set.

    Without success among its infos an episode counts as unlabelled. What the simulator's infos held
    at its first step is kept in the metadata, as "initial_state".

    Args:
        path: the HDF5 file.
        control_hz: control steps a second; None takes what is known of the file's name.
        max_episode_steps: cut episodes after so many steps, for files without `timeouts`.
        end_at_success: cut an episode behind its first success and terminate it there.

    Raises:
        DataError: not such a file, or damaged; names the file and the fix.
    """

    def __init__(
        self,
        path: Path,
        *,
        control_hz: float | None = None,
        max_episode_steps: int | None = None,
        end_at_success: bool = True,
    ) -> None:
        self.path, self._end_at_success = path, end_at_success
        if max_episode_steps is not None and max_episode_steps < 1:
            raise DataError(f"--max-episode-steps is {max_episode_steps}; give 1 or more")
        with opened(path) as file:
            self._arrays = self._check_arrays(file)
            self._stretches = self._find_episodes(file, max_episode_steps)
            actions = values_of(self._array(file, "actions"))
            low, high = range_of_actions(
                ((f"{path}, {name}", actions[a:b]) for name, (a, b) in self._stretches.items()),
                ACTION_BOUND,
            )
            shape = self._array(file, "observations").shape[1:]
        rate = control_rate(control_hz, path.stem, str(path))
        self.spec = DataSpec({STATE_KEY: shape}, len(low), tuple(low), tuple(high), rate)

    def _check_arrays(self, file: h5py.File) -> list[str]:
        """Names of all arrays with a row a step."""
        required = ["observations", "actions", "rewards", "terminals"]
        optional = [key for key in ("timeouts", "next_observations") if has(file, key)]
        infos = member(file, "infos")
        if isinstance(infos, h5py.Group):
            optional += [f"infos/{name}" for name in map(str, infos) if _is_wanted(name)]
        names = required + optional
        arrays = {name: self._array(file, name) for name in names}
        for array in arrays.values():
            require_stored(array)
        lengths = {name: len(array) for name, array in arrays.items()}
        if require_equal_lengths(lengths, str(self.path)) == 0:
            raise DataError(f"{self.path} has 0 steps; {WHOLE}")
        return names

    def _find_episodes(self, file: h5py.File, longest: int | None) -> dict[str, tuple[int, int]]:
        ends = self._flags(file, "terminals")
        if "timeouts" in self._arrays:
            ends |= self._flags(file, "timeouts")
        if longest is None and not ends.any():
            raise DataError(
                f"{self.path}: neither 'timeouts' nor 'terminals' is set in {len(ends)} steps; say "
                "how long its episodes are (--max-episode-steps)"
            )
        return {f"episode_{n}": rows for n, rows in enumerate(stretches(ends, longest))}

    def contents(self) -> list[Part]:
        """Every array of the file."""
        becomes = {
            "observations": STATE_KEY,
            "next_observations": "the final observation",
            "actions": "action",
            "rewards": "next.reward",
            "terminals": "ends, terminated",
            "timeouts": "ends, truncated",
        }
        for name in self._arrays:
            if name.startswith("infos/"):
                told = name.removeprefix("infos/") in SUCCESS_INFOS
                becomes[name] = "success" if told else "metadata initial_state"
        tally = Tally(lambda leaf: "nothing of the kind is stored")
        with opened(self.path) as file:
            tally.see(leaves(file))
        return tally.parts({name: becomes[name] for name in self._arrays})

    def episodes(self) -> list[str]:
        """episode_0, episode_1, … in the order of the file."""
        return list(self._stretches)

    def read(self, name: str) -> Episode:
        """An episode; its final observation is the file's next one, or the last one again.

        Raises:
            DataError: NaN; names the place.
        """
        first, stop = self._stretches[name]
        with opened(self.path) as file:
            arrays = {key: self._array(file, key) for key in self._arrays}
            size = sum(array_bytes(a.shape[1:], a.dtype.itemsize) for a in arrays.values())
            require_episode_bytes(size * (stop - first), f"{self.path}, {name}")
            rows = {key: np.asarray(array[first:stop]) for key, array in arrays.items()}
            episode = self._episode(rows)
        require_valid(episode, self.spec, f"{self.path}, {name} (rows {first} to {stop - 1})")
        return episode

    def _episode(self, rows: dict[str, np.ndarray]) -> Episode:
        metadata = self._metadata(rows)
        observed = rows["observations"]
        final = rows.get("next_observations", observed)[-1:]
        told = [rows[f"infos/{key}"] for key in SUCCESS_INFOS if f"infos/{key}" in rows]
        return episode_of(
            {STATE_KEY: np.concatenate([observed, final]).astype(np.float32)},
            rows["actions"],
            rows["rewards"],
            told[0].reshape(-1).astype(bool) if told else None,
            terminated=bool(rows["terminals"].reshape(-1)[-1]),
            metadata=metadata,
            end_at_success=self._end_at_success,
        )

    def _metadata(self, rows: dict[str, np.ndarray]) -> dict[str, Any]:
        metadata: dict[str, Any] = {"source": str(self.path), "environment": self.path.stem}
        if "next_observations" not in rows:
            metadata["final_observation"] = "repeated"
        simulator = {
            key.removeprefix("infos/"): values[0].tolist()
            for key, values in rows.items()
            if SIMULATOR_INFOS.fullmatch(key.removeprefix("infos/"))
        }
        return metadata | ({"initial_state": simulator} if simulator else {})

    def _flags(self, file: h5py.File, name: str) -> np.ndarray:
        """bool [N]."""
        return values_of(self._array(file, name)).astype(bool).reshape(-1)

    def _array(self, file: h5py.File, name: str) -> h5py.Dataset:
        return member_array(file, name, WHOLE)


def stretches(ends: np.ndarray, longest: int | None = None) -> list[tuple[int, int]]:
    """First row of every episode and the row behind its last; together they are all rows.

    Args:
        ends: bool [N], true where an episode ends; rows behind the last end are an episode too.
        longest: no episode has more steps; None sets no limit.
    """
    stops: list[int] = []
    for stop in [*(np.flatnonzero(ends) + 1).tolist(), len(ends)]:
        first = stops[-1] if stops else 0
        stops += range(first + longest, stop, longest) if longest else ()
        stops += [stop] if stop > first else []
    return list(itertools.pairwise([0, *stops]))


def _is_wanted(info: str) -> bool:
    return info in SUCCESS_INFOS or SIMULATOR_INFOS.fullmatch(info) is not None
