"""The episodes that robots send through an exchange; labels travel there as commands."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from softflow.data.files.episode_file import EpisodeSummary, read_summary
from softflow.data.labels import Label
from softflow.errors import DataError, StoreError
from softflow.labelling.event_kinds import EventKinds
from softflow.labelling.proposals import Proposal
from softflow.labelling.server.episodes import Action, Recording, State, place_id
from softflow.robot.exchange.commands import Command, CommandFolder
from softflow.robot.exchange.episode_names import EpisodeName, parse_file_name
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.outside_files import names_in, size_of
from softflow.utils.console import say

_STATES: dict[str, State] = {"label": "labelled", "accept": "accepted", "discard": "discarded"}


class ExchangeEpisodes:
    """Episodes of an exchange, while robots send more.

    Args:
        folder: the exchange.
        kinds: what may happen in its episodes.

    Raises:
        StoreError: there is none.
    """

    def __init__(self, folder: ExchangeFolder, kinds: EventKinds) -> None:
        self._folder, self.kinds, self.spec = folder, kinds, folder.identity().spec
        self.title, self.place_id = folder.path.resolve().name, place_id(folder.path)
        self._commands = CommandFolder(folder.commands, say)
        self._sizes: dict[str, int] = {}
        self._names: dict[str, EpisodeName] = {}
        self._said: dict[str, list[Command]] = {}
        self._summaries: dict[tuple[str, int], EpisodeSummary] = {}
        self.look()

    def look(self) -> None:
        """See new episodes and commands; raises StoreError if the exchange is away."""
        found = filter(None, map(parse_file_name, names_in(self._folder.episodes)))
        self._names = {name.key: name for name in found}
        self._sizes = {key: size_of(self._path(key)) for key in self._names}
        self._said = {}
        for command in self._commands.all():
            if command.episode:
                self._said.setdefault(command.episode, []).append(command)

    def names(self) -> list[str]:
        """Keys of the episodes, robot by robot in the order of recording."""
        return list(self._names)

    def title_of(self, name: str) -> str:
        """Robot and number."""
        found = self._name(name)
        return f"{found.robot} {found.number}"

    def version(self, name: str) -> Hashable:
        """Changes while a file grows, and with every command."""
        return self._sizes[name], *(command.id for command in self._said.get(name, ()))

    def recording(self, name: str) -> Recording:
        """An episode; raises StoreError if it has not arrived whole."""
        path = self._path(name)
        if (size := size_of(path)) < 0:
            raise StoreError(f"'{path}' is gone, or is no file")
        if (name, size) not in self._summaries:
            self._summaries[name, size] = read_summary(path, 0)
        return Recording(path, self.spec, self._summaries[name, size])

    def history(self, name: str) -> list[Label]:
        """Every label that somebody gave, the oldest first."""
        return [said.said_label() for said in self._said.get(name, ()) if said.kind == "label"]

    def proposals(self, name: str) -> list[Proposal]:
        """None: programs propose for stores."""
        return []

    def state(self, name: str, history: list[Label]) -> State:
        """What the newest command makes of it."""
        said = self._said.get(name)
        return _STATES[said[-1].kind] if said else "unlabelled"

    def save(self, name: str, label: Label) -> None:
        """Tell the learner what happened.

        Raises:
            DataError: it does not fit the episode or the declared kinds.
            StoreError: the exchange is away or full.
        """
        if label.withdrawn:
            raise DataError("a label of an exchange is not withdrawn; label it anew, or accept it")
        self.kinds.require_fit(label)
        label.rewards(self.recording(name).summary.length, name)
        self._commands.give("label", label.annotator, name, label.to_json())
        self.look()  # or the answer would not have it

    def act(self, name: str, action: Action, author: str) -> None:
        """Accept or discard an episode; raises StoreError if the exchange is away or full."""
        self._commands.give(action, author, self._name(name).key)
        self.look()

    def _name(self, name: str) -> EpisodeName:
        if name not in self._names:
            raise DataError(f"'{self._folder.path}' has no episode {name!r:.60}")
        return self._names[name]

    def _path(self, name: str) -> Path:
        return self._folder.episodes / self._name(name).file
