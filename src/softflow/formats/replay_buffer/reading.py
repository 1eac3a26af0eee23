"""Replay buffers of Diffusion Policy and UMI: every episode end to end in one Zarr group.

data/KEY             [N, ...]: img, state, action (Diffusion Policy); camera0_rgb, robot0_eef_pos,
                     robot0_eef_rot_axis_angle, robot0_gripper_width (UMI)
meta/episode_ends    int [episodes]: the row behind the last one of each

UMI stores no action: what the hand did is where it went. Then the action of a step is the pose and
the width of the next one, and an episode of n rows has n - 1 steps, its final observation recorded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.files.limits import MIB, array_bytes
from softflow.errors import DataError
from softflow.formats.contents import Notes, Part, spans
from softflow.formats.faults import Faults, require_valid
from softflow.formats.frames import (
    looks_like_camera,
    resized,
    rgb_frames,
    rgb_shape,
    room_for_frames,
)
from softflow.formats.outcome import episode_of, range_of_actions
from softflow.formats.replay_buffer.arrays import ZarrArray
from softflow.formats.replay_buffer.entries import ENDS, Entries
from softflow.formats.source import component_names, joined, repeated_last, require_distinct

DATA = "data/"
ACTION = "action"
POSES = re.compile(r"robot\d+_(eef_pos|eef_rot_axis_angle|gripper_width)")
"""UMI's arrays that are the next step's action."""
CONSTANT = re.compile(r"robot\d+_demo_(start|end)_pose")
"""UMI's poses of the whole demonstration, the same in every row: its end is the future."""
PIECE_BYTES = 32 * MIB
MAX_COMPONENTS = 10_000
"""Of one array, each of which has a name."""
Size = tuple[int, int]


class ReplayBufferSource:
    """The episodes of a replay buffer. None says whether it succeeded: they count as unlabelled.

    Args:
        path: the `.zarr` folder, a folder with one in it, or a `.zarr.zip`.
        control_hz: rows a second; the format does not say it.
        action_key: arrays that are the action, side by side; "action" when empty or, where there is
            none, the next step's pose and gripper width (UMI).
        state_keys: arrays that make up `observation.state`, in this order; all vectors when empty,
            but for the demonstration's first and last pose.
        cameras: arrays of pictures to take; all when None.
        image_size: (height, width) that cameras are brought to as they are read; None leaves them.

    Raises:
        DataError: not such a dataset, damaged, or without what was asked for; names what there is.
    """

    def __init__(
        self,
        path: Path,
        *,
        control_hz: float | None = None,
        action_key: Sequence[str] = (),
        state_keys: Sequence[str] = (),
        cameras: Sequence[str] | None = None,
        image_size: Size | None = None,
    ) -> None:
        self.path, self._size = path, image_size
        self.notes = Notes()
        """What is odd about episodes as they are read."""
        if control_hz is None:
            raise DataError(
                f"{path} does not say how many steps a second has; give --control-hz (UMI records "
                "60, Diffusion Policy's tasks 10)"
            )
        self._entries = Entries(path)
        names = self._entries.arrays()
        self._arrays = {
            name.removeprefix(DATA): ZarrArray.of(self._entries, name)
            for name in names
            if name.startswith(DATA)
        }
        self._others = [name for name in names if not name.startswith(DATA)]
        self._stretches = self._episodes()
        self._cameras = self._chosen(cameras, [k for k, a in self._arrays.items() if _seen(a)])
        self._from_next = not action_key and ACTION not in self._arrays
        self._actions = self._chosen_actions(tuple(action_key))
        numbers = [k for k, a in self._arrays.items() if not _seen(a)]
        taken = (ACTION, *action_key)
        usual = [k for k in numbers if len(self._arrays[k].shape) <= 2 and k not in taken]
        usual = [k for k in usual if not CONSTANT.fullmatch(k)]
        self._states = self._chosen(state_keys or None, usual, numbers)
        if not self._states and not self._cameras:
            raise DataError(f"{path} holds no observations: {sorted(self._arrays)}")
        low, high = range_of_actions([(str(path), self._all_actions())], None)
        shapes, components = self._described()
        self.spec = DataSpec(
            shapes, len(low), tuple(low), tuple(high), control_hz, names=components
        )

    def episodes(self) -> list[str]:
        """episode_0, episode_1, … in the order of the file."""
        return list(self._stretches)

    def read(self, name: str) -> Episode:
        """An episode; its final observation is its last row, or that row again.

        Raises:
            DataError: a piece is damaged, or a value NaN; names the place.
        """
        first, stop = self._stretches[name]
        where = f"{self.path}, {name} (rows {first} to {stop - 1})"
        faults, observations = Faults(), dict[str, np.ndarray]()
        for key in self._cameras:
            with faults.of_a_part():
                observations[_camera_key(key)] = self._frames(key, first, stop)
        with faults.of_a_part():
            if self._states:
                state, _ = joined(self._rows(self._states, first, stop))
                observations[STATE_KEY] = state if self._from_next else repeated_last(state)
        with faults.of_a_part():
            actions, _ = joined(self._rows(self._actions, first, stop))
        faults.raise_any()
        actions = actions[1:] if self._from_next else actions
        told = {"final_observation": "repeated"} if not self._from_next else {}
        episode = episode_of(
            observations,
            actions,
            np.zeros(len(actions), np.float32),
            None,
            terminated=False,
            metadata={"source": str(self.path), "rows": [first, stop], **told},
            end_at_success=False,
        )
        require_valid(episode, self.spec, where)
        return episode

    def contents(self) -> list[Part]:
        """Every array of the group."""
        states = [(key, self._width(key)) for key in self._states]
        acted = "the next row's action" if self._from_next else "action"
        becomes = spans(states, STATE_KEY) | {key: _camera_key(key) for key in self._cameras}
        for key, place in spans([(k, self._width(k)) for k in self._actions], acted).items():
            becomes[key] = f"{becomes[key]}, {place}" if key in becomes else place
        parts = [
            Part(DATA + key, array.shape[1:], array.kind, becomes.get(key, ""))
            if key in becomes
            else Part(DATA + key, array.shape[1:], array.kind, why=_why_not(key, array))
            for key, array in self._arrays.items()
        ]
        for name in self._others:
            used = "the episodes' ends" if name == ENDS else ""
            why = "" if used else "it is no row of data"
            parts.append(Part(name, None, "", used, why))
        return parts

    # ---- what there is ----------------------------------------------------------------------

    def _episodes(self) -> dict[str, tuple[int, int]]:
        """First row of every episode and the row behind its last."""
        ends = ZarrArray.of(self._entries, ENDS)
        stops = [int(stop) for stop in ends.rows(0, ends.shape[0])[0].reshape(-1)]
        lengths = {key: array.shape[0] for key, array in self._arrays.items()}
        if not stops or not lengths:
            raise DataError(f"{self.path} holds no episodes; choose another dataset")
        wrong = any(b <= a for a, b in zip([0, *stops], stops, strict=False))
        if wrong or stops[-1] > min(lengths.values()):
            short = min(lengths, key=lambda key: lengths[key])
            raise DataError(
                f"{self.path}: {ENDS} is {stops[:5]} … {stops[-1]}, but '{short}' has "
                f"{lengths[short]} rows; the file was cut, download it again"
            )
        if stops[-1] < min(lengths.values()):
            self.notes.add(
                f"{self.path}: the rows from {stops[-1]} on belong to no episode; they are left out"
            )
        return {
            f"episode_{n}": rows for n, rows in enumerate(zip([0, *stops], stops, strict=False))
        }

    def _chosen(
        self, wanted: Sequence[str] | None, usual: list[str], allowed: list[str] | None = None
    ) -> list[str]:
        there = usual if allowed is None else allowed
        if absent := [key for key in wanted or () if key not in there]:
            raise DataError(f"{self.path} has no array '{absent[0]}' of that kind; it has {there}")
        return usual if wanted is None else list(wanted)

    def _chosen_actions(self, wanted: tuple[str, ...]) -> list[str]:
        vectors = [key for key, array in self._arrays.items() if len(array.shape) <= 2]
        if wanted:
            return self._chosen(wanted, vectors)
        if ACTION in self._arrays:
            return [ACTION]
        if poses := [key for key in vectors if POSES.fullmatch(key)]:
            return sorted(poses)
        raise DataError(
            f"{self.path} has no array '{ACTION}' and no poses of UMI (it has "
            f"{sorted(self._arrays)}); say which are the action: --action-key NAME …"
        )

    def _described(self) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[str, ...]]]:
        """Shapes of the store's keys, and names of components."""
        require_distinct({key: _camera_key(key) for key in self._cameras}, str(self.path))
        shapes: dict[str, tuple[int, ...]] = {}
        for key in self._cameras:
            array = self._arrays[key]
            height, width, _ = rgb_shape(array.shape, array.where)
            shapes[_camera_key(key)] = (*(self._size or (height, width)), 3)
        names = {
            STATE_KEY: [n for k in self._states for n in component_names(k, self._width(k))],
            "action": [n for k in self._actions for n in component_names(k, self._width(k))],
        }
        if self._states:
            shapes[STATE_KEY] = (len(names[STATE_KEY]),)
        return shapes, {key: tuple(told) for key, told in names.items() if told}

    def _width(self, key: str) -> int:
        if (width := prod(self._arrays[key].shape[1:])) > MAX_COMPONENTS:
            raise DataError(
                f"{self._arrays[key].where} has {width:,} components a row, which no vector has; "
                "choose others: --state-keys, --action-key"
            )
        return width

    # ---- rows -------------------------------------------------------------------------------

    def _rows(self, keys: Sequence[str], first: int, stop: int) -> dict[str, np.ndarray]:
        return {key: self._read(key, first, stop) for key in keys}

    def _read(self, key: str, first: int, stop: int) -> np.ndarray:
        values, absent = self._arrays[key].rows(first, stop)
        if absent:
            self.notes.add(
                f"{self._arrays[key].where}: {absent} piece(s) of rows {first} to {stop - 1} were "
                "never written, which in Zarr means that all of it has one value"
            )
        return values

    def _frames(self, key: str, first: int, stop: int) -> np.ndarray:
        """uint8 [rows, H, W, 3], and the last one again where no later row is the final one."""
        array = self._arrays[key]
        shape = self.spec.observation_shapes[_camera_key(key)]
        extra = 0 if self._from_next else 1
        frames = room_for_frames((stop - first + extra, *shape))
        rows = max(PIECE_BYTES // array_bytes(array.shape[1:], array.dtype.itemsize), 1)
        if array.dtype.kind == "f":
            rows = stop - first  # whether floats are fractions is seen in all of them together
        for start in range(first, stop, rows):
            piece = rgb_frames(self._read(key, start, min(start + rows, stop)), array.where)
            for offset, frame in enumerate(piece, start - first):
                frames[offset] = resized(frame, (shape[0], shape[1]))
        if extra:
            frames[-1] = frames[-2]
        return frames

    def _all_actions(self) -> np.ndarray:
        """float32 [N, A] of all episodes."""
        last = max(stop for _, stop in self._stretches.values())
        return joined(self._rows(self._actions, 0, last))[0]


def _seen(array: ZarrArray) -> bool:
    """Whether it is pictures; Diffusion Policy keeps them as floats of 0 to 255, too."""
    if looks_like_camera(array.shape, array.dtype):
        return True
    return array.dtype.kind == "f" and len(array.shape) == 4 and array.shape[3] == 3


def _camera_key(key: str) -> str:
    return IMAGE_PREFIX + key.removesuffix("_rgb").replace("/", "_")


def _why_not(key: str, array: ZarrArray) -> str:
    if CONSTANT.fullmatch(key):
        return "of the demonstration as a whole, its end not known while it goes on"
    if _seen(array):
        return f"--cameras {key} … takes it"
    if len(array.shape) > 2:
        return f"more than a vector a row; --state-keys {key} … takes all its numbers"
    return f"--state-keys {key} … takes it"
