"""rosbag2 recordings, MCAP and SQLite, in: topics of any rate become episodes of one.

A YAML file (`rosbag_yaml`) maps topics to keys. An episode begins when every mapped topic is there
and ends with the first that stops; T+1 observations are taken at the control rate in between.

- Observations are interpolated (`linear`), orientations along the shorter arc (`slerp`), images and
  what jumps are the nearest in time.
- The action of a control step is the last command sent by then (`previous`): what the robot was
  following. A mixture of two commands was never sent. Where commands answer an observation and are
  sent a little after it, give that delay as `latency_s`, or they count one step late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from softflow.data.data_spec import DataSpec, is_image_key
from softflow.data.episode import Episode
from softflow.data.files.limits import array_bytes, require_episode_bytes
from softflow.errors import DataError
from softflow.formats.contents import Part
from softflow.formats.rosbag.episodes import EpisodeRange, find_ranges
from softflow.formats.rosbag.looking.contents import contents_of, unmapped
from softflow.formats.rosbag.mapping import RosbagMapping, SignalMap
from softflow.formats.rosbag.reader import (
    Recording,
    find_bags,
    opened,
    require_whole_recording,
)
from softflow.formats.rosbag.report import RecordingReport, make_report
from softflow.formats.rosbag.resampling import NANOSECONDS, control_times
from softflow.formats.rosbag.samples import Entry, SignalReader, first_values, sample
from softflow.formats.rosbag.timing import BagTiming, Event, scan
from softflow.formats.rosbag.yaml import load_mapping
from softflow.utils.progress import ProgressReporter, SilentProgress

Shapes = dict[str, tuple[int, ...]]
BAGS_TRIED = 5
"""Bags to look at for one that is whole, before the mapping is to blame."""


@dataclass
class Survey:
    """What was found in all bags.

    Args:
        parts: bag -> names of its episodes; those of unusable bags are missing.
        low, high: smallest and largest value of each action component, float32 [A].
        error: what was wrong with the first unusable bag.
    """

    parts: dict[str, list[str]] = field(default_factory=dict)
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    error: DataError | None = None

    def add(self, actions: np.ndarray, action_dim: int) -> None:
        """Take in actions [T, A], but for those of a bag with other components."""
        if actions.shape[1] == action_dim:
            low, high = actions.min(axis=0), actions.max(axis=0)
            self.low = low if self.low is None else np.minimum(self.low, low)
            self.high = high if self.high is None else np.maximum(self.high, high)

    def action_range(self) -> tuple[np.ndarray, np.ndarray]:
        """low and high; raises what was wrong if no bag was usable."""
        if self.low is None or self.high is None:
            raise self.error or DataError("the bags hold no actions; correct the mapping")
        return self.low, self.high


class RosbagSource:
    """The episodes of a bag, or of a folder of bags.

    A bag that is one episode gives it its name; the parts of a bag are `BAG/000`, `BAG/001`, …

    Args:
        path: what `ros2 bag record` wrote, a `.mcap` or `.db3` file, or a folder of those.
        mapping: the YAML file, or what it says.
        progress: told of each bag when all are read before the first episode: for the range of the
            actions, and where the mapping cuts bags into episodes.

    Raises:
        DataError: no bags there, the mapping is unusable, or the first bags do not have what it
            maps; names the place and the fix.
    """

    def __init__(
        self, path: Path, mapping: RosbagMapping | Path, progress: ProgressReporter | None = None
    ) -> None:
        self.path, self._progress = path, progress or SilentProgress()
        self.mapping = load_mapping(mapping) if isinstance(mapping, Path) else mapping
        self._bags = find_bags(path)
        self._scanned: tuple[str, BagTiming] | None = None
        self._ordered = self.mapping
        self._first, self._shapes, self._names = self._look_at_first()
        self._require_bounds()

    @property
    def spec(self) -> DataSpec:
        """What the episodes hold. Without bounds in the mapping, reads the actions of all bags.

        Raises:
            DataError: no bag is usable.
        """
        return self._spec

    @cached_property
    def _spec(self) -> DataSpec:
        shapes = {key: shape for key, shape in self._shapes.items() if key != "action"}
        low, high = self.mapping.action_low, self.mapping.action_high
        if low is None or high is None:
            found_low, found_high = self._survey.action_range()
            low = low or tuple(map(float, found_low))
            high = high or tuple(map(float, found_high))
        hz = self.mapping.control_hz
        return DataSpec(shapes, len(low), low, high, hz, names=self._names)

    def episodes(self) -> list[str]:
        """Names in the order of the bags'. Where bags are cut into episodes, reads all their times.

        A bag that is unusable then stands for its episodes: reading it says why.
        """
        if not self._is_cut:
            return list(self._bags)
        parts = self._survey.parts
        return [name for bag in self._bags for name in parts.get(bag, [bag])]

    def read(self, name: str) -> Episode:
        """An episode; its rewards are those of the mapping's topics, or none.

        Raises:
            DataError: the bag is damaged, or does not have what the mapping says.
        """
        bag, episode = self._place(name)
        timing = self._timing(bag)
        at = self._times(bag, episode)
        values = self._sampled(bag, timing, self._ordered.sampled, at)
        observations = {
            key: _joined(values, signals) for key, signals in self._ordered.observations.items()
        }
        observations |= {key: values[camera] for key, camera in self._ordered.cameras.items()}
        actions = _joined(values, self._ordered.action)[:-1]
        for key, array in {**observations, "action": actions}.items():
            if array.shape[1:] != self._shapes[key]:
                raise DataError(
                    f"{self._bags[bag]}: '{key}' has shape {array.shape[1:]}, in "
                    f"{self._bags[self._first]} it has {self._shapes[key]}; import them separately"
                )
        report = self.report(name)
        metadata: dict[str, Any] = {
            "source": str(self._bags[bag]),
            "start_ns": episode.start_ns,
            "topics": {topic.topic: topic.to_json() for topic in report.topics},
        }
        return self._labelled(observations, actions, at, episode, timing, metadata)

    def contents(self) -> list[Part]:
        """Every topic of the bags, and of the mapped ones every field and joint."""
        with self._opened(self._first) as recording:
            parts = contents_of(recording, self._ordered)
        known = {part.name.partition(" ")[0] for part in parts}
        for bag in self._bags:
            # Whoever reads a damaged bag is told.
            with suppress(DataError), self._opened(bag) as recording:
                others = unmapped(recording, known, f" (in {bag})")
                known |= {part.name.partition(" ")[0] for part in others}
                parts += others
        return parts

    @property
    def bags(self) -> list[str]:
        """Names of the bags."""
        return list(self._bags)

    def report(self, name: str) -> RecordingReport:
        """Rates, clock skew, gaps, drops and disorder of an episode's recording, or of a bag's.

        Raises:
            DataError: no such episode or bag, or the bag is damaged.
        """
        if name not in self._bags:
            bag, episode = self._place(name)
            return make_report(name, self._timing(bag), self.mapping, episode, part_only=True)
        timing = self._timing(name)
        try:
            ranges, notes = find_ranges(timing, self.mapping)
        except DataError as error:
            return make_report(name, timing, self.mapping, None, False, [str(error)])
        whole = EpisodeRange(ranges[0].start_ns, ranges[-1].end_ns, 0, 0)
        if self._is_cut:
            notes = [f"{len(ranges)} episodes", *notes]
        return make_report(name, timing, self.mapping, whole, False, notes)

    # ---- what the bags hold -----------------------------------------------------------------

    @property
    def _is_cut(self) -> bool:
        return self.mapping.episodes is not None or self.mapping.on_gap == "split"

    def _look_at_first(self) -> tuple[str, Shapes, dict[str, tuple[str, ...]]]:
        """The first usable bag, and its shapes and component names by key."""
        first_error: DataError | None = None
        for bag in list(self._bags)[:BAGS_TRIED]:
            try:
                return bag, *self._look_at(bag)
            except DataError as error:
                first_error = first_error or error
        assert first_error is not None  # there is a bag
        raise first_error

    def _look_at(self, bag: str) -> tuple[Shapes, dict[str, tuple[str, ...]]]:
        shapes: Shapes = {}
        names: dict[str, tuple[str, ...]] = {}
        with self._opened(bag) as recording:
            first = first_values(recording, self.mapping)
            orders = {e: one.order for e, one in first.items() if isinstance(e, SignalMap)}
            self._ordered = self.mapping.ordered(orders)
            found = first_values(recording, self._ordered)
            groups = {**self._ordered.observations, "action": self._ordered.action}
            for key, signals in groups.items():
                names[key] = tuple(
                    name
                    for signal in signals
                    for name in SignalReader(recording, signal).component_names(
                        len(found[signal].value)
                    )
                )
                shapes[key] = (len(names[key]),)
            shapes |= {
                key: found[camera].value.shape for key, camera in self.mapping.cameras.items()
            }
        return shapes, names

    @contextmanager
    def _opened(self, bag: str) -> Iterator[Recording]:
        path = self._bags[bag]
        if path.is_file() and path != self.path:
            require_whole_recording(path)
        with opened(path, self.mapping.message_definitions) as recording:
            yield recording

    def _require_bounds(self) -> None:
        for option in ("action_low", "action_high"):
            bound, count = getattr(self.mapping, option), self._shapes["action"][0]
            if bound is not None and len(bound) != count:
                raise DataError(
                    f"the mapping's '{option}' has {len(bound)} values for {count} action "
                    f"components, {', '.join(self._names['action'])}; give one each"
                )

    @cached_property
    def _survey(self) -> Survey:
        """One pass over all bags: their episodes and, without bounds in the mapping, actions."""
        found = Survey()
        ranged = self.mapping.action_low is None or self.mapping.action_high is None
        self._progress.begin("look through the bags", len(self._bags))
        for done, bag in enumerate(self._bags):

            def tell(what: str, done: int = done, bag: str = bag) -> None:
                self._progress.advance(done, f"{bag} {what}")

            try:
                parts = self._parts(bag, lambda count, tell=tell: tell(f"({count:,} messages)"))
                found.parts[bag] = list(parts)
                for number, part in enumerate(parts.values() if ranged else ()):
                    tell(f"(actions of episode {number})")
                    found.add(self._actions(bag, part), self._shapes["action"][0])
            except DataError as error:
                # Whoever reads its episodes is told.
                found.error = found.error or error
            self._progress.advance(done + 1, bag)
        return found

    def _actions(self, bag: str, part: EpisodeRange) -> np.ndarray:
        """float32 [T, A]."""
        at = self._times(bag, part)[:-1]
        values = self._sampled(bag, self._timing(bag), self._ordered.action, at)
        return _joined(values, self._ordered.action)

    def _times(self, bag: str, episode: EpisodeRange) -> np.ndarray:
        """The control steps of an episode, once it is clear that what is sampled there has room."""
        steps = (episode.end_ns - episode.start_ns) / NANOSECONDS * self.mapping.control_hz + 2
        sizes = {key: 1 if is_image_key(key) else 8 for key in self._shapes}
        row = sum(array_bytes(shape, sizes[key]) for key, shape in self._shapes.items())
        require_episode_bytes(int(steps) * row, str(self._bags[bag]))
        return control_times(episode.start_ns, episode.end_ns, self.mapping.control_hz)

    def _place(self, name: str) -> tuple[str, EpisodeRange]:
        is_part = self._is_cut and name not in self._bags
        bag = name.rpartition("/")[0] if is_part else name
        parts = self._parts(bag) if bag in self._bags else {}
        if name not in parts:
            raise DataError(
                f"'{self.path}' has no episode '{name}'; its bags are {', '.join(self._bags)}"
            )
        return bag, parts[name]

    def _parts(
        self, bag: str, on_messages: Callable[[int], None] = lambda count: None
    ) -> dict[str, EpisodeRange]:
        """The episodes of a bag by name."""
        ranges, _ = find_ranges(self._timing(bag, on_messages), self.mapping)
        if not self._is_cut:
            return {bag: ranges[0]}
        return {f"{bag}/{i:03d}": part for i, part in enumerate(ranges)}

    def _timing(
        self, bag: str, on_messages: Callable[[int], None] = lambda count: None
    ) -> BagTiming:
        """The times of a bag; those of the last one are kept."""
        if self._scanned is None or self._scanned[0] != bag:
            with self._opened(bag) as recording:
                self._scanned = bag, scan(recording, self.mapping, on_messages)
        return self._scanned[1]

    def _sampled(
        self, bag: str, timing: BagTiming, entries: tuple[Entry, ...], at: np.ndarray
    ) -> dict[Entry, np.ndarray]:
        with self._opened(bag) as recording:
            return sample(recording, timing, entries, at)

    # ---- rewards and success ----------------------------------------------------------------

    def _labelled(
        self,
        observations: dict[str, np.ndarray],
        actions: np.ndarray,
        at: np.ndarray,
        episode: EpisodeRange,
        timing: BagTiming,
        metadata: dict[str, Any],
    ) -> Episode:
        """The episode with what its events say."""
        events = {
            role: [
                (_step(event, at), event.value)
                for event in found
                if episode.events_from_ns <= event.time_ns < episode.events_until_ns
            ]
            for role, found in timing.events.items()
        }
        rewards = np.zeros(len(actions), np.float32)
        for step, value in events.get("reward", []):
            rewards[step] += value
        succeeded = [step for step, value in events.get("success", []) if self._is_success(value)]
        if succeeded and self.mapping.reward is None:
            rewards[succeeded[0]] = 1.0
        if self.mapping.reward is None and self.mapping.success is None:
            metadata["unlabelled"] = True
        elif events.get("reward") or events.get("success"):
            metadata["outcome_from"] = "the recording's events"
        length = len(actions)
        if succeeded and self.mapping.end_at_success:
            length = succeeded[0] + 1
        return Episode(
            {key: value[: length + 1] for key, value in observations.items()},
            actions[:length],
            rewards[:length],
            terminated=bool(succeeded),
            truncated=not succeeded,
            success=bool(succeeded),
            metadata=metadata,
        )

    def _is_success(self, value: bool | float | str) -> bool:
        wanted = self.mapping.success.equals if self.mapping.success else None
        return bool(value == wanted if wanted is not None else float(value) > 0)


def _joined(values: dict[Entry, np.ndarray], signals: tuple[SignalMap, ...]) -> np.ndarray:
    """Signals side by side, float32 `[m, n]`."""
    return np.concatenate([values[signal] for signal in signals], axis=1).astype(np.float32)


def _step(event: Event, at: np.ndarray) -> int:
    """The control step during which an event came; those outside belong to the first or last."""
    step = int(np.searchsorted(at, event.time_ns, side="right")) - 1
    return min(max(step, 0), len(at) - 2)
