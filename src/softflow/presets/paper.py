"""The paper's two settings, each number with its section.

RoboMimic in simulation (`robomimic-image`, `robomimic-state`), and the scissors on the robot.
"""

from __future__ import annotations

from dataclasses import replace

from softflow.data.chunk_spec import ChunkSpec
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoder import EncoderConfig
from softflow.models.encoders.mixed import MixedConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.images.dinov2 import DinoV2Config
from softflow.models.images.resnet18 import ResNet18Config
from softflow.models.policies.coupling import FlowConfig
from softflow.training.config import (
    ImitationConfig,
    ModelConfig,
    OnlineConfig,
    RLConfig,
    TrainingConfig,
    WarmupConfig,
)


def _networks(chunk: ChunkSpec, encoder: EncoderConfig) -> ModelConfig:
    """The paper's networks behind an encoder whose tokens are 512 wide (App. C1)."""
    return ModelConfig(
        chunk=chunk,
        policy=FlowConfig(
            num_layers=16,  # IV-E, App. C1: coupling layers
            dim=256,  # IV-E, App. C1
            num_heads=8,  # App. C1
            mlp_dim=768,  # silent; the parameter count of App. C1 decides it
            head_hidden_dim=512,  # silent; the parameter count of App. C1 decides it
        ),
        encoder=encoder,
        critic=TransformerCriticConfig(
            num_critics=2,  # IV-E, App. C1
            combine="minimum",  # Alg. 2; Alg. 3, III
            learns="hl_gauss",  # IV-C
            num_bins=101,  # App. C1; sigma of 0.75 bins: IV-E points to Tarasov et al. 2024
            dim=512,  # App. C1
            num_heads=8,  # App. C1
            num_layers=3,  # App. C1
            mlp_dim=256,  # App. C1
            dropout=0.1,  # App. C1
        ),
    )


def _robomimic_networks() -> ModelConfig:
    return _networks(
        ChunkSpec(
            chunk_length=10,  # IV-E
            execution_horizon=10,  # III, Eq. 7: chunks are executed whole
            prefix_length=0,  # silent: Fig. 7 shows the real tasks, and a simulator waits
            history_length=1,  # silent
        ),
        # V-A, App. C1: a ResNet-18 for each camera of 84x84, its last feature map as tokens.
        # The sizes of the MLP that reads proprioception are ours.
        MixedConfig(token_dim=512, image=ResNet18Config(finetune="full", norm="batch")),
    )


def robomimic_image() -> TrainingConfig:
    """The paper's simulated tasks: RoboMimic Lift, Can and Square (IV-E, V-A, App. C).

    Where these sections are silent the scissors' number stands in, and its comment says so.
    """
    return TrainingConfig(
        model=_robomimic_networks(),
        imitation=ImitationConfig(
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


def robomimic_state() -> TrainingConfig:
    """`robomimic-image` from state: what its low_dim files hold (V-A has no such table).

    The MLP that reads the state has our own sizes.
    """
    images = robomimic_image()
    return replace(images, model=replace(images.model, encoder=StateMlpConfig(token_dim=512)))


def _dinov2() -> MixedConfig:
    """All cameras through one DINOv2, frozen as in V-B; App. C1 trains its LayerNorms ("norm")."""
    return MixedConfig(token_dim=512, image=DinoV2Config(finetune="frozen", resize=(224, 224)))


def _scissors_networks() -> ModelConfig:
    return _networks(
        ChunkSpec(
            chunk_length=10,  # IV-E, Fig. 7a, App. A3
            # Eq. 7: gamma^H. Fig. 7a does not number it; three committed steps at 10 Hz hide
            # the 0.24 s of a decision (App. E).
            execution_horizon=10,
            prefix_length=3,  # Fig. 7a, App. A3
            history_length=1,  # Fig. 7a, App. A3
        ),
        _dinov2(),
    )


def scissors() -> TrainingConfig:
    """The paper's scissors on the robot (IV-E, V-B, App. A, App. C); the cube is another setting.

    The cameras are those of the data (three of 224x224 in V-B).

    Which action components are a pose, relative to the current one (App. A3), depends on the data:
    --model.actions.pose and --model.actions.pose-state say it.
    """
    return TrainingConfig(
        model=_scissors_networks(),
        imitation=ImitationConfig(
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
