"""What people tell robot and learner, a file each: start, stop, discard, accept, label.

    commands/000000000003-5f0c….json

The number orders commands without any clock: it is one more than the highest that its author saw.
Of start and stop, and of discard, accept and label for one episode, the one with the highest
number counts; of two with the same, a stop beats a start, a discard an accept. So any order of
arrival and any duplicate gives the same, and a file that arrives late undoes nothing that was said
after it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from softflow.data.labels import Label, label_from_json
from softflow.errors import ConfigError, DataError, StoreError
from softflow.robot.exchange.episode_names import parse_key
from softflow.robot.exchange.folder import FORMAT_VERSION, read_document
from softflow.robot.exchange.outside_files import names_in
from softflow.robot.exchange.told_once import ToldOnce
from softflow.utils.documents import checked
from softflow.utils.sealed_json import write_sealed

CommandKind = Literal["start", "stop", "discard", "accept", "label"]
TO_ROBOTS = ("start", "stop")
MAX_COMMAND_BYTES = 256 * 1024
MAX_NUMBER = 10**12 - 1
_STRENGTH = {"start": 0, "accept": 0, "label": 1, "discard": 2, "stop": 2}
_NAME = re.compile(r"(\d{12})-([0-9a-f]{32})\.json")


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One command.

    Attributes:
        number: orders commands.
        id: 32 hexadecimal digits, drawn for each.
        kind: what is to be done.
        author: who says so.
        episode: the episode that is meant, by its key in the exchange; "" for start and stop.
        label: of a label: what happened in that episode, as `data.labels.Label`.
    """

    number: Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
    id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    kind: CommandKind
    author: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    episode: Annotated[str, msgspec.Meta(max_length=100)] = ""
    label: dict[str, Any] = {}

    def said_label(self) -> Label:
        """What a label says.

        Raises:
            DataError: it contradicts itself.
        """
        return label_from_json(self.label)

    def require_sense(self) -> None:
        """Raise unless an episode is named where one is meant, and a label is one.

        Raises:
            DataError: says what is missing.
        """
        if self.kind in TO_ROBOTS:
            if self.episode or self.label:
                raise DataError(f"{self.kind} is for robots, and names no episode")
            return
        if parse_key(self.episode) is None:
            raise DataError(f"{self.kind} names no episode ({self.episode!r:.60})")
        if self.kind == "label":
            self.said_label()


class CommandFolder:
    """The commands of an exchange.

    Args:
        folder: commands/ in it.
        say: where files that are no commands are told, each once.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._told = ToldOnce(say)
        self._known: dict[str, Command] = {}

    def give(
        self, kind: CommandKind, author: str, episode: str = "", label: dict[str, Any] | None = None
    ) -> Command:
        """Write a command; it counts over all that are there.

        Raises:
            ConfigError: it makes no sense.
            StoreError: the folder is away, or the system refuses.
        """
        highest = max((command.number for command in self.all()), default=-1)
        number = min(highest + 1, MAX_NUMBER)
        command = Command(number, secrets.token_hex(16), kind, author, episode, label or {})
        try:
            command.require_sense()
            msgspec.convert(msgspec.to_builtins(command), Command)
        except (DataError, msgspec.ValidationError) as error:
            raise ConfigError(f"command {kind}: {error}") from error
        path = self._folder / f"{number:012d}-{command.id}.json"
        write_sealed(path, {"format_version": FORMAT_VERSION, **msgspec.to_builtins(command)})
        self._known[path.name] = command
        return command

    def all(self) -> list[Command]:
        """Every command that has arrived, those of files that are gone since included, in order.

        What is wrong with a file is told once, and the file waited for; a folder that is away is
        told once, and then what was known counts.
        """
        try:
            names = names_in(self._folder)
            self._told.over("folder")
        except StoreError as error:
            self._told("folder", f"{error}; commands do not arrive")
            names = []
        for name in names:
            if name not in self._known and _NAME.fullmatch(name):
                self._read(name)
        return sorted(self._known.values(), key=_order)

    def stopped(self) -> Command | None:
        """The stop that stands, if robots are to stand still; None if none does."""
        last = newest(command for command in self.all() if command.kind in TO_ROBOTS)
        return last if last and last.kind == "stop" else None

    def on_episodes(self) -> dict[str, Command]:
        """For every episode that a command names, the one that counts."""
        found: dict[str, list[Command]] = {}
        for command in self.all():
            if command.kind not in TO_ROBOTS:
                found.setdefault(command.episode, []).append(command)
        return {key: said[-1] for key, said in found.items()}

    def _read(self, name: str) -> None:
        path = self._folder / name
        try:
            value = read_document(path, MAX_COMMAND_BYTES)
            command = checked(value, Command, "it", "give it again")
            if name != f"{command.number:012d}-{command.id}.json":
                raise StoreError("it is not called as it says it is")
            command.require_sense()
        except (StoreError, DataError) as error:
            self._told(name, f"command '{path}' is not followed: {error}")
            return
        self._known[name] = command


def newest(commands: Iterable[Command]) -> Command | None:
    """The command that counts among several about the same."""
    return max(commands, key=_order, default=None)


def _order(command: Command) -> tuple[int, int, str]:
    return command.number, _STRENGTH[command.kind], command.id
