"""Imitation measured on held-out demonstrations while it learns, and its best checkpoint kept.

The numbers are rows of metrics.csv, so a run that is killed goes on with the same curve:

    held_out/log_prob, held_out/nats_per_dim    log-likelihood of a chunk, and of a number of it
    held_out/median/3, held_out/p95/3           |a - â| of action component 3, in the data's units

RUN/held_out.json says which episodes they are of, and which update was best. Where episodes were
added since, others are held out too, and what was measured without them is no rival.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.config import StageName
from softflow.training.held_out.measuring import Fit, measure_fit
from softflow.training.learner import Learner
from softflow.training.run_folder import Position, RunFolder
from softflow.training.training_data import TrainingData
from softflow.training.updates.next_chunks import windows_at_once
from softflow.utils.files import is_there, read_object, write_json
from softflow.utils.metrics import read_metrics

FILE = "held_out.json"
STAGE: StageName = "imitation"
PREFIX = "held_out/"
POINTS = 20
"""Times that a stage is measured, where that costs little."""
MAX_WINDOWS = 128
MAX_CANDIDATES = 16
MOST_TIME = 0.1
"""Share of the stage's time that measuring may take, by operations."""
PASSES_OF_AN_UPDATE = 3
"""An update reads every chunk of its batch forwards and, twice the work, backwards."""


class HeldOutCurve:
    """Measures the policy every so many updates of imitation, and has the best checkpoint kept.

    The best is of the highest held-out log-likelihood; of a policy without one, of the smallest
    median error, as a share of each component's range. Nothing random of training is touched: a
    run learns the same with the curve and without. Of several processes the first measures, and the
    others wait for it at their next update.

    Attributes:
        every: updates between two measurements; 0 where there are none.
        best: the update after which the policy fitted best so far; None before the first.

    Args:
        data: of the run.
        learner: the policy is measured where it stands.
        files: of the run, restored to where it goes on.
        save: writes a checkpoint of this very moment, `wait=False` beside the updates.
    """

    def __init__(
        self,
        data: TrainingData,
        learner: Learner,
        files: RunFolder,
        save: Callable[..., object],
    ) -> None:
        self._data, self._learner, self._files, self._save = data, learner, files, save
        self._windows: ChunkBatch | None = None
        self.every = self._spacing() if learner.ranks.is_first else 0
        self.best: int | None = None
        self._best_score = -math.inf
        self._since = self._measured_since()
        for update, values in self._measured_before():
            self._note(update, values)

    def after(self, update: int) -> None:
        """Measure after so many updates of imitation, if that is due."""
        last = self._learner.config.imitation.num_updates
        if not self.every or (update % self.every and update != last):
            return
        values = as_metrics(self._fit())
        self._files.log(values, robot_steps=0)
        if self._note(update, values):
            self._save(wait=False)
        self._write()

    def _measured_since(self) -> int:
        """The update from which on it was measured on the episodes that are held out now."""
        file = self._files.path / FILE
        told = read_object(file) if is_there(file) else {}
        if told.get("episodes", []) == list(self._data.held_out.episode_indices):
            since = told.get("since", 0)
            return since if isinstance(since, int) else 0
        position = self._files.position
        return position.update_step if told and position.stage == STAGE else 0

    @property
    def best_checkpoint(self) -> str:
        """Name of the checkpoint of the best update; "" before the first."""
        return "" if self.best is None else Position(STAGE, self.best).checkpoint_name

    def in_words(self) -> str:
        """What the curve found; "" where nothing was measured."""
        if self.best is None:
            return ""
        _, values = self._measured_before()[-1]
        name, unit = "nats_per_dim", " nats per dimension"
        said = f"held-out demonstrations: best after update {self.best:,} of imitation"
        if PREFIX + name in values:
            said += f", {self._best_score:.3f}{unit} ({values[PREFIX + name]:.3f} at its end)"
        kept = self._files.path / "checkpoints" / self.best_checkpoint
        return f"{said}; kept as {kept}" if kept.exists() else said

    def _spacing(self) -> int:
        """Updates between two measurements, so that they cost at most a tenth of the updates."""
        stage = self._learner.config.imitation
        windows = min(MAX_WINDOWS, self._data.held_out.num_windows)
        if windows == 0 or stage.num_updates == 0:
            return 0
        passes = windows * (1 + self._candidates)
        cheap = passes / (MOST_TIME * PASSES_OF_AN_UPDATE * stage.batch_size)
        return math.ceil(max(stage.num_updates / POINTS, cheap))

    @property
    def _candidates(self) -> int:
        return min(MAX_CANDIDATES, self._learner.config.execution_candidates)

    def _fit(self) -> Fit:
        config, policy = self._learner.config, self._learner.policy
        if self._windows is None:
            most = windows_at_once(policy.encoder, MAX_WINDOWS)
            self._windows = spread_windows(self._data.held_out, most).to(self._learner.device)
        policy.eval()
        return measure_fit(
            policy,
            self._windows,
            noise_std=config.noise_std,
            candidates=self._candidates,
            sampling_std=config.sampling_std,
            seed=config.seed,
        )

    def _note(self, update: int, values: Mapping[str, float]) -> bool:
        """Whether this update is the best so far; its checkpoint is kept from now on."""
        score = self._score(values)
        if not score > self._best_score:
            return False
        self.best, self._best_score = update, score
        self._files.kept = frozenset({self.best_checkpoint})
        return True

    def _score(self, values: Mapping[str, float]) -> float:
        """Higher is better; NaN, which is never the best, where it is not known."""
        if self._learner.policy.has_likelihood:
            return values.get(f"{PREFIX}nats_per_dim", math.nan)
        actions = self._data.inputs.statistics.action
        span = np.maximum(np.asarray(actions.maximum) - np.asarray(actions.minimum), 1e-9)
        medians = [values.get(f"{PREFIX}median/{i}", math.nan) for i in range(len(span))]
        return -float(np.mean(np.asarray(medians) / span))

    def _measured_before(self) -> list[tuple[int, dict[str, float]]]:
        """Updates and their numbers on these episodes, in order, as metrics.csv has them."""
        found: dict[int, dict[str, float]] = {}
        for series in read_metrics(self._files.path):
            if series.stage == STAGE and series.name.startswith(PREFIX):
                for update, value in zip(series.update_step, series.value, strict=True):
                    found.setdefault(int(update), {})[series.name] = float(value)
        return sorted(item for item in found.items() if item[0] > self._since)

    def _write(self) -> None:
        facts: dict[str, Any] = {
            "episodes": list(self._data.held_out.episode_indices),
            "since": self._since,
            "windows": 0 if self._windows is None else self._windows.batch_size,
            "candidates": self._candidates,
            "names": list(self._data.store.spec.names.get("action", ())),
            "best": {"update_step": self.best, "checkpoint": self.best_checkpoint},
        }
        write_json(self._files.path / FILE, facts)


def as_metrics(fit: Fit) -> dict[str, float]:
    """Rows of metrics.csv; what is not known or not finite has none."""
    values = {f"{PREFIX}median/{i}": float(value) for i, value in enumerate(fit.median)}
    values |= {f"{PREFIX}p95/{i}": float(value) for i, value in enumerate(fit.most)}
    if fit.log_prob is not None and fit.nats_per_dim is not None:
        values |= {f"{PREFIX}log_prob": fit.log_prob, f"{PREFIX}nats_per_dim": fit.nats_per_dim}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def spread_windows(dataset: ChunkDataset, most: int) -> ChunkBatch:
    """Up to `most` windows, evenly over all episodes: whole chunks if there are any."""
    every = np.arange(dataset.num_windows)
    steps = dataset.chunk_spec.chunk_length + dataset.chunk_spec.prefix_length
    ends = np.repeat(np.cumsum(dataset.episode_windows), dataset.episode_windows)
    whole = every[ends - every >= steps]
    chosen = whole if len(whole) else every
    places = np.linspace(0, len(chosen) - 1, min(most, len(chosen))).round().astype(np.int64)
    return dataset.gather(chosen[places], with_next=False)
