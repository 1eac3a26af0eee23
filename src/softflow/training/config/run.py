"""Everything that decides the result of a run: the parts, and the numbers that stages share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from softflow.models.memory import (
    BYTES,
    COPIES_IN_TRAINING,
    require_memory,
    require_memory_for_networks,
)
from softflow.training.config.data import DataConfig
from softflow.training.config.limits import (
    MAX_CANDIDATES,
    MAX_EPISODES,
    MAX_WORKERS,
    require,
    require_within,
)
from softflow.training.config.model import ModelConfig
from softflow.training.config.stages import (
    ImitationConfig,
    OnlineConfig,
    RLConfig,
    StageName,
    WarmupConfig,
)
from softflow.training.hardware.devices import memory_of, usable_device


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
        device: torch device of the learner; "auto" is a GPU if there is one, else the CPU.
        rollout_device: where policies act in simulation; "auto" is the CPU for those that read
            states alone, and as `device` for those that look through cameras.
        precision: "float32", or "bf16": matrix products of updates in bfloat16, all that is summed
            up (likelihoods, returns, losses) in float32. For GPUs; most CPUs are slower with it.
        compile: couplings and critics that gain by it, which takes minutes at first.
        checkpoint_interval_s: training time that a kill can cost, beside what writing one takes.
        keep_checkpoints: how many of the newest stay; the best one that was evaluated and those at
            the ends of stages are never removed.
    """

    model: ModelConfig
    imitation: ImitationConfig
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
    device: str = "auto"
    rollout_device: str = "auto"
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    checkpoint_interval_s: float = 60.0
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        require(0 < self.discount <= 1, f"discount is {self.discount}; must lie in (0, 1]")
        require(0 < self.tau <= 1, f"tau is {self.tau}; must lie in (0, 1]")
        for name in (
            "weight_decay",
            "noise_std",
            "critic_noise_std",
            "sampling_std",
            "checkpoint_interval_s",
        ):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} is {value}; must be >= 0 and finite")
        require(0 <= self.seed < 2**63, f"seed is {self.seed}; must lie in [0, 2**63)")
        require_within("eval_episodes", self.eval_episodes, 0, MAX_EPISODES)
        require_within("round_eval_episodes", self.round_eval_episodes, 0, MAX_EPISODES)
        require_within("keep_checkpoints", self.keep_checkpoints, 1, MAX_EPISODES)
        for name in ("execution_candidates", "rl_execution_candidates"):
            value = getattr(self, name)
            if value is not None:
                require_within(name, value, 1, MAX_CANDIDATES)
        require_within("num_workers", self.num_workers, 1, MAX_WORKERS)
        require(
            self.precision in ("float32", "bf16"),
            f'precision is "{self.precision}"; must be float32 or bf16',
        )

    def require_memory(self) -> None:
        """Raise if networks or batches need more memory than the device has, whatever the data.

        Raises:
            ConfigError: says how much is needed, and which numbers to lower, or: no such device.
        """
        model, there = self.model, memory_of(usable_device(self.device))
        networks = (model.policy, model.critic, model.encoder)
        require_memory_for_networks(*networks, copies=COPIES_IN_TRAINING, there=there)
        for stage in (self.imitation, self.critic_warmup, self.offline_rl, self.online_rl):
            chunks = stage.batch_size * stage.most_candidates
            counts = f"{stage.batch_size} x {stage.most_candidates} candidates"
            self._require_memory_for_chunks(chunks, f"{type(stage).__name__}: {counts}", there)
        most = max(self.execution_candidates, self.rl_execution_candidates or 1)
        self._require_memory_for_chunks(most, f"execution_candidates {most}", there)
        collecting = self.online_rl.collection_candidates or 1
        self._require_memory_for_chunks(collecting, f"collection_candidates {collecting}", there)

    def _require_memory_for_chunks(self, count: int, what: str, there: int) -> None:
        """An action of a chunk is a token, at least."""
        length, width = self.model.chunk.chunk_length, self.model.encoder.token_dim
        sizes = f"chunks of {length} actions, tokens of {width}"
        require_memory(count * length * width * BYTES, f"{what} ({sizes})", there)

    def candidates_after(self, stage: StageName) -> int:
        """Candidates of a decision with the policy of a stage."""
        if stage == "imitation" or self.rl_execution_candidates is None:
            return self.execution_candidates
        return self.rl_execution_candidates
