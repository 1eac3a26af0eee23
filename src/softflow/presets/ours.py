"""Our own settings, for machines without a GPU; docs/experiment_log.md says what else was tried."""

from __future__ import annotations

from dataclasses import replace

from softflow.data.chunk_spec import ChunkSpec
from softflow.models.critics.mlp_critic import MlpCriticConfig
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoders.mixed import MixedConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.images.efficientnet_lite0 import EfficientNetLite0Config
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policies.mlp_flow import MlpFlowConfig
from softflow.presets.paper import robomimic_state
from softflow.training.config import (
    ImitationConfig,
    ModelConfig,
    OnlineConfig,
    RLConfig,
    TrainingConfig,
    WarmupConfig,
)


def small() -> TrainingConfig:
    """Trains on two CPU cores in minutes: the paper's method, smaller networks and budgets.

    Batches are larger and the first two stages' learning rates higher than the paper's, because
    updates are few; RL keeps the paper's learning rate and lambda.
    """
    return replace(
        robomimic_state(),
        model=ModelConfig(
            chunk=ChunkSpec(chunk_length=5, execution_horizon=5),
            policy=FlowConfig(num_layers=6, dim=64, num_heads=2, mlp_dim=128, head_hidden_dim=128),
            encoder=StateMlpConfig(token_dim=64, hidden_dim=256, state_tokens=4),
            critic=TransformerCriticConfig(dim=64, num_heads=2, num_layers=2, mlp_dim=128),
        ),
        imitation=ImitationConfig(
            num_updates=1_200,
            batch_size=128,
            learning_rate=1e-3,
            dropout=0.1,
            learning_rate_decay=1.0,
        ),
        critic_warmup=WarmupConfig(
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


def imitating_successes() -> TrainingConfig:
    """What `softflow-plus` was before chunks were edited, and `cube-small` still is.

    The paper's method with MLPs instead of transformers, a nearer horizon and many cheap updates.
    Online, the policy imitates the demonstrations and its own successes, and values act by choosing
    among its chunks: their gradient cost it the grasp.
    """
    base = small()
    return replace(
        base,
        model=replace(
            base.model,
            policy=MlpFlowConfig(hidden_dim=128),
            encoder=StateMlpConfig(token_dim=64, hidden_dim=256, state_tokens=1),
            critic=MlpCriticConfig(),
        ),
        discount=0.99,
        imitation=replace(base.imitation, num_updates=4_000),
        critic_warmup=replace(
            base.critic_warmup, num_updates=3_000, learning_rate=3e-4, converged_within=0.01
        ),
        offline_rl=replace(
            base.offline_rl, num_updates=1_000, learning_rate=3e-4, target_candidates=1
        ),
        online_rl=replace(
            base.online_rl,
            num_updates=400,
            learning_rate=3e-4,
            learning_rate_decay=0.9,
            target_candidates=1,
            imitates="successes",
            value_coef=0.0,
            num_rounds=20,
            episodes_per_round=5,
        ),
    )


def softflow_plus() -> TrainingConfig:
    """The default: good before the first online episode, short successes after a hundred.

    Measured beside other methods in docs/results.md; what else was tried is in the experiment log.

    From offline RL on the policy imitates everything, failures too, and values choose what is good
    of it. Online, beside each of its chunks stands one that the critic's editor changed a little:
    that is how it becomes faster than what it has seen.
    """
    base = imitating_successes()
    broad = {"imitates": "everything", "value_coef": 0.0, "bc_coef": 1.0, "target_candidates": 4}
    critic = MlpCriticConfig(learns="squared_error", combine="mean", edit_scale=0.2)
    return replace(
        base,
        model=replace(base.model, critic=critic),
        offline_rl=replace(base.offline_rl, num_updates=2_000, **broad),
        online_rl=replace(
            base.online_rl,
            **broad,
            learning_rate_decay=0.0,
            mixing="by_size",
            offline_weight=1.0,
            collection_std=0.7,
        ),
        tau=0.005,
        critic_noise_std=0.0,
    )


def small_image() -> TrainingConfig:
    """`softflow-plus` through cameras, for two CPU cores: a frozen EfficientNet-Lite0 looks."""
    plus = softflow_plus()
    encoder = MixedConfig(
        token_dim=64, hidden_dim=256, state_tokens=1, image=EfficientNetLite0Config()
    )
    return replace(plus, model=replace(plus.model, encoder=encoder))


def demo() -> TrainingConfig:
    """`softflow-plus` with the evaluations of `make demo`."""
    return replace(softflow_plus(), eval_episodes=50, checkpoint_interval_s=20.0)
