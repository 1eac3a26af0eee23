"""The episodes of a store on this disk, as the page's server sees them."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import EpisodeSummary
from softflow.data.labels import Label, LabelFolder, read_label
from softflow.errors import DataError, StoreError
from softflow.labelling.agreement import state_of
from softflow.labelling.event_kinds import EventKinds
from softflow.labelling.proposals import FOLDER, Proposal, ProposalFolder
from softflow.labelling.server.episodes import Action, Recording, State, place_id
from softflow.utils.files import entries_of, is_there


class StoreEpisodes:
    """A store, read while a recorder appends to it and others label it.

    Args:
        path: the store.
        kinds: what may happen in its episodes.

    Raises:
        StoreError: there is none, or it is damaged.
    """

    def __init__(self, path: Path, kinds: EventKinds) -> None:
        self._store = EpisodeStore.open(path)
        self.title, self.place_id = path.resolve().name, place_id(path)
        self.spec, self.kinds = self._store.spec, kinds
        self._folder, self._proposals = LabelFolder(path), ProposalFolder(self._store)
        self._labels: dict[int, list[Path]] = {}
        self._proposed: dict[str, list[tuple[str, int]]] = {}
        self._indices: dict[str, int] = {}
        self._summaries: dict[str, EpisodeSummary] = {}
        self._arrived: dict[str, int] = {}
        self.look()

    def look(self) -> None:
        """See new episodes, labels and proposals; raises StoreError if the store is away."""
        if not is_there(self._store.path / "store.json"):
            raise StoreError(
                f"the store '{self._store.path}' is gone, or was moved away; bring it back. What "
                "was marked since is kept in the browser"
            )
        self._store.refresh()
        for index in range(len(self._indices), len(self._store)):
            self._indices[_stem(self._store.episode_path(index))] = index
        self._labels, self._proposed = self._folder.files(), {}
        for path in entries_of(self._store.path / FOLDER):
            stem = path.name.partition(".")[0]
            self._proposed.setdefault(stem, []).append((path.name, _modified(path)))

    def names(self) -> list[str]:
        """Stems of the episodes' files: a number is never used again."""
        return list(self._indices)

    def title_of(self, name: str) -> str:
        """Its index, as on the command line."""
        return str(self._index(name))

    def version(self, name: str) -> Hashable:
        """Changes with every label and proposal, and while an episode is being copied in."""
        arrived = self._arrived.get(name) or _modified(self._store.episode_path(self._index(name)))
        return arrived, *self._files(name), *sorted(self._proposed.get(name, ()))

    def _files(self, name: str) -> list[Path]:
        return self._labels.get(int(name.rpartition("_")[2]), [])

    def recording(self, name: str) -> Recording:
        """An episode; StoreError if it cannot be read, DataError if there is none of that name."""
        index = self._index(name)
        path = self._store.episode_path(index)
        if name not in self._summaries:
            modified = _modified(path)
            self._summaries[name] = self._store.summary(index, labelled=False)
            self._arrived[name] = modified
        return Recording(path, self.spec, self._summaries[name])

    def history(self, name: str) -> list[Label]:
        """Every label, the oldest first; raises StoreError for a damaged one."""
        self._index(name)
        return [read_label(path) for path in self._files(name)]

    def proposals(self, name: str) -> list[Proposal]:
        """Every proposal, the newest last; raises StoreError for a damaged one."""
        return self._proposals.of(self._index(name)) if name in self._proposed else []

    def state(self, name: str, history: list[Label]) -> State:
        """Unlabelled, proposed, labelled, or in disagreement."""
        return state_of(history, self.spec.control_hz, is_proposed=name in self._proposed)

    def save(self, name: str, label: Label) -> None:
        """Write a label beside the episode.

        Raises:
            DataError: it does not fit the episode or the declared kinds.
            StoreError: the disk refuses.
        """
        self.kinds.require_fit(label)
        label.rewards(self.recording(name).summary.length, f"episode {self._index(name)}")
        self._store.label(self._index(name), label)
        self._labels = self._folder.files()

    def act(self, name: str, action: Action, author: str) -> None:
        """Nothing but labels is said of an episode in a store; raises DataError."""
        raise DataError(f"'{action}' of {name} by {author}: a store knows labels only")

    def _index(self, name: str) -> int:
        if name not in self._indices:
            raise DataError(f"'{self._store.path}' has no episode {name!r:.60}")
        return self._indices[name]


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
