"""Presets: complete configurations, each number with its source.

`paper-sim` and `paper-real` are the paper's two settings: RoboMimic in simulation, and the scissors
on the robot. `small` is the same method in a size that trains on two CPU cores. `softflow-plus` is
what learns fastest here, from state, and the default; `demo` is `softflow-plus` for `make demo`.
"""

from __future__ import annotations

from dataclasses import replace

from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import ConfigError
from softflow.models.critics.mlp_critic import MlpCriticConfig
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policies.mlp_flow import MlpFlowConfig
from softflow.training.config import (
    ModelConfig,
    OnlineConfig,
    RLConfig,
    StageConfig,
    TrainingConfig,
    WarmupConfig,
)


def _paper_networks(chunk: ChunkSpec) -> ModelConfig:
    """The paper's networks; what observations are read depends on the data."""
    return ModelConfig(
        chunk=chunk,
        policy=FlowConfig(
            num_layers=16,  # IV-E, App. C1: coupling layers
            dim=256,  # IV-E, App. C1
            num_heads=8,  # App. C1
            mlp_dim=768,  # silent; the parameter count of App. C1 decides it
            head_hidden_dim=512,  # silent; the parameter count of App. C1 decides it
        ),
        # App. C1: tokens of 512. An MLP, of our own sizes, reads the state. The paper's ResNet-18
        # (simulation) and DINOv2 (scissors): --encoder mixed --image resnet18 or dinov2.
        encoder=StateMlpConfig(token_dim=512),
        critic=TransformerCriticConfig(
            num_critics=2,  # IV-E, App. C1
            combine="minimum",  # Alg. 2; Alg. 3, III
            num_bins=101,  # App. C1; sigma of 0.75 bins: IV-E points to Tarasov et al. 2024
            dim=512,  # App. C1
            num_heads=8,  # App. C1
            num_layers=3,  # App. C1
            mlp_dim=256,  # App. C1
            dropout=0.1,  # App. C1
        ),
    )


def paper_sim() -> TrainingConfig:
    """The paper's simulated tasks: RoboMimic Lift, Can and Square (IV-E, V-A, App. C).

    Where these sections are silent the scissors' number stands in, and its comment says so.
    """
    return TrainingConfig(
        model=_paper_networks(
            ChunkSpec(
                chunk_length=10,  # IV-E
                execution_horizon=10,  # III, Eq. 7: chunks are executed whole
                prefix_length=0,  # silent: Fig. 7 shows the real tasks, and a simulator waits
                history_length=1,  # silent
            )
        ),
        imitation=StageConfig(
            num_updates=30_000,  # App. C2: simulation tasks
            batch_size=256,  # silent; App. C2: scissors
            learning_rate=1e-4,  # App. C2: policy initialisation
            dropout=0.5,  # App. C2: policy initialisation
            learning_rate_decay=0.0,  # silent: none is mentioned
        ),
        critic_warmup=WarmupConfig(
            num_updates=5_000,  # silent; V-B, App. C2: scissors
            batch_size=48,  # silent; App. C2: scissors, RL
            learning_rate=2e-4,  # App. C2: RL
            dropout=0.1,  # App. C2: RL; the policy is frozen and acts without
            target_candidates=1,  # Alg. 3, II: a plain a' ~ pi_theta0
        ),
        offline_rl=RLConfig(
            num_updates=235_000,  # V-A: about 270k in all, less imitation and warm-up
            batch_size=48,  # silent; App. C2: scissors, RL
            learning_rate=2e-4,  # App. C2: RL
            dropout=0.1,  # App. C2: RL
            bc_coef=0.1,  # IV-E, App. D1
            actor_candidates=128,  # Alg. 3, III: Alg. 2; App. C2: 128 in simulation
            # Eq. 3 and Alg. 3 write a plain a' ~ pi; we take Alg. 2, the policy that acts.
            target_candidates=128,
        ),
        online_rl=OnlineConfig(
            num_updates=500,  # silent, no simulated run is online; V-B: scissors, a round
            batch_size=48,  # silent; App. C2: scissors, RL
            learning_rate=2e-4,  # App. C2: RL
            dropout=0.1,  # App. C2: RL
            bc_coef=0.1,  # IV-E
            actor_candidates=128,  # as offline
            target_candidates=128,  # as offline
            num_rounds=5,  # silent; V-B: scissors
            episodes_per_round=10,  # silent; V-B: scissors
            mixing="fixed",  # IV-D, IV; App. C2: simulated tasks
            offline_ratio=0.5,  # App. C2: rho of the simulated tasks
            bc_decay=1.0,  # IV-E: lambda is fixed; IV-D, III would let it fall online
        ),
        discount=0.997,  # App. C2
        tau=0.05,  # App. C2
        weight_decay=1e-4,  # App. C2
        noise_std=0.05,  # IV-E: simulation
        critic_noise_std=0.0,  # silent: none is mentioned
        sampling_std=0.7,  # IV-E
        execution_candidates=128,  # App. C2: simulation
        rl_execution_candidates=None,  # App. C2: 24 in RL is for the robot's GPU memory
        eval_episodes=100,  # V-A
        round_eval_episodes=0,  # silent
    )


def paper_real() -> TrainingConfig:
    """The paper's scissors on the robot (IV-E, V-B, App. A, App. C); the cube is another setting.

    Which action components are a pose, relative to the current one (App. A3), depends on the data:
    --model.actions.pose and --model.actions.pose-state say it.
    """
    return TrainingConfig(
        model=_paper_networks(
            ChunkSpec(
                chunk_length=10,  # IV-E, Fig. 7a, App. A3
                # Eq. 7: gamma^H. Fig. 7a does not number it; three committed steps at 10 Hz hide
                # the 0.24 s of a decision (App. E).
                execution_horizon=10,
                prefix_length=3,  # Fig. 7a, App. A3
                history_length=1,  # Fig. 7a, App. A3
            )
        ),
        imitation=StageConfig(
            num_updates=200_000,  # App. C2: scissors
            batch_size=256,  # App. C2: scissors, imitation
            learning_rate=1e-4,  # App. C2: policy initialisation
            dropout=0.2,  # App. C2: policy initialisation of real-world experiments
            learning_rate_decay=0.0,  # silent: none is mentioned
        ),
        critic_warmup=WarmupConfig(
            num_updates=5_000,  # V-B, App. C2: scissors
            batch_size=48,  # App. C2: scissors, all RL stages
            learning_rate=2e-4,  # App. C2: RL
            dropout=0.1,  # App. C2: RL; the policy is frozen and acts without
            target_candidates=1,  # Alg. 3, II: a plain a' ~ pi_theta0
        ),
        offline_rl=RLConfig(
            num_updates=1_000,  # V-B, App. C2: scissors
            batch_size=48,  # App. C2: scissors, all RL stages
            learning_rate=2e-4,  # App. C2: RL
            dropout=0.1,  # App. C2: RL
            bc_coef=0.1,  # IV-E
            actor_candidates=24,  # Alg. 3, III: Alg. 2; App. C2: 24 in RL on the robot
            # Eq. 3 and Alg. 3 write a plain a' ~ pi; we take Alg. 2, the policy that acts.
            target_candidates=24,
        ),
        online_rl=OnlineConfig(
            num_updates=500,  # V-B: a round, 2,500 in all; App. C2 says 4,000 in all
            batch_size=48,  # App. C2: scissors, all RL stages
            learning_rate=2e-4,  # App. C2: RL
            dropout=0.1,  # App. C2: RL
            bc_coef=0.1,  # IV-E
            actor_candidates=24,  # as offline
            target_candidates=24,  # as offline
            num_rounds=5,  # V-B
            episodes_per_round=10,  # V-B
            mixing="by_size",  # App. C2: real-world tasks; IV-D, IV says a fixed ratio of all
            offline_weight=0.5,  # App. C2: real-world tasks
            bc_decay=1.0,  # IV-E: lambda is fixed; IV-D, III would let it fall online
        ),
        discount=0.997,  # App. C2
        tau=0.05,  # App. C2
        weight_decay=1e-4,  # App. C2
        noise_std=0.01,  # IV-E: real-world tasks
        critic_noise_std=0.0,  # silent: none is mentioned
        sampling_std=0.7,  # IV-E
        execution_candidates=64,  # App. C2: real-world inference after policy initialisation
        rl_execution_candidates=24,  # App. C2: during RL fine-tuning
        eval_episodes=10,  # V-B: 10 test configurations
        round_eval_episodes=10,  # Fig. 4: after every round as well
    )


def small() -> TrainingConfig:
    """Trains on two CPU cores in minutes: the paper's method, smaller networks and budgets.

    Batches are larger and the first two stages' learning rates higher than the paper's, because
    updates are few; RL keeps the paper's learning rate and lambda.
    """
    return replace(
        paper_sim(),
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


def softflow_plus() -> TrainingConfig:
    """What learns fastest on state tasks here; docs/experiment_log.md says how fast so far, and
    what else was tried.

    The paper's method with MLPs instead of transformers, a nearer horizon and many cheap updates.
    Online, the policy imitates the demonstrations and its own successes, which become faster, and
    values act by choosing among its chunks: their gradient cost it the grasp.
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


def demo() -> TrainingConfig:
    """`softflow-plus` with the evaluations of `make demo`."""
    return replace(softflow_plus(), eval_episodes=50, checkpoint_interval_s=20.0)


PRESETS = {
    "paper-sim": paper_sim,
    "paper-real": paper_real,
    "small": small,
    "demo": demo,
    "softflow-plus": softflow_plus,
}


def preset(name: str) -> TrainingConfig:
    """A preset by name.

    Raises:
        ConfigError: no such preset; lists the ones there are.
    """
    if name == "paper":
        raise ConfigError(
            'preset "paper" mixed the paper\'s simulated and real settings; choose paper-sim '
            "(RoboMimic) or paper-real (the scissors on the robot)"
        )
    if name not in PRESETS:
        raise ConfigError(f'no preset "{name}"; choose one of {", ".join(PRESETS)}')
    return PRESETS[name]()
