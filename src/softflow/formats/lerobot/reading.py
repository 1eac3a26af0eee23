"""LeRobot datasets v2.0, v2.1 and v3.0, in: Parquet tables, MP4 or PNG cameras, tasks.

`lerobot_layout` knows where an episode lies, `lerobot_tables` and `lerobot_video` read it. What
LeRobot does not keep — the final observation, what ended the episode, metadata — is taken from
meta/softflow where softflow exported the dataset, see `lerobot_extras`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from softflow.data.data_spec import IMAGE_PREFIX, OBSERVATION_PREFIX, DataSpec
from softflow.data.episode import Episode, require_finite
from softflow.data.files.limits import require_episode_bytes
from softflow.errors import DataError
from softflow.formats.lerobot.extras import Extras
from softflow.formats.lerobot.layout import Layout, Place, component_names
from softflow.formats.lerobot.rows import EpisodeRows
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
from softflow.utils.files import require_inside
from softflow.utils.progress import ProgressReporter, SilentProgress

REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
TERMINATED, TRUNCATED = "next.terminated", "next.truncated"
OUTCOMES = (REWARD, DONE, SUCCESS, TERMINATED, TRUNCATED)


@dataclass(frozen=True)
class Outcome:
    """How an episode went.

    Args:
        length: T, steps until it ended.
        rewards: float32, of all rows of the table.
        terminated, success: as in `Episode`.
    """

    length: int
    rewards: np.ndarray
    terminated: bool
    success: bool


class LeRobotSource:
    """A LeRobot dataset on this disk.

    Every `observation.*` of floating-point numbers is taken under its own name, a camera as
    `observation.images.<camera>`. The action space is that of the exporting store, or else the
    range of the data.

    Where the dataset has `next.success`, an episode reached its goal if that is ever true. Where it
    has only `next.done` and `next.reward`, it did if the first done step earned its only reward.
    `next.done` alone does not terminate an episode, because LeRobot sets it at every end.

    Args:
        path: the folder that holds `meta/info.json`.
        cameras: features to take, such as "observation.images.front" or "front"; all that are
            observations when None.
        end_at_success: cut an episode behind its first `next.success` and terminate it there.
        progress: told of each table while the range of the actions is looked for.

    Raises:
        DataError: not such a dataset, of another version, or damaged; names the file and the fix.
    """

    def __init__(
        self,
        path: Path,
        *,
        cameras: Sequence[str] | None = None,
        end_at_success: bool = True,
        progress: ProgressReporter | None = None,
    ) -> None:
        self.path, self._end_at_success = path, end_at_success
        self._progress = progress or SilentProgress()
        self._layout = Layout.of(path)
        self._features = self._layout.features
        self._states = self._layout.states
        self._cameras = self._chosen_cameras(cameras)
        self._places = self._layout.places(list(self._cameras))
        self._tasks = self._layout.tasks()
        self._rows = EpisodeRows()
        self._extras = Extras.of(path)
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
        required = [*self._states, *pictured, "action"]
        table = episode_rows(self._rows, place, [*required, *OUTCOMES, "task_index", TIME_COLUMN])
        require_columns(table, required, where)
        require_steady_time(table, self._layout.fps, where)
        observations = self._observations(table, place, where)
        actions = self._numbers(table, "action", where)
        outcome = self._outcome(table, where)
        metadata = self._metadata(table, place, where)
        return self._finished(place, observations, actions, outcome, metadata)

    def _require_room(self, place: Place, where: str) -> None:
        """Raise if what meta/ says of an episode is more than one may have."""
        widths = [prod(self._features[key].shape) for key in (*self._states, "action")]
        pixels = [prod(self.spec.observation_shapes[key]) for key in self._cameras.values()]
        require_episode_bytes((place.length + 1) * (4 * sum(widths) + sum(pixels)), where)

    # ---- what the dataset holds -------------------------------------------------------------

    def _chosen_cameras(self, wanted: Sequence[str] | None) -> dict[str, str]:
        """Feature -> key in an episode."""
        there = {key: _camera_key(key) for key in self._layout.cameras}
        if wanted is None:
            return {feature: key for feature, key in there.items() if key}
        chosen: dict[str, str] = {}
        for name in wanted:
            fits = [
                feature
                for feature, key in there.items()
                if name in (feature, key, key.removeprefix(IMAGE_PREFIX))
            ]
            if not fits:
                told = sorted(there) or "none"
                raise DataError(f"{self.path} has no camera '{name}'; it has {told}")
            if not there[fits[0]]:
                raise DataError(
                    f"{self.path}: '{name}' is no observation; name the feature "
                    f"'{IMAGE_PREFIX}{name}' in meta/info.json, the tables and video folders"
                )
            chosen[fits[0]] = there[fits[0]]
        return chosen

    def _spec(self) -> DataSpec:
        shapes = {key: self._features[key].shape for key in self._states}
        if wrong := [key for key in self._cameras if len(self._features[key].shape) != 3]:
            raise DataError(
                f"{self.path}/meta/info.json: camera '{wrong[0]}' has shape "
                f"{self._features[wrong[0]].shape}, a picture has three sizes; correct it"
            )
        shapes |= {key: self._image_shape(feature) for feature, key in self._cameras.items()}
        size = prod(self._features["action"].shape)
        if self._extras is not None:
            return self._extras.spec_for(shapes, size)
        tables = list(dict.fromkeys(place.table for place in self._places.values()))
        for table in tables:
            require_inside(self.path, table)
        low, high = action_range(tables, size, self._progress)
        named = {
            key: component_names(self._features[key].names) for key in (*self._states, "action")
        }
        sizes = {**shapes, "action": (size,)}
        return DataSpec(
            shapes,
            size,
            tuple(low),
            tuple(high),
            self._layout.fps,
            names={key: names for key, names in named.items() if sizes[key] == (len(names),)},
        )

    def _image_shape(self, feature: str) -> tuple[int, int, int]:
        """(height, width, 3); some recorders write (channels, height, width)."""
        shape = self._features[feature].shape
        channels_first = shape[0] in (1, 3) and shape[2] not in (1, 3)
        height, width = shape[1:] if channels_first else shape[:2]
        return height, width, 3

    # ---- one episode ------------------------------------------------------------------------

    def _observations(self, table: pa.Table, place: Place, where: str) -> dict[str, np.ndarray]:
        """key -> [T+1, ...], the last row twice."""
        steps = table.num_rows
        result: dict[str, np.ndarray] = {}
        for key in self._states:
            values = self._numbers(table, key, where)
            shaped = values.reshape(steps, *self.spec.observation_shapes[key])
            result[key] = np.concatenate([shaped, shaped[-1:]])
        for feature, key in self._cameras.items():
            # Frames are large: they are decoded to where they stay, the final one included.
            frames = np.empty((steps + 1, *self.spec.observation_shapes[key]), np.uint8)
            if feature in place.clips:
                read_clip(place.clips[feature], self._layout.fps, frames[:-1])
            else:
                pictures(table, feature, frames[:-1], where)
            frames[-1:] = frames[-2:-1]
            result[key] = frames
        return result

    def _numbers(self, table: pa.Table, key: str, where: str) -> np.ndarray:
        """float32 [T, *shape], finite; actions [T, A]."""
        shape = self._features[key].shape if key in self._features else (1,)
        values = numbers(table, key, shape, where)
        require_finite(key, values, where)
        return values.reshape(len(values), -1) if key == "action" else values

    def _outcome(self, table: pa.Table, where: str) -> Outcome:
        """Rewards, and when and how the episode ended."""
        there = table.column_names
        columns = {
            key: self._numbers(table, key, where).reshape(-1)
            if key in there
            else np.zeros(table.num_rows, np.float32)
            for key in OUTCOMES
        }
        rewards, steps = columns[REWARD], table.num_rows
        done, succeeded = _first(columns[DONE]), _first(columns[SUCCESS])
        last = min(done, steps - 1)
        if SUCCESS in there:
            success = succeeded <= last
        else:
            success = done < steps and rewards[done] > 0 and not rewards[:done].any()
        if success and self._end_at_success:
            last = min(last, succeeded)
        truncated = columns[TRUNCATED][last] > 0
        terminated = columns[TERMINATED][last] > 0 or (success and not truncated)
        return Outcome(last + 1, rewards, bool(terminated), bool(success))

    def _metadata(self, table: pa.Table, place: Place, where: str) -> dict[str, Any]:
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
        if REWARD not in table.column_names and SUCCESS not in table.column_names:
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


def _first(flags: np.ndarray) -> int:
    """Where a column [T] is first above 0; T when nowhere."""
    return int(np.argmax(flags > 0)) if (flags > 0).any() else len(flags)


def _camera_key(feature: str) -> str:
    """observation.images.<camera> for a camera feature; empty for what is no observation."""
    if feature.startswith(IMAGE_PREFIX):
        return feature
    if feature.startswith(OBSERVATION_PREFIX):
        return IMAGE_PREFIX + feature.removeprefix(OBSERVATION_PREFIX)
    return ""
