"""Options of `softflow teacher`: the docstrings are the text of --help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from softflow.cli.words import InPath
from softflow.errors import ConfigError
from softflow.teacher.config import TeacherConfig
from softflow.teacher.distillation.config import DistillConfig
from softflow.training.config import TrainingConfig


@dataclass(frozen=True)
class Grasps:
    """Search stable grasps of a cube, from which episodes begin.

    Needed for another hand or cube only: those of the ORCA hand and 45 mm come with softflow.
    """

    out: Path
    """File to write."""
    count: int = 500
    """At least so many."""
    seed: int = 0
    """Of the search."""
    cube_edge_m: float = 0.045
    """Edge of the cube."""
    hand: str = ""
    """A HandDescription of your own, module:name; by default the right ORCA hand. It runs code, so
    it is imported only if you name it here."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.cube_edge_m <= 0:
            raise ConfigError("--count and --cube-edge-m must be above 0")


@dataclass(frozen=True)
class TrainTeacher:
    """Train a teacher that turns a cube in the hand: a gait, then PPO on it (App. B4).

    Stopped at any moment, the same command goes on.
    """

    run: Path
    """The teacher's folder."""
    config: Annotated[TeacherConfig, tyro.conf.arg(name="")]
    """Numbers of the preset."""
    seed: int = 0
    """Of everything random."""
    device: str = "cpu"
    """Torch device of PPO's networks; the physics is on the processor."""
    hand: str = ""
    """A HandDescription of your own, module:name; by default the right ORCA hand."""
    grasps: InPath | None = None
    """Its grasps (softflow teacher grasps --hand …); those of the ORCA hand come with softflow."""

    def __post_init__(self) -> None:
        if self.hand and self.grasps is None:
            raise ConfigError(
                f"--hand {self.hand} needs its grasps: softflow teacher grasps --hand {self.hand} "
                "--out grasps.npz, then --grasps grasps.npz"
            )


@dataclass(frozen=True)
class EvaluateTeacher:
    """Measure a teacher: turns a minute, turns before the end, drops."""

    run: InPath
    """The teacher's folder."""
    hands: int = 64
    """How many hands turn a cube."""
    seconds: float = 60.0
    """The longest that each has."""
    seed: int = 0
    """Of their physics; others than in training."""
    gait_alone: bool = False
    """Without the policy's corrections."""
    nominal: bool = False
    """Without domain randomisation."""
    hand: str = ""
    """The HandDescription of your own that it moves, module:name."""

    def __post_init__(self) -> None:
        if self.hands < 1 or self.seconds <= 0:
            raise ConfigError("--hands and --seconds must be above 0")


@dataclass(frozen=True)
class Distill:
    """Teach a policy of chunks what a teacher does, seen through noise (App. B5).

    Its folder then holds a checkpoint to go on from, and episodes to do it with:

      softflow train cube-small --dataset STUDENT/episodes --run RUN --from STUDENT

    Stopped at any moment, the same command goes on.
    """

    teacher: InPath
    """Folder of `softflow teacher train`."""
    run: Path
    """The student's folder."""
    distill: DistillConfig
    """Numbers of the distillation."""
    config: Annotated[TrainingConfig, tyro.conf.arg(name="")]
    """Numbers of the student's preset: its networks, and the stage imitation."""
    env_id: str = "orca-cube-twin"
    """Environment that the student is for."""
    hand: str = ""
    """The HandDescription of your own that the teacher moves, module:name."""
