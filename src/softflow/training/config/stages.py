"""What each of the four stages is told (Alg. 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from softflow.sampling.mixing import BySize, FixedRatio, Mixing
from softflow.training.config.limits import (
    MAX_CANDIDATES,
    MAX_EPISODES,
    MAX_ROWS,
    MAX_UPDATES,
    require,
    require_within,
)

StageName = Literal["imitation", "critic_warmup", "offline_rl", "online_rl"]
STAGES: tuple[StageName, ...] = ("imitation", "critic_warmup", "offline_rl", "online_rl")


@dataclass(frozen=True)
class StageConfig:
    """What every stage has.

    Attributes:
        num_updates: gradient updates (a round's, in online_rl).
        batch_size: windows an update.
        learning_rate: of AdamW, for both networks, at the first update.
        dropout: of the policy's heads.
        learning_rate_decay: share of the learning rate that is gone after the last update, along
            a line; 0 in the paper.
    """

    num_updates: int
    batch_size: int
    learning_rate: float
    dropout: float
    learning_rate_decay: float = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        require_within(f"{name}.num_updates", self.num_updates, 0, MAX_UPDATES)
        require_within(f"{name}.batch_size", self.batch_size, 1, MAX_ROWS)
        require(
            0 < self.learning_rate < math.inf,
            f"{name}.learning_rate is {self.learning_rate}; must be > 0 and finite",
        )
        require(0 <= self.dropout < 1, f"{name}.dropout is {self.dropout}; must lie in [0, 1)")
        require(
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
class ImitationConfig(StageConfig):
    """What imitation adds.

    Attributes:
        take_over_weight: how much a chunk counts that a person began in place of the policy (1: as
            one of a demonstration), whatever became of the episode; None: as its episode does.
        imitates: "demonstrations", the successful ones, or "everything": values choose later.
    """

    take_over_weight: float | None = None
    imitates: Literal["demonstrations", "everything"] = "demonstrations"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.imitates in ("demonstrations", "everything"),
            f'imitation.imitates is "{self.imitates}"; must be demonstrations or everything',
        )
        _require_take_over_weight(self.take_over_weight)


def _require_take_over_weight(weight: float | None) -> None:
    require(
        weight is None or 0 <= weight < math.inf,
        f"take_over_weight is {weight}; must be >= 0 and finite, or None",
    )


@dataclass(frozen=True)
class CriticStageConfig(StageConfig):
    """What the stages with a critic update add.

    Attributes:
        target_candidates: candidates of Alg. 2 in the bootstrap; 1 is a plain sample.
    """

    target_candidates: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within("target_candidates", self.target_candidates, 1, MAX_CANDIDATES)

    @property
    def most_candidates(self) -> int:
        """Chunks of a decision that an update scores."""
        return self.target_candidates


@dataclass(frozen=True)
class WarmupConfig(CriticStageConfig):
    """What the critic warm-up adds.

    Attributes:
        converged_within: the stage ends early once the mean value of the data has moved by less
            than this share of the critic's range from 400 updates to the next 400; 0: never.
    """

    converged_within: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 <= self.converged_within < 1,
            f"converged_within is {self.converged_within}; must lie in [0, 1)",
        )


@dataclass(frozen=True)
class RLConfig(CriticStageConfig):
    """What the stages with an actor update add.

    Attributes:
        bc_coef: lambda, weight of the imitation term in nats against Q.
        value_coef: weight of Q in the same loss, 1 in the paper; with 0 the policy learns by
            imitation alone, and values act by choosing among its chunks (Alg. 2).
        actor_candidates: candidates of Alg. 2 in the actor loss; the gradient runs through the
            chosen one.
        imitates: what the imitation term sees: "demonstrations", the successful ones,
            "successes", those of online RL too, or "everything": values choose what is good of it.
        take_over_weight: how much a chunk counts in the imitation term that a person began in place
            of the policy (1: as a demonstration), whatever became of the episode; None: as its
            episode does.
    """

    bc_coef: float = 0.1
    value_coef: float = 1.0
    actor_candidates: int = 4
    imitates: Literal["demonstrations", "successes", "everything"] = "demonstrations"
    take_over_weight: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.bc_coef < math.inf, f"bc_coef is {self.bc_coef}; must be >= 0 and finite")
        require(
            0 <= self.value_coef < math.inf,
            f"value_coef is {self.value_coef}; must be >= 0 and finite",
        )
        require(
            self.value_coef > 0 or self.bc_coef > 0,
            "bc_coef and value_coef are 0: the policy would learn nothing",
        )
        require_within("actor_candidates", self.actor_candidates, 1, MAX_CANDIDATES)
        require(
            self.imitates in ("demonstrations", "successes", "everything"),
            f'imitates is "{self.imitates}"; must be demonstrations, successes or everything',
        )
        _require_take_over_weight(self.take_over_weight)

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
        offline_ratio: rho, share of a batch that is offline data; mixing fixed.
        offline_weight: how often an offline window is drawn for one draw of an online one; mixing
            by_size.
        bc_decay: factor on bc_coef a round; 1 in the paper.
        critic_rounds: the first rounds, in which the critic alone learns.
        collection_std: of the latents of decisions that collect; None: sampling_std.
        collection_candidates: of such a decision; None: as many as are deployed.
        exploration_std: of offsets that find a correction (docs/robot.md); 0: none.
    """

    num_rounds: int = 5
    episodes_per_round: int = 10
    mixing: Literal["fixed", "by_size"] = "fixed"
    offline_ratio: float = 0.5
    offline_weight: float = 0.5
    bc_decay: float = 1.0
    critic_rounds: int = 0
    collection_std: float | None = None
    collection_candidates: int | None = None
    exploration_std: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_within("num_rounds", self.num_rounds, 0, MAX_EPISODES)
        require_within("episodes_per_round", self.episodes_per_round, 1, MAX_EPISODES)
        require_within("critic_rounds", self.critic_rounds, 0, MAX_EPISODES)
        require(
            self.mixing in ("fixed", "by_size"),
            f'mixing is "{self.mixing}"; must be fixed or by_size',
        )
        _ = FixedRatio(self.offline_ratio), BySize(self.offline_weight)
        require(0 < self.bc_decay <= 1, f"bc_decay is {self.bc_decay}; must lie in (0, 1]")
        if self.collection_candidates is not None:
            require_within("collection_candidates", self.collection_candidates, 1, MAX_CANDIDATES)
        std = self.collection_std
        require(
            std is None or 0 <= std < math.inf,
            f"online_rl.collection_std is {std}; must be >= 0 and finite, or None",
        )
        self._require_sense_of_exploration()

    def _require_sense_of_exploration(self) -> None:
        std = self.exploration_std
        require(0 <= std <= 1, f"online_rl.exploration_std is {std}; must lie in [0, 1]")
        require(
            std == 0 or self.imitates == "demonstrations",
            f'online_rl: exploration_std is {std} and imitates "{self.imitates}": a policy that '
            "imitates its own shifted episodes learns to carry every offset on; choose "
            "--online-rl.imitates demonstrations, or --online-rl.exploration-std 0",
        )
        require(
            std == 0 or self.num_updates > 0,
            f"online_rl: exploration_std is {std} and num_updates 0: a round that learns nothing "
            "corrects nothing; give --online-rl.num-updates 1 or more, or "
            "--online-rl.exploration-std 0",
        )

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
