"""The robot's side of episodes: what is sealed on its disk is copied into the exchange, sometime.

The robot's own store is the truth. An exchange that is away, full or of another robot costs
nothing but time: what could not be sent is sent later, by the next process if need be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.limits import episode_bytes
from softflow.errors import StoreError
from softflow.robot.exchange.episode_names import (
    DIGEST_LETTERS,
    EpisodeName,
    require_robot_name,
)
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.outside_files import copied, names_in, size_of
from softflow.robot.exchange.told_once import ToldOnce
from softflow.utils.files import TEMP_SUFFIX, sha256_of

_NUMBER = re.compile(r"episode_(\d+)\.")


class EpisodeOutbox:
    """Sends the episodes of one robot.

    Args:
        folder: the exchange.
        robot: name of this robot, which no other in the exchange has.
        spec: what its episodes hold.
        say: where faults of the exchange are told, each once.

    Raises:
        ConfigError: the name is none.
    """

    def __init__(
        self, folder: ExchangeFolder, robot: str, spec: DataSpec, say: Callable[[str], None]
    ) -> None:
        require_robot_name(robot)
        self._folder, self._robot, self._spec = folder, robot, spec
        self._told = ToldOnce(say)
        self._names: dict[Path, EpisodeName] = {}
        self._swept = False

    def send(self, store: EpisodeStore) -> int:
        """Copy every episode of the robot's store that the exchange has not.

        Returns:
            How many are still to be sent. The reason is told once, and nothing is raised.
        """
        left = len(store)
        try:
            self._require_ours()
            self._sweep()
            there = set(names_in(self._folder.episodes))
            for index in range(len(store)):
                name = self._name(store.episode_path(index))
                if name.file not in there:
                    self._copy(store.episode_path(index), name)
                left -= 1
        except (StoreError, OSError) as error:
            self._told("folder", f"{left} episodes wait in '{store.path}': {error}")
            return left
        self._told.over("folder", "the exchange is there again; everything is sent")
        return 0

    def _require_ours(self) -> None:
        """Raise unless the exchange is there and takes such episodes.

        Without its exchange.json the folder may be the empty place of a disk that is not mounted.
        """
        spec = self._folder.identity().spec
        if lines := spec.differences(self._spec):
            raise StoreError(
                f"'{self._folder.path}' takes episodes of another robot (its values first: "
                f"{'; '.join(lines[:4])})"
            )

    def _sweep(self) -> None:
        """Remove what this robot was writing when it was killed: once, before it writes itself."""
        if self._swept:
            return
        for name in names_in(self._folder.episodes):
            if name.startswith(f".{self._robot}-") and name.endswith(TEMP_SUFFIX):
                with suppress(OSError):
                    (self._folder.episodes / name).unlink()
        self._swept = True

    def _name(self, path: Path) -> EpisodeName:
        """Sealed files never change: each is hashed once."""
        if path not in self._names:
            match = _NUMBER.match(path.name)
            number = int(match.group(1)) if match else 0
            digest = sha256_of(path)[:DIGEST_LETTERS]
            self._names[path] = EpisodeName(self._robot, number, digest)
        return self._names[path]

    def _copy(self, path: Path, name: EpisodeName) -> None:
        target = self._folder.episodes / name.file
        if size_of(path) > episode_bytes():
            raise StoreError(f"'{path}' is larger than episodes may be")
        copied(path, target, episode_bytes())
