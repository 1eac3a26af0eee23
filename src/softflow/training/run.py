"""The plumbing under the stages: a run that continues from wherever it was stopped.

RUN/config.json, versions.json      what decides the result (provenance.py)
RUN/checkpoints/, metrics.csv       where the learner is (run_folder.py)
RUN/online/                         robot experience, never discarded (collecting.py)
RUN/evaluations/, diagnostics/, videos/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, NumericalError
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import last_checkpoint
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import MixtureSampler
from softflow.sampling.prefetch import Prefetcher, Sampler
from softflow.training.collecting import (
    CollectionOrder,
    ExperienceSource,
    OnlineExperience,
    SimulatedExperience,
)
from softflow.training.config import CriticStageConfig, StageConfig, StageName, TrainingConfig
from softflow.training.continuing.kept import kept_by
from softflow.training.continuing.learned_data import OFFLINE, ONLINE, require_same_recordings
from softflow.training.continuing.opening import restore
from softflow.training.continuing.results import set_aside
from softflow.training.continuing.starting import Start
from softflow.training.evaluation import EvaluationPlan, evaluate, reported
from softflow.training.files.progress import Progress
from softflow.training.hardware.devices import acting_device, machine
from softflow.training.hardware.own_rows import OwnRows, update_seed
from softflow.training.hardware.ranks import Ranks
from softflow.training.held_out.curve import HeldOutCurve
from softflow.training.learner import Learner
from softflow.training.planned_work import title_of
from softflow.training.rollouts import RolloutPool
from softflow.training.run_folder import FollowedFolder, Position, RunFolder
from softflow.training.training_data import TrainingData
from softflow.training.updates.convergence import Convergence
from softflow.training.updates.frozen_features import FrozenFeatures
from softflow.training.updates.imitated_rows import require_take_overs
from softflow.training.updates.next_chunks import NextChunks
from softflow.utils.progress import ProgressReporter

LOG_EVERY_UPDATES = 25
DATA_VALUE = "q_data"
"""Metric of the critic's loss: the mean value of the data's chunks."""


class Run:
    """One training run: its data, learner, folder and experience, as the stages use them.

    Attributes:
        data: the offline data.
        learner: the networks and their updates.
        files: checkpoints and metrics.
        online: the episodes collected so far.
        features: what frozen image backbones say of both, kept in files.
        convergence: of the critic, in its warm-up.
        began_after: the stage that the networks had behind them in another run, if in any.
        held_out: imitation measured on demonstrations that it does not learn from.

    Args:
        folder: the run folder; if it holds a checkpoint the run continues from it.
        config: decides the result together with the data.
        offline_path: the offline episode store.
        pool: simulator processes; None where no episode will be simulated.
        progress: where to tell how it goes.
        source: where the online stage gets its episodes; by default from the simulators.
        stages: that a new run will be asked for; what they lack is told before anything is written.
        ranks: the processes that train this run; all but the first have no pool, write nothing, and
            follow the first.
        start: another run's networks, which a new run starts from.

    Raises:
        ConfigError: the networks do not fit the data or the device, or the processes each other.
        DataError: the data do not fit, or are not those that the run has learned from.
        StoreError: another process trains there, or the folder cannot be written to.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        offline_path: Path,
        pool: RolloutPool | None,
        progress: ProgressReporter,
        source: ExperienceSource | None = None,
        stages: Sequence[StageName] = (),
        ranks: Ranks | None = None,
        start: Start | None = None,
    ) -> None:
        self.config, self.progress, self._pool = config, progress, pool
        self.ranks = ranks or Ranks()
        kept = kept_by(folder) or (start.kept if start else None)
        self.data = data = TrainingData(offline_path, config, progress.say, kept)
        self.rollout_device = acting_device(config.rollout_device, bool(data.image_keys))
        self.source = source or (SimulatedExperience(pool, self.rollout_device) if pool else None)
        new = last_checkpoint(folder / "checkpoints") is None
        fresh = new and start is None
        self.learner = Learner(
            config, data.inputs, data.value_support, fresh=fresh, ranks=self.ranks
        )
        self._saved_s = time.monotonic()
        self._status = self._last_success = ""
        self._told_of_clipping = False
        people = self.source is not None and self.source.has_people
        require_take_overs(config, stages, bool(data.offline.taken_over), people)
        if new:
            self.data.require(stages)
        self.files = (
            RunFolder(folder, config.keep_checkpoints)
            if self.ranks.is_first
            else FollowedFolder(folder)
        )
        try:
            with self.ranks.first_goes_ahead():
                self._open(start)
            known = (data.fingerprints, self.online.fingerprints)
            self.ranks.require_same(config=config, episodes=known, checkpoint=self.position)
        except BaseException:
            self.files.close()
            raise

    def _open(self, start: Start | None) -> None:
        """Open what is in the folder, and go on from the last checkpoint."""
        folder, data = self.folder, self.data
        chunk, cameras = self.config.model.chunk, data.image_keys
        self.online = OnlineExperience(folder / "online", self.spec, chunk, cameras, self.source)
        require_same_recordings(folder, data.store, data.fingerprints, self.online.store)
        self.began_after: StageName | None = restore(self, start)
        warming_up = self.position.stage == "critic_warmup"
        past = self.files.logged("critic_warmup", DATA_VALUE) if warming_up else ()
        support = self.data.value_support
        self.convergence = Convergence(past, LOG_EVERY_UPDATES, support.high - support.low)
        self.features = FrozenFeatures(self.learner.policy.encoder, self.config, self.progress)
        self.features.show_in(data.everything, self.config.data.cache_folder)
        self.held_out = HeldOutCurve(data, self.learner, self.files, self.save)

    def close(self) -> None:
        """Release files; the run can be opened again."""
        self.files.close()

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.files.path

    @property
    def position(self) -> Position:
        """How far the run has come."""
        return self.files.position

    @property
    def spec(self) -> DataSpec:
        """What episodes hold."""
        return self.data.store.spec

    @property
    def pool(self) -> RolloutPool:
        """The simulator processes.

        Raises:
            ConfigError: the run was opened without.
        """
        if self._pool is None:
            raise ConfigError("this run was opened without simulator processes")
        return self._pool

    # ---- updates ----------------------------------------------------------------------------

    @contextmanager
    def batches(
        self, stage: StageName, sampler: Sampler[ChunkBatch], stop: int
    ) -> Iterator[Sampler[ChunkBatch] | Prefetcher[ChunkBatch]]:
        """The batches of a stage up to update `stop`, prepared ahead if the configuration says so.

        Prepared ahead for a GPU, they wait in memory that it copies from by itself. Of several
        processes each gets its rows. The threads that do it are gone at the end of the block,
        however that is left.
        """
        position = self.position
        first = position.update_step if position.stage == stage else 0
        own = OwnRows(sampler, self.ranks.rows)
        workers = 0 if position.has_done(stage, stop) else self.config.data.prefetch_workers
        with own.ahead(first, stop, workers, self.learner.device) as batches:
            yield batches

    def updates(
        self,
        stage: StageName,
        config: StageConfig,
        first: int,
        stop: int,
        until: Callable[[], bool] = lambda: False,
        after: Callable[[int], None] = lambda update: None,
    ) -> Iterator[int]:
        """Yield the update numbers of a stage that are still to be done, and do the plumbing.

        They end at `stop`, or before an update at which `until` holds; `after` is told how many
        are behind. Each gets its own randomness from (seed, stage, update). Checkpoints are written
        beside the updates, often enough that a kill costs at most `checkpoint_interval_s` of
        training and what writing one takes.
        """
        position = self.position
        if position.has_done(stage, stop):
            return
        position.enter(stage)
        title, begun = title_of(stage, first, stop), max(first, position.update_step)
        self.progress.begin(title, stop - first, begun - first)
        self._status = self._last_success
        for update in range(begun, stop):
            if until():
                return
            self.learner.set_up(config, update)
            torch.manual_seed(update_seed(self.config.seed, stage, update, self.ranks.rank))
            yield update
            position.update_step = update + 1
            after(position.update_step)
            self.progress.advance(position.update_step - first, self._status)
            since_s = time.monotonic() - self._saved_s
            if since_s > self.config.checkpoint_interval_s and not self.files.writing:
                self.save(wait=False)

    def critic_settled(self) -> bool:
        """Whether the value of the data has stopped moving, as the warm-up's configuration asks."""
        return self.convergence.within(self.config.critic_warmup.converged_within)

    def next_chunks(self, data: ChunkDataset, stage: CriticStageConfig) -> NextChunks | None:
        """What the policy would do next in every window, while it stands still."""
        if stage.target_candidates > 1:
            return None
        self.position.enter("critic_warmup")
        if self.position.update_step >= stage.num_updates:
            return None
        draws = stage.num_updates * stage.batch_size
        std, seed = self.config.sampling_std, self.config.seed
        return NextChunks(self.learner.policy, data, draws, std, seed, self.progress)

    def log(self, metrics: Mapping[str, Tensor]) -> None:
        """Record the metrics of the update in progress (every 25th, to keep files small).

        Of several processes the first records their mean.
        """
        position = self.position
        if position.update_step % LOG_EVERY_UPDATES:
            return
        self.learner.watch.require()
        values = self.ranks.averaged(metrics)
        bad = [name for name, value in values.items() if not np.isfinite(value)]
        if bad:
            where = f"{position.stage} {position.update_step}"
            raise NumericalError(f"{', '.join(bad)} not finite at {where}")
        self.files.log(values, self.online.robot_steps)
        if position.stage == "critic_warmup":
            self.convergence.note(values[DATA_VALUE])
        self._warn_of_clipping(values.get("target_clipped_fraction", 0.0))
        shown = (self.learner.policy.cost_name, "critic_loss", "q_data", "q_actor")
        parts = [f"{name} {values[name]:.3g}" for name in shown if name in values]
        self._status = "  ".join([*parts, self._last_success]).rstrip()

    def _warn_of_clipping(self, fraction: float) -> None:
        """Chunks whose values lie beyond the histogram all look alike."""
        if fraction == 0 or self._told_of_clipping:
            return
        self._told_of_clipping = True
        self.progress.say(self.learner.critic.output.support.clipping(fraction))

    def record(self, values: Mapping[str, float]) -> None:
        """Log what this position was measured by, once."""
        self.files.record(values, self.online.robot_steps)

    def save(self, *, wait: bool = True) -> Path:
        """Write a checkpoint of this very position; with `wait` it is on the disk on return.

        Raises:
            StoreError: this one, or the one before, could not be written.
            NumericalError: something was not finite since the last update that was looked at.
        """
        self.learner.watch.require()
        facts = {
            **machine(self.learner.device, self.ranks.count),
            "seed": self.config.seed,
            "online_episodes": len(self.online),
            "robot_steps": self.online.robot_steps,
            OFFLINE: self.data.fingerprints,
            ONLINE: self.online.fingerprints,
        }
        path = self.files.save(self.learner, self.spec, facts, wait=wait)
        self._saved_s = time.monotonic()
        return path

    def dump(self, error: NumericalError) -> NumericalError:
        """Save the learner as it was when numbers went wrong; the error says where."""
        return self.files.dump(self.learner, self.spec, error)

    # ---- episodes ---------------------------------------------------------------------------

    def selection(self, stage: StageName, *, collects: bool = False) -> SelectionConfig:
        """The deployed rule with the policy of this moment, or the one that collects."""
        config, trained = self.files.config_here(self.config), self.learner.critic_is_trained
        progress = Progress(stage, self.position.update_step, trained)
        return progress.collecting(config) if collects else progress.deployed(config)

    def collect(self, round_index: int) -> None:
        """Let the policy of this moment act until the round's episodes are in the online store.

        Raises:
            StoreError: episodes that this run has already learned from are gone.
            ConfigError: there is nowhere to act.
        """
        stage = self.config.online_rl
        wanted = (round_index + 1) * stage.episodes_per_round
        begins = self.position == Position("online_rl", round_index * stage.num_updates)
        if len(self.online) >= wanted and not (begins and self.online.takes_all):
            return
        if not begins:
            self.online.require(wanted)
        with self.ranks.first_goes_ahead():
            if self.ranks.is_first:
                self._gather(round_index, wanted)
            else:
                self.online.see(wanted)

    def _gather(self, round_index: int, wanted: int) -> None:
        if self.source is None:
            raise ConfigError("this run has nowhere to act: no simulator, no other source")
        place = self.online.store.path
        acting = (self.save(), self.selection("online_rl", collects=True))
        order = CollectionOrder(place, wanted, round_index, *acting, self.spec, self.config.seed)
        self.online.gather(self.source, order, self.progress)

    def mixture(self, round_index: int) -> MixtureSampler:
        """Batches of the offline data and of what the rounds so far have collected."""
        stage = self.config.online_rl
        online = self.online.data((round_index + 1) * stage.episodes_per_round)
        with self.ranks.first_goes_ahead():
            self.features.show_in(online)
        return MixtureSampler(
            self.data.offline,
            online,
            stage.batch_size,
            stage.mixture,
            self.config.seed,
            "online_rl",
            self.data.weights("online_rl", self.data.offline),
        )

    def forget_earlier_end(self, stage: StageName) -> None:
        """Set aside what a stage was measured by before it got more updates."""
        if self.ranks.is_first:
            set_aside(self.folder, stage, self.position.update_step)

    def evaluate(self, label: str, stage: StageName, num_episodes: int) -> None:
        """Measure the policy of this moment once; a result on disk is not measured again.

        Of several processes the first does; the others go on, and wait for it at the next update.
        """
        if not self.ranks.is_first:
            return
        folder = self.folder / "evaluations"
        path = folder / f"{label}.json"
        if num_episodes and not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._measure(folder, label, stage, num_episodes)
        if path.exists():
            numbers, self._last_success = reported(path)
            self.record(numbers)

    def _measure(self, folder: Path, label: str, stage: StageName, num_episodes: int) -> None:
        plan = EvaluationPlan(
            label=label,
            stage=stage,
            checkpoint=self.save(),
            selection=self.selection(stage),
            spec=self.spec,
            num_episodes=num_episodes,
            seed=self.config.seed,
            update_step=self.position.update_step,
            online_episodes=len(self.online),
            robot_steps=self.online.robot_steps,
            device=self.rollout_device,
        )
        evaluate(self.pool, folder, plan, self.progress)
