"""The numbers of a teacher's training, and its two presets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from softflow.envs.orca_cube.randomisation import Randomisation
from softflow.envs.orca_cube.settings import Commands, CubeSettings
from softflow.errors import ConfigError
from softflow.teacher.gait_search import GaitSearchConfig

TWO_CORES_RANDOMISATION = Randomisation(
    hand_friction=(0.6, 1.2), cube_friction=(0.6, 1.2), gravity_m_s2=0.3
)


@dataclass(frozen=True)
class PpoConfig:
    """PPO's numbers; the defaults are Table IV's.

    Args:
        num_envs: hands in parallel.
        steps_per_env: control steps of each in an iteration.
        iterations: rollouts and updates.
        epochs: how often an update sees each step.
        minibatches: of an epoch.
        learning_rate: at first; adapted so that an update moves the policy by `desired_kl`.
        desired_kl: KL divergence of the policy before and after an update, in nats.
        discount: per control step.
        gae_lambda: of the advantages.
        clip: of the ratio of likelihoods, and of the value loss.
        entropy_coef: weight of the policy's entropy.
        value_coef: weight of the value loss.
        max_grad_norm: gradients are clipped to it.
        hidden: widths of both networks, with ELU.
        init_std: of the Gaussian policy.

    Raises:
        ConfigError: a number is out of range.
    """

    num_envs: int = 8192
    steps_per_env: int = 24
    iterations: int = 10_000
    epochs: int = 5
    minibatches: int = 4
    learning_rate: float = 1e-4
    desired_kl: float = 0.01
    discount: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_coef: float = 1e-4
    value_coef: float = 1.0
    max_grad_norm: float = 1.0
    hidden: tuple[int, ...] = (512, 512, 256, 128)
    init_std: float = 1.0

    def __post_init__(self) -> None:
        for name in ("num_envs", "steps_per_env", "iterations", "epochs", "minibatches"):
            if getattr(self, name) < 1:
                raise ConfigError(f"ppo.{name} is {getattr(self, name)}; make it at least 1")
        if self.num_envs * self.steps_per_env < self.minibatches:
            raise ConfigError(f"ppo: {self.minibatches} minibatches need as many steps")
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"ppo.hidden is {self.hidden}; give the widths of the layers")
        if not 0 < self.discount <= 1 or self.learning_rate <= 0 or self.init_std <= 0:
            raise ConfigError("ppo: discount in (0, 1], learning_rate and init_std above 0")


@dataclass(frozen=True)
class TeacherConfig:
    """How a teacher is trained.

    Args:
        cube: the task.
        randomisation: of it.
        gait: how gaits are searched; None learns without one (the paper).
        residual: how far the policy moves the gait's targets, in action units; 1 without a gait.
        reward: Table III, or capped rotation and a penalty for drops.
        ppo: its numbers.
        evaluate_every: iterations between evaluations.
        learning_episode_s: time limit while PPO learns; shorter than the task's lets it see more
            starts, where most cubes drop. None is the task's.

    Raises:
        ConfigError: a number is out of range.
    """

    cube: CubeSettings = field(default_factory=CubeSettings)
    randomisation: Randomisation = field(default_factory=Randomisation)
    gait: GaitSearchConfig | None = field(default_factory=GaitSearchConfig)
    residual: float = 0.2
    reward: Literal["table_iii", "rotation"] = "rotation"
    ppo: PpoConfig = field(default_factory=PpoConfig)
    evaluate_every: int = 50
    learning_episode_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.residual <= 1:
            raise ConfigError(f"residual is {self.residual}; give (0, 1]")
        if self.evaluate_every < 1:
            raise ConfigError(f"evaluate_every is {self.evaluate_every}; make it at least 1")
        limit = self.learning_episode_s
        if limit is not None and not self.cube.platform_s < limit <= self.cube.episode_s:
            raise ConfigError(
                f"learning_episode_s is {limit}; give None, or more than the platform's "
                f"{self.cube.platform_s:g} s and up to the task's {self.cube.episode_s:g} s"
            )


PAPER = TeacherConfig(
    cube=CubeSettings(physics_step_s=1 / 120, commands=Commands(0.01, 1.5)),
    gait=None,
    residual=1.0,
    reward="table_iii",
)
"""App. B4: 8,192 hands, 10,000 iterations, no gait. For a GPU."""

TWO_CORES = TeacherConfig(
    randomisation=TWO_CORES_RANDOMISATION,
    learning_episode_s=12.0,
    ppo=PpoConfig(
        num_envs=256,
        iterations=200,
        learning_rate=5e-4,
        hidden=(256, 128, 64),
        init_std=0.4,
        entropy_coef=0.0,
        value_coef=1.0,
    ),
)
"""For two cores; docs/cube.md says what has been measured."""

SMOKE = replace(
    TWO_CORES,
    gait=GaitSearchConfig(
        scouted_grasps=2,
        scouted_gaits=2,
        scouting_s=0.5,
        population=6,
        elite=3,
        generations=1,
        trial_s=0.5,
    ),
    ppo=replace(TWO_CORES.ppo, num_envs=8, steps_per_env=8, iterations=2, hidden=(16,)),
    evaluate_every=1,
    cube=CubeSettings(platform_s=0.0),
    learning_episode_s=None,
)
"""Every part once, in seconds: for tests."""

PRESETS = {"paper": PAPER, "two-cores": TWO_CORES, "smoke": SMOKE}
SUMMARIES = {
    "paper": "App. B4: 8,192 hands, 10,000 iterations, no gait. For a GPU; not tried to its end",
    "two-cores": "A gait, then PPO on it: a quarter of an hour of one core",
    "smoke": "Every part once, in seconds; turns nothing",
}
"""What each is, in one line."""
