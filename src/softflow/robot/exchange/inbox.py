"""The learner's side of episodes: in any order, whenever they come, each once.

An episode is taken as a local copy whose hash is the one in its name. If it is another one, the
file has not arrived yet, and is waited for. If it is the right one and yet no episode to learn
from, it never will be: that is told once. Nothing in the exchange is changed or removed.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.files import limits
from softflow.data.files.episode_file import EpisodeSummary, read_episode_file, read_summary
from softflow.data.files.limits import episode_bytes
from softflow.data.taken_over import taken_over
from softflow.errors import DataError, StoreError
from softflow.robot.exchange.episode_names import (
    DIGEST_LETTERS,
    ENDING,
    EpisodeName,
    parse_file_name,
)
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.outside_files import copied, names_in, size_of
from softflow.robot.exchange.told_once import ToldOnce

LOOK_AGAIN_S = 30.0
"""A torn file is hashed anew when its size changes, and after so long, by this machine's clock."""

MAX_ARRIVED = 1000
"""Episodes copied and not taken yet; what floods the exchange shall not fill the learner's disk."""
LOOK_FOR_S = 2.0
"""A look ends after so long, and the next goes on: three episodes of a thousand are there soon."""
MAX_METADATA_BYTES = limits.MAX_METADATA_BYTES - 2**20
"""The learner adds a little, a label too, and what it writes must be readable."""


@dataclass(frozen=True)
class Arrival:
    """A whole episode that is not learned from yet.

    Attributes:
        name: which.
        path: the local copy.
        summary: length, outcome and metadata.
    """

    name: EpisodeName
    path: Path
    summary: EpisodeSummary


@dataclass
class _Torn:
    size: int
    since_s: float


class EpisodeInbox:
    """Episodes of an exchange, checked and copied.

    Attributes:
        refused: key -> why, of those that are whole and yet cannot be learned from.

    Args:
        folder: the exchange.
        copies: a folder of the learner's own; what an earlier process left there is thrown away
            at the first look, by when the run is locked.
        spec: what episodes must hold.
        say: where faults are told, each once.
    """

    def __init__(
        self, folder: ExchangeFolder, copies: Path, spec: DataSpec, say: Callable[[str], None]
    ) -> None:
        self._folder, self._copies, self._spec = folder, copies, spec
        self._told = ToldOnce(say)
        self._arrived: dict[str, Arrival] = {}
        self._torn: dict[str, _Torn] = {}
        self._is_new = True
        self.refused: dict[str, str] = {}

    def arrivals(self, taken: Iterable[str]) -> list[Arrival]:
        """Whole episodes, in the order in which they were seen first.

        Args:
            taken: keys of those that need not come again; another copy of the same bytes, whatever
                its name, is a duplicate and ignored.
        """
        if self._is_new:
            shutil.rmtree(self._copies, ignore_errors=True)
            self._is_new = False
        done = {key.rpartition("-")[2] for key in taken}
        for digest in done & self._arrived.keys():
            self._arrived.pop(digest).path.unlink(missing_ok=True)
        try:
            names = names_in(self._folder.episodes)
        except StoreError as error:
            self._told("folder", f"{error}; waiting")
            return list(self._arrived.values())
        self._told.over("folder", f"'{self._folder.episodes}' can be read again")
        until_s = time.monotonic() + LOOK_FOR_S
        for name in filter(None, map(parse_file_name, names)):
            if len(self._arrived) >= MAX_ARRIVED:
                break  # the rest is looked at when these are taken
            known = name.digest in done or name.digest in self._arrived
            if not known and name.key not in self.refused:
                self._look_at(name)
                if time.monotonic() > until_s:
                    break
        return list(self._arrived.values())

    def episode(self, arrival: Arrival) -> Episode:
        """An episode that arrived, as it was recorded.

        Raises:
            StoreError, DataError: the local copy was altered since.
        """
        episode = read_episode_file(arrival.path, self._spec)
        episode.validate(self._spec, arrival.name.key)
        return episode

    def _look_at(self, name: EpisodeName) -> None:
        source, copy = self._folder.episodes / name.file, self._copies / f"{name.digest}{ENDING}"
        try:
            size = size_of(source)
            if size < 0 or not self._is_due(name, size):
                return
            copy.parent.mkdir(parents=True, exist_ok=True)
            digest = copied(source, copy, episode_bytes())
        except (StoreError, OSError) as error:
            self._told(name.key, f"episode {name.key} cannot be copied, and is waited for: {error}")
            return
        if digest[:DIGEST_LETTERS] != name.digest:
            self._torn[name.key] = _Torn(size, time.monotonic())
            self._told(
                name.key,
                f"episode {name.key} has not arrived whole; waiting (is it copied without being "
                f"renamed at the end? else it is damaged, and may be removed: '{source}')",
            )
            copy.unlink(missing_ok=True)
            return
        self._torn.pop(name.key, None)
        self._told.over(name.key)
        self._check(Arrival(name, copy, EpisodeSummary(0, 0, False, False, False, 0.0, {})))

    def _check(self, arrival: Arrival) -> None:
        """Keep an episode that can be learned from; of another, keep why not."""
        key = arrival.name.key
        try:
            summary = read_summary(arrival.path, 0)
            _require_short(summary, key)
            taken_over(summary.metadata, key)
            self.episode(arrival)
        except (StoreError, DataError) as error:
            self.refused[key] = str(error)
            self._told(key, f"episode {key} is not learned from: {error}")
            arrival.path.unlink(missing_ok=True)
            return
        self._arrived[arrival.name.digest] = Arrival(arrival.name, arrival.path, summary)

    def _is_due(self, name: EpisodeName, size: int) -> bool:
        torn = self._torn.get(name.key)
        if torn is None or torn.size != size:
            return True
        return time.monotonic() - torn.since_s > LOOK_AGAIN_S


def _require_short(summary: EpisodeSummary, key: str) -> None:
    """Raise DataError for metadata to which nothing could be added."""
    if (size := len(json.dumps(summary.metadata))) > MAX_METADATA_BYTES:
        raise DataError(f"{key} has {size:,} bytes of metadata, at most {MAX_METADATA_BYTES:,}")
