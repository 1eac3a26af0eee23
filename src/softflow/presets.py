"""Presets: complete configurations, each number with its source.

`paper` is the paper's; `small` is the same method in a size that trains on two CPU cores; `demo`
is `small` with the budgets of `make demo`.
"""

from __future__ import annotations

from dataclasses import replace

from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import ConfigError
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.policies.coupling import FlowConfig
from softflow.training.config import (
    CriticStageConfig,
    ModelConfig,
    OnlineConfig,
    RLConfig,
    StageConfig,
    TrainingConfig,
)


def paper() -> TrainingConfig:
    """The paper's sizes and numbers (IV-E, V-A, V-B, App. C1, App. C2)."""
    return TrainingConfig(
        model=ModelConfig(
            chunk=ChunkSpec(chunk_length=10, execution_horizon=10),  # IV-E: H = 10
            policy=FlowConfig(),  # App. C1: 16 couplings, hidden 256, 8 heads
            encoder=StateMlpConfig(),  # App. C1: tokens of 512
            critic=TransformerCriticConfig(),  # App. C1: 512, 8 heads, 3 layers, feed-forward 256
        ),
        imitation=StageConfig(
            num_updates=30_000,  # App. C2: simulation
            batch_size=256,  # App. C2: scissors, imitation
            learning_rate=1e-4,  # App. C2
            dropout=0.5,  # App. C2
        ),
        critic_warmup=CriticStageConfig(
            num_updates=5_000,  # V-B
            batch_size=48,  # App. C2: RL stages
            learning_rate=2e-4,  # App. C2
            dropout=0.1,  # App. C2
            target_candidates=1,  # Alg. 3, stage II: a' ~ pi_theta0
        ),
        offline_rl=RLConfig(
            num_updates=1_000,  # V-B
            batch_size=48,  # App. C2
            learning_rate=2e-4,  # App. C2
            dropout=0.1,  # App. C2
            bc_coef=0.1,  # IV-E
            actor_candidates=24,  # App. C2: during RL
            target_candidates=24,  # App. C2: during RL
        ),
        online_rl=OnlineConfig(
            num_updates=500,  # V-B: a round
            batch_size=48,  # App. C2
            learning_rate=2e-4,  # App. C2
            dropout=0.1,  # App. C2
            bc_coef=0.1,  # IV-E
            actor_candidates=24,  # App. C2
            target_candidates=24,  # App. C2
            num_rounds=5,  # V-B
            episodes_per_round=10,  # V-B
            offline_ratio=0.5,  # App. C2: rho
        ),
        discount=0.997,  # App. C2
        tau=0.05,  # App. C2
        weight_decay=1e-4,  # App. C2
        noise_std=0.05,  # IV-E: simulation
        sampling_std=0.7,  # IV-E
        execution_candidates=128,  # App. C2: simulation
        eval_episodes=100,  # V-A: 100 rollouts
    )


def small() -> TrainingConfig:
    """Trains on two CPU cores in minutes: the paper's method, smaller networks and budgets.

    Batches are larger and the first two stages' learning rates higher than the paper's, because
    updates are few; RL keeps the paper's learning rate and lambda.
    """
    return replace(
        paper(),
        model=ModelConfig(
            chunk=ChunkSpec(chunk_length=5, execution_horizon=5),
            policy=FlowConfig(num_layers=6, dim=64, num_heads=2, mlp_dim=128, head_hidden_dim=128),
            encoder=StateMlpConfig(token_dim=64, hidden_dim=256, state_tokens=4),
            critic=TransformerCriticConfig(dim=64, num_heads=2, num_layers=2, mlp_dim=128),
        ),
        imitation=StageConfig(
            num_updates=1_200,
            batch_size=128,
            learning_rate=1e-3,
            dropout=0.1,
            learning_rate_decay=1.0,
        ),
        critic_warmup=CriticStageConfig(
            num_updates=1_200, batch_size=256, learning_rate=7e-4, dropout=0.1
        ),
        offline_rl=RLConfig(
            num_updates=150,
            batch_size=128,
            learning_rate=2e-4,
            dropout=0.1,
            bc_coef=0.1,
            actor_candidates=1,
            target_candidates=4,
        ),
        online_rl=OnlineConfig(
            num_updates=100,
            batch_size=128,
            learning_rate=2e-4,
            dropout=0.1,
            bc_coef=0.1,
            actor_candidates=1,
            target_candidates=4,
            num_rounds=10,
            episodes_per_round=10,
        ),
        critic_noise_std=0.1,
        sampling_std=0.5,
        execution_candidates=16,
        eval_episodes=100,
    )


def demo() -> TrainingConfig:
    """`small` with the budgets of `make demo`: at most 20 minutes on two cores."""
    return replace(small(), eval_episodes=50, checkpoint_interval_s=20.0)


PRESETS = {"paper": paper, "small": small, "demo": demo}


def preset(name: str) -> TrainingConfig:
    """A preset by name.

    Raises:
        ConfigError: no such preset; lists the ones there are.
    """
    if name not in PRESETS:
        raise ConfigError(f'no preset "{name}"; choose one of {", ".join(PRESETS)}')
    return PRESETS[name]()
