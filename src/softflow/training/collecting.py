"""Where the online stage gets its episodes: simulator processes here, a robot's files elsewhere.

The online store belongs to whoever fills it, and is locked only while it is written.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.exploration import exploration_facts
from softflow.data.fingerprints import fingerprints
from softflow.errors import StoreError, WriterBusyError
from softflow.models.action_selection import SelectionConfig
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.evaluation import (
    episode_seeds,
    episode_tasks,
    open_following,
    run_into_store,
)
from softflow.training.planned_work import COLLECT
from softflow.training.rollouts import RolloutPool
from softflow.utils.progress import ProgressReporter


@dataclass(frozen=True)
class CollectionOrder:
    """What a round of the online stage asks for.

    Attributes:
        store: folder of the online episodes.
        num_episodes: how many it shall hold in the end, earlier rounds included.
        round_index: of the round, from 0.
        checkpoint: the policy that acts.
        selection: how it chooses.
        spec: what the episodes hold.
        seed: of the run.
    """

    store: Path
    num_episodes: int
    round_index: int
    checkpoint: Path
    selection: SelectionConfig
    spec: DataSpec
    seed: int


@runtime_checkable
class ExperienceSource(Protocol):
    """Fills the online store. It may take its time, and may be asked again after a crash.

    Attributes:
        continuous: it is asked in every round, may bring more than was ordered, and the round
            learns from all that is there. Without, a round learns from the episodes ordered, and
            nobody is asked while there are enough.
        has_people: somebody may take over in its episodes.
    """

    continuous: bool = False
    has_people: bool = True

    def collect(self, order: CollectionOrder, progress: ProgressReporter) -> None:
        """Return when the store holds the episodes ordered; those already there are kept."""
        ...


class SimulatedExperience(ExperienceSource):
    """Episodes from simulator processes, each a function of the policy and its number.

    Args:
        pool: the processes; device: where the policy decides.
    """

    has_people = False

    def __init__(self, pool: RolloutPool, device: str = "cpu") -> None:
        self.pool, self.device = pool, device

    def collect(self, order: CollectionOrder, progress: ProgressReporter) -> None:
        """Play what is still missing; the store is locked meanwhile."""
        facts = {
            "source": "online",
            "policy_version": order.checkpoint.name,
            "round": order.round_index,
        } | exploration_facts(order.selection.exploration_std)
        seeds = episode_seeds(order.seed, "online", order.num_episodes)
        how = (order.checkpoint, order.selection, order.spec)
        tasks = episode_tasks(*how, seeds, facts, self.device)
        title = f"round {order.round_index + 1}: {COLLECT}"
        with EpisodeStore.open_or_create(order.store, order.spec) as store:
            earlier = order.num_episodes - order.num_episodes // (order.round_index + 1)
            run_into_store(self.pool, store, tasks, title, progress, earlier)
        done = (
            f"round {order.round_index + 1} is recorded in '{order.store}'; label it if you like."
        )
        self.pool.pause(done)


class OnlineExperience:
    """The episodes that a run has collected so far.

    Attributes:
        fingerprints: of the episodes that are learned from, as they were when they were loaded.
        takes_all: a round learns from all episodes that are there, not from those ordered alone.

    Args:
        path: folder of the online store; made if it is not there.
        spec: what the episodes hold.
        chunk: lengths of a decision.
        image_keys: cameras that batches hold.
        source: where they come from.

    Raises:
        DataError: the store holds other data.
    """

    def __init__(
        self,
        path: Path,
        spec: DataSpec,
        chunk: ChunkSpec,
        image_keys: list[str],
        source: ExperienceSource | None = None,
    ) -> None:
        # A writer sets aside what an interrupted one left, before anything is counted. One that is
        # at work, a robot's, has done so itself.
        with contextlib.suppress(WriterBusyError):
            open_following(path, spec).close()
        self.store = EpisodeStore.open(path)
        self._data = ChunkDataset(
            self.store, chunk, episodes=(), offline=False, image_keys=image_keys
        )
        self.fingerprints: list[str] = []
        self.takes_all = source is not None and source.continuous

    def __len__(self) -> int:
        return len(self.store)

    @property
    def robot_steps(self) -> int:
        """Control steps of all episodes."""
        return sum(summary.length for summary in self.store.summaries())

    def require(self, num_episodes: int) -> None:
        """Raise unless as many episodes are there as the learner has learned from.

        Raises:
            StoreError: some are gone.
        """
        if len(self) < num_episodes:
            raise StoreError(
                f"{self.store.path} holds {len(self)} episodes, but the checkpoint has learned "
                f"from {num_episodes}; restore the missing ones or start anew"
            )

    def gather(
        self, source: ExperienceSource, order: CollectionOrder, progress: ProgressReporter
    ) -> None:
        """Have a source fill the store, and see what it has written.

        Raises:
            StoreError: the source returned before everything was there.
        """
        source.collect(order, progress)
        self.see(order.num_episodes)

    def see(self, num_episodes: int) -> None:
        """See what was written meanwhile.

        Raises:
            StoreError: it is less than this.
        """
        self.store.refresh()
        if len(self) < num_episodes:
            raise StoreError(
                f"{self.store.path} holds {len(self)} episodes after collecting, not "
                f"{num_episodes}; run the same command again to go on"
            )

    def data(self, num_episodes: int) -> ChunkDataset:
        """Windows of the first `num_episodes` episodes, or of all; it grows with every round."""
        num_episodes = len(self) if self.takes_all else num_episodes
        self._data.add_episodes(range(self._data.num_episodes, num_episodes))
        new = range(len(self.fingerprints), num_episodes)
        self.fingerprints += fingerprints(self.store, new)
        return self._data
