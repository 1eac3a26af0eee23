"""Configuration of a run: frozen, validated on construction, saved beside the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import ConfigError
from softflow.models.action_representation import ActionRepresentation
from softflow.models.critic import CriticConfig
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoder import EncoderConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.memory import (
    BYTES,
    COPIES_IN_TRAINING,
    require_memory,
    require_memory_for_networks,
)
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policy import PolicyConfig
from softflow.sampling.mixing import BySize, FixedRatio, Mixing
from softflow.sampling.source_weights import SourceWeights
from softflow.training.held_out.split import require_share
from softflow.training.updates.augmentation import AugmentationConfig

StageName = Literal["imitation", "critic_warmup", "offline_rl", "online_rl"]
STAGES: tuple[StageName, ...] = ("imitation", "critic_warmup", "offline_rl", "online_rl")

MAX_PREFETCH_WORKERS = 64
MAX_WORKERS = 512
MAX_UPDATES = 10**9
MAX_ROWS = 2**20
MAX_CANDIDATES = 2**16
MAX_EPISODES = 100_000


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _require_within(name: str, value: int, least: int, most: int) -> None:
    _require(value >= least, f"{name} is {value}; must be >= {least}")
    _require(value <= most, f"{name} is {value:,}; must be <= {most:,}")


@dataclass(frozen=True)
class ModelConfig:
    """Shapes of the decision process, and which networks of what sizes.

    Attributes:
        chunk: lengths of a decision.
        policy: the policy, its kind decided by the class of this configuration.
        encoder: what turns observations into tokens; policy and critic own one each.
        critic: the critic.
        actions: which actions are relative to the observation.
    """

    chunk: ChunkSpec
    policy: PolicyConfig = field(default_factory=FlowConfig)
    encoder: EncoderConfig = field(default_factory=StateMlpConfig)
    critic: CriticConfig = field(default_factory=TransformerCriticConfig)
    actions: ActionRepresentation = field(default_factory=ActionRepresentation)

    def __post_init__(self) -> None:
        self.critic.require_fit(self.encoder)


@dataclass(frozen=True)
class DataConfig:
    """How the batches of every stage are drawn and prepared.

    Attributes:
        weights: share of the offline rows that each source gets, such as teleop=2 policy=1; inside
            a source all windows are alike. A name is what the metadata of the episodes says, or a
            folder or file in the path that it says. Every source needs one; weight 0 leaves it out
            of the batches, though not of the statistics. Not given, all windows are alike.
        weights_field: metadata of the episodes that tells their source, such as operator.
        prefetch_workers: threads that prepare batches while the networks are updated; the result
            does not depend on it. 0 prepares each when it is needed, which takes below a
            millisecond for states in memory; 1 may help if the data lies on a slow disk.
        augmentation: how camera frames are changed at random in training.
        cached_views: views of every camera frame of which a frozen backbone's features are computed
            once and kept beside the episodes. 1: the frame as it is. More: augmented ones too, and
            every row of a batch shows one at random. 0: none, frames pass the backbone in every
            update. None: 1 without augmentation, if batches hold more frames than there are;
            else 0.
        cache_folder: where such copies of the data are kept, if not beside the episodes.
        held_out: share of the successes that no stage learns from, to measure the policy on, the
            same ones whatever is added; 0: none. None: every 20th, from the 21st on.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    weights_field: str = "source"
    prefetch_workers: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    cached_views: int | None = None
    cache_folder: str = ""
    held_out: float | None = None

    def __post_init__(self) -> None:
        numbers = {str(name): float(weight) for name, weight in self.weights.items()}
        object.__setattr__(self, "weights", numbers)
        _require(bool(self.weights_field), "data.weights_field is empty; name a metadata field")
        _require(
            0 <= self.prefetch_workers <= MAX_PREFETCH_WORKERS,
            f"data.prefetch_workers is {self.prefetch_workers}; must lie in "
            f"[0, {MAX_PREFETCH_WORKERS}]",
        )
        require_share(self.held_out)
        self.augmentation.require_views(self.cached_views)
        _ = self.source_weights

    @property
    def source_weights(self) -> SourceWeights | None:
        """The weights as samplers take them; None draws all windows alike."""
        return SourceWeights(self.weights, self.weights_field) if self.weights else None


@dataclass(frozen=True)
class StageConfig:
    """What every stage has.

    Attributes:
        num_updates: gradient updates (a round's, in online_rl).
        batch_size: windows an update.
        learning_rate: of AdamW, for both networks, at the first update.
        dropout: of the policy's heads.
        learning_rate_decay: share of the learning rate that is gone after the last update; it
            falls linearly. 0 keeps it constant, as the paper does.
    """

    num_updates: int
    batch_size: int
    learning_rate: float
    dropout: float
    learning_rate_decay: float = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        _require_within(f"{name}.num_updates", self.num_updates, 0, MAX_UPDATES)
        _require_within(f"{name}.batch_size", self.batch_size, 1, MAX_ROWS)
        _require(
            0 < self.learning_rate < math.inf,
            f"{name}.learning_rate is {self.learning_rate}; must be > 0 and finite",
        )
        _require(0 <= self.dropout < 1, f"{name}.dropout is {self.dropout}; must lie in [0, 1)")
        _require(
            0 <= self.learning_rate_decay <= 1,
            f"{name}.learning_rate_decay is {self.learning_rate_decay}; must lie in [0, 1]",
        )

    @property
    def most_candidates(self) -> int:
        """Chunks of a decision that an update scores."""
        return 1

    @property
    def total_updates(self) -> int:
        """Gradient updates of the whole stage."""
        return self.num_updates

    def learning_rate_at(self, update: int) -> float:
        """Learning rate of an update in [0, total_updates)."""
        return self.learning_rate * (1 - self.learning_rate_decay * update / self.total_updates)


@dataclass(frozen=True)
class CriticStageConfig(StageConfig):
    """What the stages with a critic update add.

    Attributes:
        target_candidates: candidates of Alg. 2 in the bootstrap; 1 is a plain sample.
    """

    target_candidates: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_within("target_candidates", self.target_candidates, 1, MAX_CANDIDATES)

    @property
    def most_candidates(self) -> int:
        """Chunks of a decision that an update scores."""
        return self.target_candidates


@dataclass(frozen=True)
class WarmupConfig(CriticStageConfig):
    """What the critic warm-up adds.

    Attributes:
        converged_within: the stage ends early once the mean value of the data has moved by less
            than this share of the critic's range from 400 updates to the next 400; 0 does all
            `num_updates`, as the paper does.
    """

    converged_within: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            0 <= self.converged_within < 1,
            f"converged_within is {self.converged_within}; must lie in [0, 1)",
        )


@dataclass(frozen=True)
class RLConfig(CriticStageConfig):
    """What the stages with an actor update add.

    Attributes:
        bc_coef: lambda, weight of the imitation term in nats against Q in units of return.
        value_coef: weight of Q in the same loss, 1 in the paper; with 0 the policy learns by
            imitation alone, and values act by choosing among its chunks (Alg. 2).
        actor_candidates: candidates of Alg. 2 in the actor loss; the gradient runs through the
            chosen one.
        imitates: what the imitation term sees: "demonstrations", the successful ones, or
            "successes", those of online RL as well.
    """

    bc_coef: float = 0.1
    value_coef: float = 1.0
    actor_candidates: int = 4
    imitates: Literal["demonstrations", "successes"] = "demonstrations"

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(
            0 <= self.bc_coef < math.inf, f"bc_coef is {self.bc_coef}; must be >= 0 and finite"
        )
        _require(
            0 <= self.value_coef < math.inf,
            f"value_coef is {self.value_coef}; must be >= 0 and finite",
        )
        _require(
            self.value_coef > 0 or self.bc_coef > 0,
            "bc_coef and value_coef are 0: the policy would learn nothing",
        )
        _require_within("actor_candidates", self.actor_candidates, 1, MAX_CANDIDATES)
        _require(
            self.imitates in ("demonstrations", "successes"),
            f'imitates is "{self.imitates}"; must be demonstrations or successes',
        )

    @property
    def most_candidates(self) -> int:
        """Chunks of a decision that an update scores."""
        return max(self.target_candidates, self.actor_candidates)


@dataclass(frozen=True)
class OnlineConfig(RLConfig):
    """Online rounds: collect episodes with Alg. 2, then update (paper V-B, V-C).

    Attributes:
        num_rounds: rounds of collecting and updating.
        episodes_per_round: episodes collected in each round.
        mixing: whether a batch mixes offline and online data in a fixed ratio, or by size: in
            proportion to how many windows there are of each.
        offline_ratio: rho, share of a batch that comes from the offline data; mixing fixed.
        offline_weight: how often an offline window is drawn for one draw of an online one; mixing
            by_size.
        bc_decay: factor on bc_coef a round (1 keeps the paper's fixed lambda).
    """

    num_rounds: int = 5
    episodes_per_round: int = 10
    mixing: Literal["fixed", "by_size"] = "fixed"
    offline_ratio: float = 0.5
    offline_weight: float = 0.5
    bc_decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_within("num_rounds", self.num_rounds, 0, MAX_EPISODES)
        _require_within("episodes_per_round", self.episodes_per_round, 1, MAX_EPISODES)
        _require(
            self.mixing in ("fixed", "by_size"),
            f'mixing is "{self.mixing}"; must be fixed or by_size',
        )
        _ = FixedRatio(self.offline_ratio), BySize(self.offline_weight)
        _require(0 < self.bc_decay <= 1, f"bc_decay is {self.bc_decay}; must lie in (0, 1]")

    @property
    def mixture(self) -> Mixing:
        """How many rows of a batch are offline."""
        if self.mixing == "by_size":
            return BySize(self.offline_weight)
        return FixedRatio(self.offline_ratio)

    @property
    def total_updates(self) -> int:
        """Gradient updates of all rounds."""
        return self.num_rounds * self.num_updates


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the result of a run, apart from the data.

    Attributes:
        model: shapes of the decision process and sizes of the networks.
        imitation: stage I.
        critic_warmup: stage II.
        offline_rl: stage III.
        online_rl: stage IV.
        data: how batches are drawn and prepared.
        discount: gamma per control step (App. C2).
        tau: Polyak factor of the target critic (App. C2).
        weight_decay: of AdamW (App. C2).
        noise_std: of the noise on training actions, in normalised units (IV-E).
        critic_noise_std: of the noise on the data's actions that the critic sees, in normalised
            units; without it best-of-N finds errors of the critic instead of better chunks.
        sampling_std: of the latents at inference (IV-E).
        execution_candidates: candidates of a deployed decision, by likelihood before a critic
            exists and by value afterwards.
        rl_execution_candidates: the same from the critic warm-up on; None: no other number.
        eval_episodes: episodes of every evaluation; 0 skips them.
        round_eval_episodes: episodes of the evaluation after every online round; 0 skips it.
        seed: of weights, batches, noise and episodes.
        num_workers: simulator processes; the result does not depend on it.
        device: torch device of the learner.
        checkpoint_interval_s: longest training time a kill can cost, beside the time that writing
            a checkpoint takes.
    """

    model: ModelConfig
    imitation: StageConfig
    critic_warmup: WarmupConfig
    offline_rl: RLConfig
    online_rl: OnlineConfig
    data: DataConfig = field(default_factory=DataConfig)
    discount: float = 0.997
    tau: float = 0.05
    weight_decay: float = 1e-4
    noise_std: float = 0.05
    critic_noise_std: float = 0.0
    sampling_std: float = 0.7
    execution_candidates: int = 128
    rl_execution_candidates: int | None = None
    eval_episodes: int = 100
    round_eval_episodes: int = 0
    seed: int = 0
    num_workers: int = 2
    device: str = "cpu"
    checkpoint_interval_s: float = 60.0

    def __post_init__(self) -> None:
        _require(0 < self.discount <= 1, f"discount is {self.discount}; must lie in (0, 1]")
        _require(0 < self.tau <= 1, f"tau is {self.tau}; must lie in (0, 1]")
        stds = ("noise_std", "critic_noise_std", "sampling_std")
        for name in ("weight_decay", *stds, "checkpoint_interval_s"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"{name} is {value}; must be >= 0 and finite")
        _require(0 <= self.seed < 2**63, f"seed is {self.seed}; must lie in [0, 2**63)")
        _require_within("eval_episodes", self.eval_episodes, 0, MAX_EPISODES)
        _require_within("round_eval_episodes", self.round_eval_episodes, 0, MAX_EPISODES)
        for name in ("execution_candidates", "rl_execution_candidates"):
            value = getattr(self, name)
            if value is not None:
                _require_within(name, value, 1, MAX_CANDIDATES)
        _require_within("num_workers", self.num_workers, 1, MAX_WORKERS)

    def require_memory(self) -> None:
        """Raise if networks or batches need more memory than this machine has, whatever the data.

        Raises:
            ConfigError: says how much is needed, and which numbers to lower.
        """
        if self.device != "cpu":
            return
        model = self.model
        networks = (model.policy, model.critic, model.encoder)
        require_memory_for_networks(*networks, copies=COPIES_IN_TRAINING)
        for stage in (self.imitation, self.critic_warmup, self.offline_rl, self.online_rl):
            chunks = stage.batch_size * stage.most_candidates
            what = (
                f"{type(stage).__name__}: {stage.batch_size} x {stage.most_candidates} candidates"
            )
            self._require_memory_for_chunks(chunks, what)
        most = max(self.execution_candidates, self.rl_execution_candidates or 1)
        self._require_memory_for_chunks(most, f"execution_candidates {most}")

    def _require_memory_for_chunks(self, count: int, what: str) -> None:
        """An action of a chunk is a token, at least."""
        length, width = self.model.chunk.chunk_length, self.model.encoder.token_dim
        sizes = f"chunks of {length} actions, tokens of {width}"
        require_memory(count * length * width * BYTES, f"{what} ({sizes})")

    def candidates_after(self, stage: StageName) -> int:
        """Candidates of a decision with the policy of a stage."""
        if stage == "imitation" or self.rl_execution_candidates is None:
            return self.execution_candidates
        return self.rl_execution_candidates
