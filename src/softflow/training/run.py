"""The plumbing under the stages: a run folder that continues from wherever it was stopped.

RUN/config.json, versions.json      what decides the result
RUN/checkpoints/, metrics.csv       where the learner is
RUN/online/                         robot experience, never discarded
RUN/evaluations/, diagnostics/, videos/
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import compute_statistics
from softflow.errors import NumericalError, StoreError
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import (
    last_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from softflow.models.value_distribution import ValueSupport, support_from_returns
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.prefetch import Prefetcher, Sampler
from softflow.sampling.source_weights import SourceWeights
from softflow.training.config import STAGES, StageConfig, StageName, TrainingConfig
from softflow.training.evaluation import episode_seed, evaluate, reported, run_into_store
from softflow.training.learner import Learner
from softflow.training.persistence import learner_parts, model_inputs, restore_learner
from softflow.training.returns import monte_carlo_returns
from softflow.training.rollouts import RolloutPool, RolloutTask
from softflow.training.usable_episodes import (
    require_episodes,
    require_successes,
    successful_episodes,
)
from softflow.utils.files import read_json
from softflow.utils.metrics import MetricLogger, read_metrics
from softflow.utils.progress import ProgressReporter

LOG_EVERY_UPDATES = 25
KEEP_CHECKPOINTS = 2
HELD_OUT_EVERY = 20
"""Every 20th successful demonstration is kept out of training, to measure likelihood on."""


class Run:
    """One training run: data, learner, position, and everything written to the run folder.

    Args:
        folder: the run folder; if it holds a checkpoint the run continues from it.
        config: decides the result together with the data.
        offline_path: the offline episode store.
        pool: simulator processes; None where no episode will be run.
        progress: where to tell how it goes.
    """

    def __init__(
        self,
        folder: Path,
        config: TrainingConfig,
        offline_path: Path,
        pool: RolloutPool | None,
        progress: ProgressReporter,
    ) -> None:
        self.folder, self.config, self.progress, self._pool = folder, config, progress, pool
        self.offline_store = EpisodeStore.open(offline_path)
        self.spec = self.offline_store.spec
        require_episodes(self.offline_store)
        self.config.model.actions.require_fit(self.spec)
        if weights := config.data.source_weights:
            weights.require_fit(self.offline_store)
        chunk = config.model.chunk
        self.statistics = compute_statistics(
            self.offline_store,
            seen_actions=config.model.actions.seen_actions(
                chunk.prefix_length + chunk.chunk_length
            ),
        )
        inputs = model_inputs(config.model, self.spec, self.statistics)
        self.learner = Learner(config, inputs, self._value_support())
        self.online_store = EpisodeStore.open_or_create(folder / "online", self.spec)
        self.logger = MetricLogger(folder)
        self.stage: StageName = "imitation"
        self.update_step = 0
        self._saved_s = time.monotonic()
        self._status = self._last_success = ""
        unread = [key for key in self.spec.observation_shapes if key != STATE_KEY]
        if unread:
            progress.say(f"the policy does not read {', '.join(unread)}; only {STATE_KEY}")
        self._resume()

    def close(self) -> None:
        """Release files; the run can be opened again."""
        self.logger.close()
        self.online_store.close()

    # ---- data -------------------------------------------------------------------------------

    def demonstrations(self) -> ChunkDataset:
        """Windows of the successful offline episodes, without the held-out ones."""
        held = self._held_out_episodes()
        kept = [index for index in require_successes(self.offline_store) if index not in held]
        return self._offline(kept)

    def held_out(self) -> ChunkDataset:
        """Windows of the demonstrations that no stage learns from (fewer than 21: none)."""
        return self._offline(self._held_out_episodes())

    def offline_data(self) -> ChunkDataset:
        """Windows of all offline episodes, failures included, without the held-out ones."""
        held = self._held_out_episodes()
        return self._offline([i for i in range(len(self.offline_store)) if i not in held])

    def _held_out_episodes(self) -> list[int]:
        return successful_episodes(self.offline_store)[HELD_OUT_EVERY::HELD_OUT_EVERY]

    def _offline(self, episodes: Sequence[int]) -> ChunkDataset:
        return ChunkDataset(
            self.offline_store, self.config.model.chunk, episodes=episodes, with_images=False
        )

    def online_data(self, num_episodes: int) -> ChunkDataset:
        """Windows of the first `num_episodes` online episodes."""
        return ChunkDataset(
            self.online_store,
            self.config.model.chunk,
            episodes=range(num_episodes),
            offline=False,
            with_images=False,
        )

    def weights(self, stage: StageName, data: ChunkDataset) -> SourceWeights | None:
        """How often a stage draws from each source of its offline data; None: all windows alike.

        Raises:
            DataError: every source that this stage learns from has weight 0.
        """
        weights = self.config.data.source_weights
        if weights is None:
            return None
        kept = weights.among(data)
        if gone := sorted(name for name in weights.weights if name not in kept.weights):
            self.progress.say(
                f"{stage}: no episode of {weights.field} {', '.join(gone)} to learn from; "
                "the others share that weight"
            )
        return kept

    @contextmanager
    def batches(
        self, stage: StageName, sampler: Sampler[ChunkBatch], stop: int
    ) -> Iterator[Sampler[ChunkBatch] | Prefetcher[ChunkBatch]]:
        """The batches of a stage up to update `stop`, prepared ahead if the configuration says so.

        The threads that do it are gone at the end of the block, however that is left.
        """
        workers = self.config.data.prefetch_workers
        if workers == 0 or self.has_done(stage, stop):
            yield sampler
            return
        first = self.update_step if self.stage == stage else 0
        with Prefetcher(sampler, first, stop, num_workers=workers, depth=2 * workers) as ahead:
            yield ahead

    def _value_support(self) -> ValueSupport:
        returns = [
            monte_carlo_returns(
                self.offline_store.episode(index, with_images=False).rewards, self.config.discount
            )
            for index in range(len(self.offline_store))
        ]
        lowest = min(float(r.min()) for r in returns)
        highest = max(float(r.max()) for r in returns)
        num_bins = self.config.model.critic.num_bins
        return support_from_returns(min(lowest, 0.0), highest, num_bins)

    # ---- position ---------------------------------------------------------------------------

    def is_past(self, stage: StageName) -> bool:
        """Whether the run has already gone on to a later stage."""
        return STAGES.index(self.stage) > STAGES.index(stage)

    def has_done(self, stage: StageName, update: int) -> bool:
        """Whether the first `update` updates of a stage are behind."""
        return self.is_past(stage) or (self.stage == stage and self.update_step >= update)

    def enter(self, stage: StageName) -> None:
        """Go on to a stage, at its update 0; no effect inside it."""
        if STAGES.index(self.stage) < STAGES.index(stage):
            self.stage, self.update_step = stage, 0

    def explain_gaps(self, stages: Sequence[StageName]) -> None:
        """Say which of `stages` will not run again, and which start from untrained networks."""
        behind = [stage for stage in STAGES if stage in stages and self.is_past(stage)]
        if behind:
            self.progress.say(f"behind this run, not run again: {', '.join(behind)}")
        ahead = [STAGES.index(stage) for stage in stages if not self.is_past(stage)]
        position = STAGES.index(self.stage) + (self.update_step > 0)
        if ahead and (skipped := STAGES[position : min(ahead)]):
            names = ", ".join(skipped)
            self.progress.say(f"careful: {STAGES[min(ahead)]} starts without {names}")

    def updates(
        self, stage: StageName, config: StageConfig, first: int, stop: int
    ) -> Iterator[int]:
        """Yield the update numbers of a stage that are still to be done, and do the plumbing.

        Each update gets its own randomness from (seed, stage, update); checkpoints are written
        often enough that a kill costs at most `checkpoint_interval_s` of training.
        """
        if self.has_done(stage, stop):
            return
        self.enter(stage)
        self.progress.begin(stage.replace("_", " "), stop, self.update_step)
        self._status = self._last_success
        for update in range(max(first, self.update_step), stop):
            self.learner.set_up(config, update)
            torch.manual_seed(self._update_seed(stage, update))
            yield update
            self.update_step = update + 1
            self.progress.advance(self.update_step, self._status)
            if time.monotonic() - self._saved_s > self.config.checkpoint_interval_s:
                self.save()

    def _update_seed(self, stage: str, update: int) -> int:
        sequence = np.random.SeedSequence([self.config.seed, zlib.crc32(stage.encode()), update])
        return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))

    def log(self, metrics: Mapping[str, Tensor]) -> None:
        """Record the metrics of the update in progress (every 25th, to keep files small)."""
        if self.update_step % LOG_EVERY_UPDATES:
            return
        values = {name: float(value) for name, value in metrics.items()}
        bad = [name for name, value in values.items() if not np.isfinite(value)]
        if bad:
            raise NumericalError(f"{', '.join(bad)} not finite at {self.stage} {self.update_step}")
        self.logger.log(
            values, stage=self.stage, update_step=self.update_step, robot_steps=self.robot_steps
        )
        shown = ("nll", "critic_loss", "q_data", "q_actor")
        parts = [f"{name} {values[name]:.3g}" for name in shown if name in values]
        self._status = "  ".join([*parts, self._last_success]).rstrip()

    def record(self, values: Mapping[str, float]) -> None:
        """Log what this position was measured by; once, also if a killed run comes here again."""
        there = {
            series.name
            for series in read_metrics(self.folder)
            if series.stage == self.stage and self.update_step in series.update_step
        }
        new = {name: value for name, value in values.items() if name not in there}
        self.logger.log(
            new, stage=self.stage, update_step=self.update_step, robot_steps=self.robot_steps
        )

    def save(self) -> Path:
        """Write a checkpoint of this very position."""
        order = STAGES.index(self.stage)
        name = f"{order}_{self.stage}_{self.update_step:08d}"
        position = {
            "stage": self.stage,
            "update_step": self.update_step,
            "seed": self.config.seed,
            "metric_rows": self.logger.position(),
            "online_episodes": len(self.online_store),
            "robot_steps": self.robot_steps,
        }
        root = self.folder / "checkpoints"
        path = write_checkpoint(root, name, learner_parts(self.learner, self.spec, position))
        prune_checkpoints(root, KEEP_CHECKPOINTS, self._evaluated_versions())
        self._saved_s = time.monotonic()
        return path

    def dump(self, error: NumericalError) -> NumericalError:
        """Save the learner as it was when numbers went wrong, and say how to see it again."""
        name = f"{self.stage}_{self.update_step:08d}"
        folder = self.folder / "nan_dump"
        position = {"stage": self.stage, "update_step": self.update_step}
        write_checkpoint(folder, name, learner_parts(self.learner, self.spec, position))
        return NumericalError(
            f"{error}, at update {self.update_step} of {self.stage}. The networks of that moment "
            f"are in {folder / name}. Running the same command again replays it exactly, from the "
            "checkpoint before; a lower learning rate or clean data avoids it."
        )

    def _evaluated_versions(self) -> frozenset[str]:
        """Checkpoints that an evaluation of a whole stage refers to are kept."""
        files = [self.folder / "evaluations" / f"{stage}.json" for stage in STAGES]
        return frozenset(read_json(path)["policy_version"] for path in files if path.exists())

    def _resume(self) -> None:
        checkpoint = last_checkpoint(self.folder / "checkpoints")
        if checkpoint is None:
            self.logger.rewind(0)
            return
        position = restore_learner(self.learner, read_checkpoint(checkpoint), str(checkpoint))
        self.stage, self.update_step = position["stage"], position["update_step"]
        self.logger.rewind(position["metric_rows"])
        self.progress.say(f"continuing from {self.stage}, update {self.update_step}")

    # ---- episodes ---------------------------------------------------------------------------

    @property
    def robot_steps(self) -> int:
        """Control steps of all online episodes so far."""
        return sum(s.length for s in self.online_store.summaries())

    def selection(self, stage: StageName) -> SelectionConfig:
        """The deployed rule after a stage: by likelihood until a critic exists, then Alg. 2."""
        return SelectionConfig(
            self.config.execution_candidates,
            self.config.sampling_std,
            "likelihood" if stage == "imitation" else "value",
        )

    @property
    def pool(self) -> RolloutPool:
        """The simulator processes."""
        if self._pool is None:
            raise StoreError("this run was opened without simulator processes")
        return self._pool

    def collect(self, round_index: int, episodes_per_round: int, first_update: int) -> None:
        """Let the policy of this moment act until the round's episodes are in the online store.

        Raises:
            StoreError: episodes that this run has already learned from are gone.
        """
        wanted = (round_index + 1) * episodes_per_round
        if len(self.online_store) >= wanted:
            return
        if self.update_step != first_update or self.stage != "online_rl":
            raise StoreError(
                f"{self.online_store.path} holds {len(self.online_store)} episodes, but the "
                f"checkpoint has learned from {wanted}; restore the missing ones or start anew"
            )
        checkpoint = self.save()
        tasks = [
            RolloutTask(
                str(checkpoint.resolve()),
                self.selection("online_rl"),
                self.spec.env_id,
                episode_seed(self.config.seed, "online", index),
                {"source": "online", "policy_version": checkpoint.name, "round": round_index},
                self.spec.image_size,
            )
            for index in range(wanted)
        ]
        title = f"round {round_index + 1}: collect"
        run_into_store(self.pool, self.online_store, tasks, title, self.progress)

    def evaluate(self, label: str, stage: StageName, num_episodes: int) -> None:
        """Measure the policy of this moment once; a result on disk is not measured again."""
        folder = self.folder / "evaluations"
        path = folder / f"{label}.json"
        if num_episodes and not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            self._measure(folder, label, stage, num_episodes)
        if path.exists():
            numbers, self._last_success = reported(path)
            self.record(numbers)

    def _measure(self, folder: Path, label: str, stage: StageName, num_episodes: int) -> None:
        evaluate(
            self.pool,
            folder,
            label=label,
            stage=stage,
            checkpoint=self.save(),
            selection=self.selection(stage),
            spec=self.spec,
            num_episodes=num_episodes,
            seed=self.config.seed,
            update_step=self.update_step,
            online_episodes=len(self.online_store),
            robot_steps=self.robot_steps,
            progress=self.progress,
        )
