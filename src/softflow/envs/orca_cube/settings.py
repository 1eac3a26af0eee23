"""The numbers of the cube task, and of hands that differ from the one a policy was trained on."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import pi
from typing import Literal

from softflow.errors import ConfigError

CONTROL_HZ = 20.0
"""App. B4."""
QUARTER_RAD = pi / 2


@dataclass(frozen=True)
class Gap:
    """How a hand differs from the nominal simulator: "reality", as far as this repository has one.

    Args:
        delay_s: from a command until the joints' controllers hear it.
        friction: sliding friction between cube and hand.
        mass_factor: of the cube.
        gain_factor: of the position controllers.
        pose_noise_m: standard deviation of each reading of the cube's position.
        pose_noise_rad: of each reading of its orientation.
        pose_bias_m: of the offset of its position that an episode keeps.
        pose_bias_rad: of the offset of its orientation.
        joint_noise_rad: of each reading of a joint.
        joint_bias_rad: of the offset of each joint's reading, kept for an episode.

    Raises:
        ConfigError: a value no hand has.
    """

    delay_s: float = 0.0
    friction: float = 0.9
    mass_factor: float = 1.0
    gain_factor: float = 1.0
    pose_noise_m: float = 0.0
    pose_noise_rad: float = 0.0
    pose_bias_m: float = 0.0
    pose_bias_rad: float = 0.0
    joint_noise_rad: float = 0.0
    joint_bias_rad: float = 0.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, factor = getattr(self, entry.name), entry.name.endswith(("friction", "factor"))
            if not (0 < value < 10 if factor else 0 <= value < 10):
                least = "above 0" if factor else "0 or more"
                raise ConfigError(f"Gap.{entry.name} is {value!r}; give {least}, and below 10")

    def scaled(self, share: float) -> Gap:
        """A part of this gap: 0 is the nominal hand, 1 all of it."""
        none = Gap()
        return Gap(
            **{
                entry.name: getattr(none, entry.name)
                + share * (getattr(self, entry.name) - getattr(none, entry.name))
                for entry in fields(self)
            }
        )


NO_GAP = Gap()
TWIN_GAP = Gap(
    delay_s=0.1,
    friction=0.5,
    mass_factor=1.4,
    gain_factor=0.9,
    pose_noise_m=0.005,
    pose_noise_rad=0.05,
    pose_bias_m=0.005,
    pose_bias_rad=0.05,
    joint_bias_rad=0.05,
)
"""The "real" hand: late, slippery, heavy, seen through noise. Delay and friction hurt most."""


@dataclass(frozen=True)
class Commands:
    """Which rotations about the vertical axis are asked for (App. B4).

    Args:
        slowest_rad_s: the smallest magnitude.
        fastest_rad_s: the largest; drawn uniformly between.
        directions: +1 counter-clockwise seen from above, -1 clockwise; drawn with equal odds.
        shortest_s: how long one is held at least.
        longest_s: how long at most, before the next is drawn.

    Raises:
        ConfigError: an empty range, or another direction.
    """

    slowest_rad_s: float = 0.5
    fastest_rad_s: float = 1.5
    directions: tuple[Literal[-1, 1], ...] = (1,)
    shortest_s: float = 8.0
    longest_s: float = 12.0

    def __post_init__(self) -> None:
        if not 0 < self.slowest_rad_s <= self.fastest_rad_s:
            raise ConfigError(
                f"Commands from {self.slowest_rad_s} to {self.fastest_rad_s} rad/s; give two "
                "magnitudes above 0, the smaller one first"
            )
        if not 0 < self.shortest_s <= self.longest_s:
            raise ConfigError(
                f"Commands held for {self.shortest_s} to {self.longest_s} s; give two times above "
                "0, the shorter one first"
            )
        if not self.directions or set(self.directions) - {-1, 1}:
            raise ConfigError(f"Commands.directions is {self.directions!r}; give 1, -1 or both")


@dataclass(frozen=True)
class CubeSettings:
    """The cube task (Sec. V-C, App. B4).

    Args:
        cube_edge_m: of the cube.
        cube_mass_kg: where simulation worked; the paper gives none.
        physics_step_s: 1/120 s in the paper; 0.01 s trains as well and is faster.
        solver_iterations: fewer than 20 blow up, and a search finds and exploits that.
        episode_s: time limit.
        platform_s: how long the platform carries the cube; 0 begins in the air, in a stable grasp.
        ema: weight of the newest target in the joints' targets.
        start_grasps: episodes begin in one of so many grasps, those most like the cache's home.
        drop_m: how far below its start the cube counts as dropped.
        commands: what is asked for.
        gap: how this hand differs from the nominal one.
        events_from: whether quarter turns are counted on the true pose or on what is observed.

    Raises:
        ConfigError: a value is out of range.
    """

    cube_edge_m: float = 0.045
    cube_mass_kg: float = 0.05
    physics_step_s: float = 0.01
    solver_iterations: int = 20
    episode_s: float = 32.0
    platform_s: float = 6.0
    ema: float = 0.5
    start_grasps: int = 64
    drop_m: float = 0.04
    commands: Commands = Commands()
    gap: Gap = NO_GAP
    events_from: Literal["truth", "observation"] = "truth"

    def __post_init__(self) -> None:
        steps = 1 / (CONTROL_HZ * self.physics_step_s) if self.physics_step_s > 0 else 0.5
        if abs(steps - round(steps)) > 1e-6 or round(steps) < 1:
            raise ConfigError(
                f"CubeSettings.physics_step_s is {self.physics_step_s}; a whole number of them "
                f"must make a control step of {1 / CONTROL_HZ:g} s (0.01, 0.005 or 1/120)"
            )
        if self.solver_iterations < 20:
            raise ConfigError(
                f"CubeSettings.solver_iterations is {self.solver_iterations}; give 20 or more: the "
                "contacts of five fingers blow up below"
            )
        if not 0 < self.ema <= 1:
            raise ConfigError(f"CubeSettings.ema is {self.ema}; give a weight in (0, 1]")
        for name in ("cube_edge_m", "cube_mass_kg", "episode_s", "drop_m", "start_grasps"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"CubeSettings.{name} is {getattr(self, name)}; make it > 0")
        if not 0 <= self.platform_s < self.episode_s:
            raise ConfigError(
                f"CubeSettings.platform_s is {self.platform_s}; give 0 (no platform) or a time "
                f"below episode_s, {self.episode_s:g}"
            )

    @property
    def physics_steps(self) -> int:
        """Of a control step."""
        return round(1 / (CONTROL_HZ * self.physics_step_s))

    @property
    def max_steps(self) -> int:
        """Control steps of an episode."""
        return round(self.episode_s * CONTROL_HZ)

    @property
    def platform_steps(self) -> int:
        """Control steps with the platform."""
        return round(self.platform_s * CONTROL_HZ)


def twin(settings: CubeSettings, share: float = 1.0) -> CubeSettings:
    """The same task on the "real" hand: finer physics, `share` of its gap, and no platform.

    Nobody carries a cube under a real hand: it is put into a stable grasp.
    """
    return replace(settings, physics_step_s=0.005, platform_s=0.0, gap=TWIN_GAP.scaled(share))
