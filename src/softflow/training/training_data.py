"""The offline data of a run: opened once, and shared by all its stages.

Demonstrations (the successes), held-out demonstrations and everything together are views of the
same arrays. What the networks must know of the data, statistics and the span of returns, is
computed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from softflow.data.episode_store import EpisodeStore
from softflow.data.fingerprints import fingerprints
from softflow.data.labels import vouch
from softflow.data.outside_range import in_words, outside_range
from softflow.data.statistics import SeenActions, compute_statistics
from softflow.errors import ConfigError, DataError
from softflow.models.inputs import ModelInputs
from softflow.models.memory import require_memory
from softflow.models.value_distribution import ValueSupport, support_from_returns
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.sampling.source_weights import SourceWeights
from softflow.training.cameras.camera_check import require_live_cameras
from softflow.training.config import StageName, TrainingConfig
from softflow.training.continuing.kept import Kept
from softflow.training.held_out.split import held_out_episodes, successful_episodes
from softflow.training.persistence import model_inputs
from softflow.training.returns import value_range


class TrainingData:
    """Windows of a store of episodes, as the stages of one run draw them.

    Attributes:
        store: the episodes; image_keys: the cameras that batches hold, those the encoder reads.
        everything: windows of all episodes, held-out ones included; the others are subsets of it.
        fingerprints: of the episodes as they were loaded, labels included.

    Args:
        path: of the store.
        config: of the run.
        say: where to tell what a user should know.
        kept: what networks that have learned already keep of the data they began with.

    Raises:
        StoreError: there is no store, or it is damaged.
        DataError: it is empty, does not fit the configuration, or a camera shows nothing.
        ConfigError: the configuration names action components, cameras or other keys that the data
            have not, or a batch of their frames fits no memory.
    """

    def __init__(
        self,
        path: Path,
        config: TrainingConfig,
        say: Callable[[str], None] = lambda line: None,
        kept: Kept | None = None,
    ) -> None:
        self.config, self._say, self._kept = config, say, kept
        self._weights: dict[StageName, SourceWeights | None] = {}
        self.store = EpisodeStore.open(path)
        require_episodes(self.store)
        config.model.actions.require_fit(self.store.spec)
        if weights := config.data.source_weights:
            weights.require_fit(self.store)
        spec = self.store.spec
        self.image_keys = config.model.encoder.cameras_among(spec.observation_shapes)
        _require_memory_for_frames(config, [spec.observation_shapes[k] for k in self.image_keys])
        folder = config.data.cache_folder
        self.everything = ChunkDataset(
            self.store,
            config.model.chunk,
            image_keys=self.image_keys,
            cache_folder=Path(folder) if folder else None,
        )
        require_live_cameras(self.everything, self.image_keys, say)
        self.fingerprints = fingerprints(self.store, range(len(self.store)))

    def require(self, stages: Sequence[StageName]) -> None:
        """Raise if a stage has nothing to learn from.

        Raises:
            DataError: no episode succeeded, or every source that a stage learns from has weight 0.
        """
        for stage in stages:
            self.weights(stage, self.imitated if stage == "imitation" else self.offline)

    @cached_property
    def inputs(self) -> ModelInputs:
        """What the networks are told of these data, or of those that they began with."""
        model = self.config.model
        statistics = compute_statistics(self.everything, seen_actions=self._seen_actions)
        kept = self._kept.statistics if self._kept else statistics
        return model_inputs(model, self.store.spec, kept)

    @property
    def _seen_actions(self) -> SeenActions | None:
        """The actions of an episode as the networks see them."""
        chunk = self.config.model.chunk
        window = chunk.prefix_length + chunk.chunk_length
        return self.config.model.actions.seen_actions(window)

    def outside(self) -> list[str]:
        """What of these data lies outside of what was kept of earlier ones; a line each."""
        statistics = self.inputs.statistics
        found = outside_range(self.everything, statistics, self._seen_actions)
        support, (low, high) = self.value_support, self._returns
        lines = [in_words(found, self.store.spec)] if found else []
        if low < support.low or high > support.high:
            lines.append(
                f"returns of the data lie in [{low:.4g}, {high:.4g}], outside of the critic's "
                f"[{support.low:.4g}, {support.high:.4g}]: beyond it all values look alike"
            )
        return lines

    @cached_property
    def _returns(self) -> tuple[float, float]:
        data = self.everything
        rewards = [data.episode(index).rewards for index in range(len(data))]
        return value_range(rewards, self.config.discount)

    @cached_property
    def value_support(self) -> ValueSupport:
        """The values that the critic's histograms span: `value_range`, unless configured.

        A critic that has learned already keeps its own.
        """
        if self._kept and self._kept.support:
            return self._kept.support
        critic, (low, high) = self.config.model.critic, self._returns
        low = low if critic.value_low is None else critic.value_low
        high = high if critic.value_high is None else critic.value_high
        if low > high:
            raise ConfigError(
                f"critic.value_low {low} is above {high}, the highest return of the data; set "
                "critic.value_high too"
            )
        return support_from_returns(low, high, critic.num_bins)

    @cached_property
    def demonstrations(self) -> ChunkDataset:
        """Windows of the successful episodes, without the held-out ones.

        Raises:
            DataError: no episode succeeded.
        """
        held = set(self._held_out_episodes)
        return self.everything.subset([i for i in require_successes(self.store) if i not in held])

    @cached_property
    def imitated(self) -> ChunkDataset:
        """Windows that imitation draws from: the demonstrations, or everything if it is asked for.

        Where chunks of people who took over weigh something, also those of episodes that failed in
        spite of them; what the policy did in these counts nothing.

        Raises:
            DataError: there are none.
        """
        if self.config.imitation.imitates == "everything":
            return self.offline
        corrected = set[int]()
        if self.config.imitation.take_over_weight:
            corrected = self.everything.taken_over.episodes - set(successful_episodes(self.store))
        if not corrected:
            return self.demonstrations
        held = set(self._held_out_episodes)
        return self.everything.subset(sorted({*successful_episodes(self.store), *corrected} - held))

    @cached_property
    def held_out(self) -> ChunkDataset:
        """Windows of the demonstrations that no stage learns from; possibly none."""
        return self.everything.subset(self._held_out_episodes)

    @cached_property
    def _held_out_episodes(self) -> list[int]:
        return held_out_episodes(self.store, self.config.data.held_out, self.config.seed)

    @cached_property
    def offline(self) -> ChunkDataset:
        """Windows of all episodes, failures included, without the held-out ones."""
        held = set(self._held_out_episodes)
        return self.everything.subset([i for i in range(len(self.store)) if i not in held])

    @property
    def examples(self) -> ChunkDataset:
        """The demonstrations; all episodes but those held out where none succeeded."""
        return self.demonstrations if successful_episodes(self.store) else self.offline

    def sampler(self, stage: StageName, data: ChunkDataset, batch_size: int) -> ChunkSampler:
        """Windows that a stage learns from, weighted by source if asked.

        Raises:
            DataError: every source that this stage learns from has weight 0.
        """
        weights = self.weights(stage, data)
        follows = stage != "imitation"  # which does not look at what happened next
        return ChunkSampler(data, batch_size, self.config.seed, stage, weights, with_next=follows)

    def weights(self, stage: StageName, data: ChunkDataset) -> SourceWeights | None:
        """How often a stage draws from each source of its offline data; None: all windows alike.

        Raises:
            DataError: every source that this stage learns from has weight 0.
        """
        if stage not in self._weights:
            self._weights[stage] = self._weights_among(stage, data)
        return self._weights[stage]

    def _weights_among(self, stage: StageName, data: ChunkDataset) -> SourceWeights | None:
        weights = self.config.data.source_weights
        if weights is None:
            return None
        kept = weights.among(data)
        if gone := sorted(name for name in weights.weights if name not in kept.weights):
            self._say(
                f"{stage}: no episode of {weights.field} {', '.join(gone)} to learn from; "
                "the others share that weight"
            )
        return kept


def _require_memory_for_frames(config: TrainingConfig, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise ConfigError if the camera frames [H, W, 3] of one batch need more memory than there is.

    A batch holds those of an observation and of the one that follows.
    """
    stages = (config.imitation, config.critic_warmup, config.offline_rl, config.online_rl)
    rows, history = max(stage.batch_size for stage in stages), config.model.chunk.history_length
    what = (
        f"camera frames of a batch ({rows} rows of batch_size, history_length {history}, "
        f"{len(shapes)} cameras)"
    )
    require_memory(2 * rows * history * sum(math.prod(shape) for shape in shapes), what)


def require_episodes(store: EpisodeStore) -> list[int]:
    """Indices of all episodes of a store.

    Raises:
        DataError: the store is empty.
    """
    if len(store) == 0:
        raise DataError(
            f"the dataset '{store.path}' holds no episodes; collect some with `softflow collect` "
            "or point to another folder."
        )
    return list(range(len(store)))


def require_successes(store: EpisodeStore) -> list[int]:
    """Indices of the successful episodes: what imitation learns from (Sec. IV-D).

    Raises:
        DataError: the store is empty, or no episode in it succeeded.
    """
    indices = require_episodes(store)
    successes = successful_episodes(store)
    if not successes:
        raise DataError(
            f"none of the {len(indices)} episodes in '{store.path}' is marked success, and "
            "imitation learns from successful ones only; add successful demonstrations, or say "
            f"which are: {vouch(store.path)}"
        )
    return successes
