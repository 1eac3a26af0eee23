"""LeRobot datasets v2.0, v2.1 and v3.0, in: Parquet tables, MP4 or PNG cameras, tasks.

`lerobot_layout` knows where an episode lies, `lerobot_tables` and `lerobot_video` read it. What
LeRobot does not keep — the final observation, what ended the episode, metadata — is taken from
meta/softflow where softflow exported the dataset, see `lerobot_extras`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode, require_finite
from softflow.data.files.limits import require_episode_bytes
from softflow.errors import DataError
from softflow.formats.contents import Notes, Part
from softflow.formats.faults import Faults
from softflow.formats.frames import room_for_frames
from softflow.formats.lerobot.contents import contents_of
from softflow.formats.lerobot.extras import Extras
from softflow.formats.lerobot.layout import Layout, Place
from softflow.formats.lerobot.outcome import DONE, OUTCOMES, Outcome, first, outcome_of
from softflow.formats.lerobot.rows import EpisodeRows
from softflow.formats.lerobot.selection import Selection
from softflow.formats.lerobot.tables import (
    TIME_COLUMN,
    action_range,
    episode_rows,
    numbers,
    pictures,
    require_columns,
    require_steady_time,
)
from softflow.formats.lerobot.video import read_clip
from softflow.formats.source import one_a_step, repeated_last
from softflow.utils.files import require_inside
from softflow.utils.progress import ProgressReporter, SilentProgress


class LeRobotSource:
    """A LeRobot dataset on this disk.

    Every `observation.*` of numbers is taken under its own name, a camera as
    `observation.images.<camera>`. The action space is that of the exporting store, or else the
    range of the data. `outcome_of` says how an episode went.

    Args:
        path: the folder that holds `meta/info.json`.
        cameras: features to take, such as "observation.images.front", "front" or "wrist_image"; all
            that are called `observation.*` when None.
        action_key: features that are the action, side by side; "action" when empty.
        state_keys: features that make up `observation.state`, in this order; every `observation.*`
            of numbers under its own name when empty.
        end_at_success: cut an episode behind its first `next.success` and terminate it there, and
            behind its first `next.done`.
        image_size: (height, width) that cameras are brought to as they are decoded; None leaves
            them.
        progress: told of each table while the range of the actions is looked for.

    Raises:
        DataError: not such a dataset, of another version, or damaged; names the file and the fix.
    """

    def __init__(
        self,
        path: Path,
        *,
        cameras: Sequence[str] | None = None,
        action_key: Sequence[str] = (),
        state_keys: Sequence[str] = (),
        end_at_success: bool = True,
        image_size: tuple[int, int] | None = None,
        progress: ProgressReporter | None = None,
    ) -> None:
        self.path, self._end_at_success = path, end_at_success
        self._progress, self._size = progress or SilentProgress(), image_size
        self._layout = Layout.of(path)
        self._chosen = Selection.of(self._layout, action_key, state_keys, cameras)
        self._cameras = self._chosen.cameras
        self._places = self._layout.places(list(self._cameras))
        self.notes = Notes([*self._layout.oddities(self._places)])
        """What is odd about the dataset, and about episodes as they are read."""
        self._tasks = self._layout.tasks()
        self._rows = EpisodeRows()
        # What was chosen otherwise is no longer what softflow exported.
        self._extras = None if action_key or state_keys else Extras.of(path)
        self.spec = self._spec()

    @property
    def version(self) -> str:
        """The dataset's codebase_version: "v2.0", "v2.1" or "v3.0"."""
        return self._layout.version

    def episodes(self) -> list[str]:
        """episode_000000, episode_000001, …"""
        return list(self._places)

    def read(self, name: str) -> Episode:
        """An episode; without softflow's own record of it, its final observation is the last one.

        Raises:
            DataError: a file is missing or damaged, a value NaN, or rows and frames do not fit.
        """
        if name not in self._places:
            raise DataError(f"{self.path} has no episode '{name}'; it has {len(self._places)}")
        place = self._places[name]
        for path in (place.table, *(clip.path for clip in place.clips.values())):
            require_inside(self.path, path)
        where = f"{place.table}, {name}"
        self._require_room(place, where)
        pictured = [key for key in self._cameras if key not in place.clips]
        required = [*self._chosen.numbers, *pictured]
        table = episode_rows(self._rows, place, [*required, *OUTCOMES, "task_index", TIME_COLUMN])
        require_columns(table, required, where)
        faults = Faults()
        with faults.of_a_part():
            self.notes.add(require_steady_time(table, self._layout.fps, where))
        observations = self._observations(table, place, where, faults)
        with faults.of_a_part():
            actions = self._numbers(table, "action", self._chosen.actions, where)
        with faults.of_a_part():
            outcome = self._outcome(table, place, where)
        faults.raise_any()
        metadata = self._metadata(table, place, outcome, where)
        return self._finished(place, observations, actions, outcome, metadata)

    def contents(self) -> list[Part]:
        """Every column, camera and label of the dataset."""
        table = next(iter(self._places.values())).table
        require_inside(self.path, table)
        return contents_of(self._layout, self._chosen, table)

    def _require_room(self, place: Place, where: str) -> None:
        """Raise if what meta/ says of an episode is more than one may have."""
        widths = [self._chosen.size(name) for name in self._chosen.numbers]
        pixels = [prod(self.spec.observation_shapes[key]) for key in self._cameras.values()]
        require_episode_bytes((place.length + 1) * (4 * sum(widths) + sum(pixels)), where)

    # ---- what the dataset holds -------------------------------------------------------------

    def _spec(self) -> DataSpec:
        features, chosen = self._layout.features, self._chosen
        shapes = {key: chosen.shape(key) for key in chosen.states}
        if wrong := [key for key in self._cameras if len(features[key].shape) != 3]:
            raise DataError(
                f"{self.path}/meta/info.json: camera '{wrong[0]}' has shape "
                f"{features[wrong[0]].shape}, a picture has three sizes; correct it"
            )
        promised = {key: self._promised(feature) for feature, key in self._cameras.items()}
        size = sum(chosen.action_sizes.values())
        if self._extras is not None:
            spec = self._extras.spec_for(shapes | promised, size)
            kept = spec.observation_shapes | {key: self._kept(s) for key, s in promised.items()}
            return replace(spec, observation_shapes=kept)
        shapes |= {key: self._kept(shape) for key, shape in promised.items()}
        tables = list(dict.fromkeys(place.table for place in self._places.values()))
        for table in tables:
            require_inside(self.path, table)
        low, high = action_range(tables, chosen.action_sizes, self._progress)
        fps = self._layout.fps
        return DataSpec(shapes, size, tuple(low), tuple(high), fps, names=chosen.names())

    def _kept(self, promised: tuple[int, int, int]) -> tuple[int, int, int]:
        """(height, width, 3) of frames as they are stored."""
        return promised if self._size is None else (*self._size, 3)

    def _promised(self, feature: str) -> tuple[int, int, int]:
        """(height, width, 3); some recorders write (channels, height, width)."""
        shape = self._layout.features[feature].shape
        channels_first = shape[0] in (1, 3) and shape[2] not in (1, 3)
        height, width = shape[1:] if channels_first else shape[:2]
        return height, width, 3

    # ---- one episode ------------------------------------------------------------------------

    def _observations(
        self, table: pa.Table, place: Place, where: str, faults: Faults
    ) -> dict[str, np.ndarray]:
        """key -> [T+1, ...], the last row twice; those at fault are missing."""
        result: dict[str, np.ndarray] = {}
        for key, names in self._chosen.states.items():
            with faults.of_a_part():
                result[key] = repeated_last(self._numbers(table, key, names, where))
        for feature, key in self._cameras.items():
            with faults.of_a_part():
                result[key] = self._frames(table, place, feature, where)
        return result

    def _frames(self, table: pa.Table, place: Place, feature: str, where: str) -> np.ndarray:
        """uint8 [T+1, H, W, 3], decoded to where they stay, the last one included."""
        promised = self._promised(feature)
        shape = self.spec.observation_shapes[self._cameras[feature]]
        frames = room_for_frames((table.num_rows + 1, *shape))
        if feature in place.clips:
            read_clip(place.clips[feature], self._layout.fps, frames[:-1], promised)
        else:
            pictures(table, feature, frames[:-1], promised, where)
        frames[-1:] = frames[-2:-1]
        return frames

    def _numbers(
        self, table: pa.Table, key: str, features: Sequence[str], where: str
    ) -> np.ndarray:
        """float32 [T, *shape of the key], finite; actions and outcomes [T, n]."""
        parts: list[np.ndarray] = []
        for name in features:
            known = self._layout.features.get(name)
            parts.append(numbers(table, name, known.shape if known else (1,), where))
            require_finite(name, parts[-1], where)
        flat = [part.reshape(len(part), prod(part.shape[1:])) for part in parts]
        joined = flat[0] if len(flat) == 1 else np.concatenate(flat, axis=1)
        shape = self.spec.observation_shapes.get(key, joined.shape[1:])
        return joined.reshape(len(joined), *shape)

    def _outcome(self, table: pa.Table, place: Place, where: str) -> Outcome:
        """Rewards, and when and how the episode ended."""
        columns = {
            key: one_a_step(self._numbers(table, key, [key], where), f"{where}: '{key}'")
            for key in OUTCOMES
            if key in table.column_names
        }
        outcome = outcome_of(columns, table.num_rows, place.success, self._end_at_success)
        if DONE in columns and outcome.length == first(columns[DONE]) + 1 < table.num_rows:
            self.notes.add(
                f"{where}: '{DONE}' ends it at row {outcome.length - 1} of {table.num_rows}; the "
                "rows behind are left out (--whole keeps them)"
            )
        return outcome

    def _metadata(
        self, table: pa.Table, place: Place, outcome: Outcome, where: str
    ) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "source": str(self.path),
            "operator": "unknown",
        }
        if self._layout.robot_type:
            metadata["robot"] = self._layout.robot_type
        tasks = place.tasks
        if not tasks and "task_index" in table.column_names:
            numbered = dict.fromkeys(numbers(table, "task_index", (), where).astype(int).tolist())
            tasks = tuple(self._tasks[number] for number in numbered if number in self._tasks)
        if tasks:
            metadata["task"] = tasks[0]
        if len(tasks) > 1:
            metadata["tasks"] = list(tasks)
        if not outcome.known:
            metadata["unlabelled"] = True
        return metadata

    def _finished(
        self,
        place: Place,
        observations: dict[str, np.ndarray],
        actions: np.ndarray,
        outcome: Outcome,
        metadata: dict[str, Any],
    ) -> Episode:
        length, terminated, success = outcome.length, outcome.terminated, outcome.success
        kept = self._extras.read(place, self.spec) if self._extras is not None else None
        if kept is not None:
            for key, final in kept.final.items():
                observations[key][-1] = final
            terminated, success, metadata = kept.terminated, kept.success, kept.metadata
            length = len(actions)
        elif length == len(actions):
            metadata["final_observation"] = "repeated"
        return Episode(
            {key: value[: length + 1] for key, value in observations.items()},
            actions[:length],
            outcome.rewards[:length],
            terminated=terminated,
            truncated=not terminated,
            success=success,
            metadata=metadata,
        )
