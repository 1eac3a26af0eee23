"""The cube in the hand: the paper's numbers (V-C, App. B, App. C), and a size for two cores."""

from __future__ import annotations

from dataclasses import replace

from softflow.data.chunk_spec import ChunkSpec
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.presets.ours import imitating_successes
from softflow.presets.paper import scissors
from softflow.training.config import TrainingConfig

CUBE_CHUNK = ChunkSpec(
    chunk_length=6,  # Fig. 7b, App. B3
    # Not numbered in Fig. 7b; two committed steps at 20 Hz hide the 0.1 s of a decision (App. E).
    execution_horizon=6,
    prefix_length=2,  # Fig. 7b, App. B3
    history_length=4,  # Fig. 7b, App. B3
)


def cube() -> TrainingConfig:
    """The paper's cube in the hand (V-C, App. B, App. C): distilled, then online RL.

    Seven rounds of 15 minutes of hand time; in the first three the critic learns alone.
    """
    robot = scissors()
    return replace(
        robot,
        model=replace(
            robot.model,
            chunk=CUBE_CHUNK,
            # App. C1: "No visual encoder (Orca in-hand)"; its sizes are not stated.
            encoder=StateMlpConfig(token_dim=512, hidden_dim=512, state_tokens=4),
        ),
        imitation=replace(robot.imitation, batch_size=1_024),  # App. C2: distillation
        critic_warmup=replace(
            robot.critic_warmup,
            num_updates=0,  # Fig. 5: it learns of the real hand alone
            batch_size=512,  # App. C2: cube, RL
        ),
        # V-C 3: directly to online RL, because the gap is large.
        offline_rl=replace(robot.offline_rl, num_updates=0, batch_size=512),
        online_rl=replace(
            robot.online_rl,
            num_updates=1_000,  # V-C 3: a round
            critic_rounds=3,  # Fig. 5: "the first 3,000 updates are used for critic warm-up"
            batch_size=512,  # App. C2: cube, RL
            num_rounds=7,  # V-C 3
            episodes_per_round=28,  # V-C 3 says 15 minutes: as many episodes of 32 s
        ),
    )


def cube_small() -> TrainingConfig:
    """The cube in the hand on two CPU cores: MLPs, cheap updates and the cube's chunks.

    Online episodes explore, and a correction of all actions is learned from them (docs/cube.md).
    """
    plus = imitating_successes()
    return replace(
        plus,
        model=replace(
            plus.model,
            chunk=CUBE_CHUNK,
            encoder=StateMlpConfig(token_dim=64, hidden_dim=256, state_tokens=1),
        ),
        noise_std=0.02,
        imitation=replace(plus.imitation, batch_size=256, learning_rate_decay=0.0),
        online_rl=replace(
            plus.online_rl,
            imitates="demonstrations",  # an episode that ends with a drop is no success here
            exploration_std=0.06,
            num_rounds=7,
            episodes_per_round=60,  # a few minutes at first, half an hour when nothing drops
            num_updates=300,
        ),
    )
