"""Training and acting through cameras: what the loader costs, what cached features gain."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import torch

from benchmarks.data_images import image_store
from benchmarks.measuring import Row, Section, measure
from benchmarks.synthetic import leave_identity
from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import compute_statistics
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.models.value_distribution import ValueSupport
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.training.config import StageConfig, TrainingConfig
from softflow.training.learner import Learner
from softflow.training.persistence import model_inputs
from softflow.training.updates.frozen_features import FrozenFeatures
from softflow.utils.progress import SilentProgress

CAMERAS, PIXELS = 2, 84
LOOPS = 8
"""Updates from files a turn: each takes a fraction of one from frames."""
LOADER_AIM, DECISION_AIM = "≤ 1.05", "≤ 1.5"


@dataclass(frozen=True)
class Learning:
    """A learner, its data with frames and with features, and one kind of update."""

    learner: Learner
    frames: ChunkDataset
    features: ChunkDataset
    stage: StageConfig
    update: Callable[[ChunkBatch], object]
    with_next: bool

    def loaded(self, dataset: ChunkDataset) -> Callable[[], object]:
        """An update, its batch drawn first."""
        sampler = ChunkSampler(
            dataset, self.stage.batch_size, 0, "benchmark", with_next=self.with_next
        )
        steps = count()
        return lambda: self.update(self.learner.prepared(sampler.batch(next(steps))))

    def repeated(self, dataset: ChunkDataset) -> Callable[[], object]:
        """An update on a batch that is there."""
        sampler = ChunkSampler(
            dataset, self.stage.batch_size, 0, "benchmark", with_next=self.with_next
        )
        batch = sampler.batch(0)
        return lambda: self.update(self.learner.prepared(batch))


def run(
    config: TrainingConfig, turns: int, device: str, num_episodes: int = 10, length: int = 60
) -> Section:
    """Rows for imitation, RL and a decision, over a store written to a temporary folder."""
    config = replace(config, device=device, data=replace(config.data, cached_views=1))
    with tempfile.TemporaryDirectory() as folder:
        store = image_store(Path(folder) / "store", CAMERAS, PIXELS, num_episodes, length)
        statistics = compute_statistics(store)
        inputs = model_inputs(config.model, store.spec, statistics)
        learner = Learner(config, inputs, ValueSupport(0.0, 1.0))
        leave_identity(learner.policy)
        frames, features = (ChunkDataset(store, config.model.chunk) for _ in range(2))
        cache = FrozenFeatures(learner.policy.encoder, config, SilentProgress())
        cache.show_in(features)
        rl = config.offline_rl

        def imitation(batch: ChunkBatch) -> object:
            return learner.imitation_update(batch)

        def critic_and_actor(batch: ChunkBatch) -> object:
            learner.critic_update(batch, rl)
            return learner.actor_update(batch, rl, rl.bc_coef)

        rows = _rows(
            "imitation",
            Learning(learner, frames, features, config.imitation, imitation, with_next=False),
            turns,
            device,
        )
        rows += _rows(
            "critic and actor",
            Learning(learner, frames, features, rl, critic_and_actor, with_next=True),
            turns,
            device,
        )
        rows += _decision(learner, store, config, turns, device)
    title = f"Through {CAMERAS} cameras of {PIXELS} × {PIXELS}, {config.model.encoder.kind}"
    return Section(title, "ratio", rows)


def _rows(name: str, learning: Learning, turns: int, device: str) -> list[Row]:
    variants = {
        "features repeated": learning.repeated(learning.features),
        "features loaded": learning.loaded(learning.features),
        "frames repeated": learning.repeated(learning.frames),
        "frames loaded": learning.loaded(learning.frames),
    }
    quick = {name: LOOPS for name in variants if name.startswith("features")}
    timings = measure(variants, turns, device, loops=quick)
    size = learning.stage.batch_size

    def row(label: str, variant: str, against: str = "", aim: str = "", note: str = "") -> Row:
        ratio = timings.ratio(variant, against) if against else None
        pace = f"{size / timings.ms(variant).median * 1e3:,.0f} samples/s"
        return Row(label, timings.ms(variant), ratio, aim, f"{pace}{note}")

    return [
        row(f"{name}, batch {size}: from files", "features repeated", note=", same batch"),
        row("  with the loader", "features loaded", "features repeated", LOADER_AIM),
        row("  from frames", "frames repeated", "features repeated", note=", same batch"),
        row("  from frames, with the loader", "frames loaded", "frames repeated", LOADER_AIM),
    ]


def _decision(
    learner: Learner, store: EpisodeStore, config: TrainingConfig, turns: int, device: str
) -> list[Row]:
    """One decision by Alg. 2 against looking alone."""
    candidates = config.candidates_after("online_rl")
    selection = SelectionConfig(candidates, config.sampling_std)
    selector = ChunkSelector(learner.policy.eval(), learner.critic.eval(), selection)
    dataset = ChunkDataset(store, config.model.chunk)
    batch = dataset.gather(np.zeros(1, np.int64)).to(device)

    @torch.inference_mode()
    def look() -> object:
        return learner.policy.encoder(batch.observation, batch.prefix_actions)

    def decide() -> object:
        return selector(batch.observation, batch.prefix_actions)

    timings = measure({"look": look, "decide": decide}, max(turns, 20), device)
    return [
        Row("encoder alone, one observation", timings.ms("look")),
        Row(
            f"decision, N = {candidates}",
            timings.ms("decide"),
            timings.ratio("decide", "look"),
            DECISION_AIM,
        ),
    ]
