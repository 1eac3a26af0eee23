"""The numbers of a distillation."""

from __future__ import annotations

from dataclasses import dataclass, field

from softflow.envs.orca_cube.settings import Gap
from softflow.errors import ConfigError

STRONG_NOISE = Gap(
    pose_noise_m=0.003,
    pose_noise_rad=0.03,
    pose_bias_m=0.004,
    pose_bias_rad=0.04,
    joint_noise_rad=0.01,
    joint_bias_rad=0.03,
)
"""App. B5: "strong observation noise", additive and an offset per episode; the paper gives none."""


@dataclass(frozen=True)
class DistillConfig:
    """How a student is distilled.

    Args:
        num_envs: hands in parallel (1,024 in the paper).
        first_episodes: of the teacher alone, in the student's eyes: they give the statistics that
            inputs are normalised with.
        iterations: buffers that are filled and learned from (200 in the paper).
        updates: gradient steps an iteration. The paper says 200 iterations and about 20 million
            gradient steps, which cannot both hold; here both numbers are explicit.
        steps: control steps of a buffer.
        kept_buffers: buffers that updates draw from, the newest ones; 1 in the paper.
        decay: of the probability that the teacher acts, an iteration.
        noise: of what the student sees.
        platform_s: how long a platform carries the cube.
        evaluate_every: iterations between measurements of the student, and checkpoints.
        evaluated_s: how long a measurement lets it act.

    Raises:
        ConfigError: a number is out of range.
    """

    num_envs: int = 64
    first_episodes: int = 64
    iterations: int = 200
    updates: int = 50
    steps: int = 128
    kept_buffers: int = 8
    decay: float = 0.999
    noise: Gap = field(default_factory=lambda: STRONG_NOISE)
    platform_s: float = 0.0
    evaluate_every: int = 20
    evaluated_s: float = 30.0

    def __post_init__(self) -> None:
        for name in ("num_envs", "first_episodes", "iterations", "updates", "kept_buffers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"distillation: {name} is {getattr(self, name)}; at least 1")
        if self.steps < 2 or self.evaluate_every < 1 or self.evaluated_s <= 0:
            raise ConfigError("distillation: steps at least 2, the others above 0")
        if not 0 < self.decay <= 1:
            raise ConfigError(f"distillation: decay is {self.decay}; give (0, 1]")

    def teacher_share(self, iteration: int) -> float:
        """The probability that the teacher acts in an iteration, counted from 0 (App. B5)."""
        return self.decay**iteration


SMOKE_DISTILLATION = DistillConfig(
    num_envs=4,
    first_episodes=2,
    iterations=2,
    updates=2,
    steps=12,
    kept_buffers=2,
    evaluate_every=1,
    evaluated_s=0.5,
)
"""Every part once, in seconds: for tests."""
