"""Which episodes a run has learned from, and what has become of them since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from softflow.data.episode_store import EpisodeStore
from softflow.data.fingerprints import digest, fingerprints, grown, lost
from softflow.errors import DataError
from softflow.models.checkpoint import last_checkpoint
from softflow.training.continuing.history import Change
from softflow.training.persistence import read_run_facts
from softflow.training.run_folder import Position

OFFLINE, ONLINE = "offline_data", "online_data"
"""Facts of a checkpoint: the fingerprints of the episodes that it learned from."""

RESTORE = (
    "\nEpisodes that it learned from are others now, or gone. Bring them back, or start a new run "
    "with another --run folder (`--from` keeps the networks)."
)


@dataclass
class ChangedData:
    """What has changed in the episodes that a checkpoint learned from.

    Attributes:
        lost: lines; recordings that are others or gone, with which the run cannot go on.
        grown: lines; other labels and new episodes, with which it can.
        contents: a change for each store that is not as it was: digests of its episodes.
        relabelled: whether an offline episode is labelled otherwise.
        is_known: whether the checkpoint says which offline episodes it learned from.
    """

    lost: list[str] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)
    contents: list[Change] = field(default_factory=list)
    relabelled: bool = False
    is_known: bool = False

    def compare(
        self, what: str, store: EpisodeStore, before: Sequence[str], now: Sequence[str]
    ) -> None:
        """Take in what has changed in one store, called `what` in the run's history."""
        self.lost += [f"{store.path}: {line}" for line in lost(before, now)]
        if not self.lost:
            self.grown += [f"{store.path}: {line}" for line in grown(before, now)]
        self.contents.append(Change(what, digest(before), digest(now)))


def position_in(run: Path) -> Position | None:
    """Where the last checkpoint of a run stands; None before the first.

    Raises:
        CheckpointError: it is damaged.
    """
    checkpoint = last_checkpoint(run / "checkpoints")
    if checkpoint is None:
        return None
    _, _, position = read_run_facts(checkpoint)
    return Position(position["stage"], position["update_step"])


def changed_data(
    run: Path,
    offline: EpisodeStore,
    online: EpisodeStore | None,
    known: Sequence[str] | None = None,
) -> ChangedData:
    """What has changed in the episodes that the last checkpoint learned from.

    Runs of softflow 0.1 do not know what they have learned from: the data of now count. Online
    episodes that came later are no change.

    Args:
        run: the run folder.
        offline, online: its data as they are now.
        known: the fingerprints of the offline ones; None: they are taken here.

    Raises:
        CheckpointError: the checkpoint is damaged.
        StoreError: an episode cannot be read.
    """
    found, checkpoint = ChangedData(), last_checkpoint(run / "checkpoints")
    if checkpoint is None:
        return found
    _, _, position = read_run_facts(checkpoint)
    if OFFLINE in position:
        before = position[OFFLINE]
        now = fingerprints(offline, range(len(offline))) if known is None else known
        found.compare("dataset_content", offline, before, now)
        found.is_known = True
        found.relabelled = any(old != new for old, new in zip(before, now, strict=False))
    if online is not None and ONLINE in position:
        before = position[ONLINE]
        now = fingerprints(online, range(min(len(online), len(before))))
        found.compare("online_content", online, before, now)
    return found


def require_same_recordings(
    run: Path, offline: EpisodeStore, known: Sequence[str], online: EpisodeStore
) -> None:
    """Raise if a run would go on with other recordings than it learned from.

    Args:
        run, offline, online, known: as in `changed_data`.

    Raises:
        DataError: it would; names them.
    """
    if lines := changed_data(run, offline, online, known).lost:
        raise DataError(f"{run} has learned from other data:\n  " + "\n  ".join(lines) + RESTORE)
