"""Six scripted operators for Lift, Can and Square: two better, two okay, two worse.

RoboMimic's multi-human data come from six people of three qualities. These six differ as people do:
in pace, in how high they carry, from which side they come, in how often they stop to think, in how
far beside the object they reach, and in how often they lose it and start over. Nobody is told to
fail: the time is up before some have made it.

All follow one plan with their eyes open: over the object, down, close, up, over the goal, down,
let go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal

import numpy as np

from softflow.data.episode import Episode
from softflow.envs.operators import AnyOperator, OperatorMixture, perform
from softflow.envs.registry import family_of
from softflow.envs.robomimic.scene import FINGER_AXIS, Scene, level, turn_between
from softflow.envs.robomimic.tasks import RobomimicTask
from softflow.errors import ConfigError

OPEN, CLOSE = -1.0, 1.0
POSITION_GAIN, TURN_GAIN = 2.0, 1.0
"""Of the distance still to go, in units of what an action of 1 asks for."""
PUSH = 0.3
"""By how much of what is missing they push harder, every step: joints have friction."""
FULL_STEP_M, FULL_TURN_RAD = 0.05, 0.5
ATTEMPT_S = 7.0
"""How long somebody at full speed tries before they start over; others longer in proportion."""
LOST_M = 0.08
"""A held object this far from the fingers was lost."""
NOTICE_S = 0.3
"""How long it takes to see that."""
NEAR_RAD = 0.15
"""A gripper turned so well is turned well enough."""
ALMOST, CONTENT_S = 2.5, 0.6
"""Who is within so many times the distance asked for, for so long, goes on."""
_UP = np.array([0.0, 0.0, 1.0])

Quality = Literal["better", "okay", "worse"]


@dataclass(frozen=True)
class Operator(AnyOperator):
    """How one operator demonstrates; `pace` is a fraction of the arm's full speed.

    Args:
        quality: goes into the episode's metadata.
        clearance_m: how high above the object they come, and above the goal they carry.
        side_m: how far to the side of the object they come from; low and from the side is how
            things are pushed over.
        settle_s: how long they wait for the fingers to close.
    """

    quality: Quality
    _: KW_ONLY
    clearance_m: float = 0.08
    side_m: float = 0.0
    settle_s: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.pace[0] <= self.pace[1] <= 1.0:
            raise ConfigError(
                f"operator {self.name!r}: pace {self.pace}; give fractions of full speed, 0 to 1"
            )
        if min(self.clearance_m, self.settle_s) <= 0.0:
            raise ConfigError(f"operator {self.name!r}: clearance_m and settle_s are above 0")

    def adapted(self, errors: float, haste: float) -> Operator:
        """The same operator with all errors and the pace multiplied by a factor each."""
        slowest, fastest = (min(1.0, haste * pace) for pace in self.pace)
        return replace(self.erring(errors), pace=(slowest, fastest))


EXPERT = Operator("expert", "better", pace=(1.0, 1.0))
"""Does nothing wrong; demonstrates only if asked to."""
_SWIFT = Operator(
    "swift", "better", pace=(0.8, 1.0), noise_std=(0.02, 0.06), aim_std_m=0.003,
    place_std_m=0.002, clearance_m=0.05,
)  # fmt: skip
_CAREFUL = Operator(
    "careful", "better", pace=(0.45, 0.6), noise_std=(0.02, 0.05), aim_std_m=0.003,
    place_std_m=0.002, clearance_m=0.12, settle_s=0.6,
)  # fmt: skip
_HESITANT = Operator(
    "hesitant", "okay", pace=(0.45, 0.65), noise_std=(0.05, 0.12), aim_std_m=0.008,
    place_std_m=0.005, slips_per_s=0.02, pauses_per_s=0.35, pause_s=(0.4, 1.5),
)  # fmt: skip
_SIDEWAYS = Operator(
    "sideways", "okay", pace=(0.5, 0.75), noise_std=(0.05, 0.12), aim_std_m=0.008,
    place_std_m=0.006, slips_per_s=0.04, clearance_m=0.03, side_m=0.08,
)  # fmt: skip
_SLOW = Operator(
    "slow", "worse", pace=(0.2, 0.28), noise_std=(0.05, 0.15), aim_std_m=0.014,
    place_std_m=0.012, slips_per_s=0.05, clearance_m=0.12,
)  # fmt: skip
_CARELESS = Operator(
    "careless", "worse", pace=(0.4, 0.6), noise_std=(0.12, 0.22), aim_std_m=0.017,
    place_std_m=0.015, slips_per_s=0.15, clearance_m=0.04,
)  # fmt: skip

# What a family asks of its operators: factors on their errors and on their pace. Lift is short and
# forgiving; in Square a finger's breadth decides.
_FAMILY_DEMANDS = {"lift": (1.6, 0.7), "can": (0.5, 1.7), "square": (0.6, 1.7)}


def operator_mixture(env_id: str) -> OperatorMixture:
    """The six operators, equally often."""
    errors, haste = _FAMILY_DEMANDS[family_of(env_id)]
    people = (_SWIFT, _CAREFUL, _HESITANT, _SIDEWAYS, _SLOW, _CARELESS)
    adapted = tuple(person.adapted(errors, haste) for person in people)
    return OperatorMixture(adapted, (1.0,) * len(people))


def other_operators(env_id: str) -> tuple[Operator, ...]:
    """Who demonstrates a task only if asked to: the same in every one."""
    return (EXPERT,)


@dataclass(frozen=True)
class _Leg:
    """A part of the way: where to, until how near, and what the fingers do.

    Attributes:
        target: gives the position [3] now.
        near_m: the leg is over this near to it; infinite for legs that only last.
        fingers: OPEN or CLOSE.
        wait_s: how long the leg lasts at least.
        holding: whether the object is in the hand.
        turning: whether it is turned as the goal asks for.
    """

    target: Callable[[], np.ndarray]
    near_m: float
    fingers: float
    wait_s: float = 0.0
    holding: bool = False
    turning: bool = False


class _Attempt:
    """One try, from above the object to the end, with what the operator wrongly believes."""

    def __init__(
        self, env: RobomimicTask, operator: Operator, pace: float, rng: np.random.Generator
    ) -> None:
        self._scene, self._pace, self._hz = Scene(env.simulator), pace, env.control_hz
        self._operator = operator
        self._aim = rng.normal(0.0, operator.aim_std_m, 3)
        self._aim[2] = abs(self._aim[2])
        self._place = np.array([*rng.normal(0.0, operator.place_std_m, 2), 0.0])
        angle = rng.uniform(-np.pi, np.pi)
        self._side = operator.side_m * np.array([np.cos(angle), np.sin(angle), 0.0])
        self._pushed = np.zeros(3)
        self._start, self._has_held = self._scene.gripper[0], False
        self._legs = self._plan()
        self._leg_steps = self._almost_steps = self._lost_steps = 0
        self._steps_left = round(ATTEMPT_S / pace * self._hz)

    def _plan(self) -> list[_Leg]:
        up, side = _UP * self._operator.clearance_m, self._side
        picking = [
            _Leg(lambda: self._grip() + up + side, 0.03, OPEN),
            _Leg(lambda: self._grip() + 0.6 * up, 0.015, OPEN),
            _Leg(self._grip, 0.008, OPEN),
            _Leg(lambda: self._start, np.inf, CLOSE, wait_s=self._operator.settle_s),
            _Leg(lambda: self._start + up + _UP * self._scene.lift_m, 0.02, CLOSE, holding=True),
        ]
        goal = self._scene.goal
        if goal is None:
            return picking
        over, onto = (np.array([*(goal + self._place)[:2], z]) for z in self._scene.placing_z)
        return [
            *picking,
            self._carrying(over + up, 0.03),
            self._carrying(over, 0.008),
            self._carrying(onto, 0.015),
            _Leg(lambda: self._start, np.inf, OPEN, wait_s=0.4),
            _Leg(lambda: self._start + up, 0.02, OPEN),
        ]

    def _grip(self) -> np.ndarray:
        """Where the operator believes the object can be held."""
        return self._scene.grasp().position + self._aim

    def _carrying(self, target: np.ndarray, near_m: float) -> _Leg:
        """Until the object is at `target`."""

        def gripper() -> np.ndarray:
            return self._scene.gripper[0] + target - self._scene.object_position

        return _Leg(gripper, near_m, CLOSE, holding=True, turning=True)

    def action(self) -> np.ndarray:
        """The intended action [7]."""
        leg = self._legs[0]
        position, rotation = self._scene.gripper
        way = leg.target() - position
        turn = self._turn(leg, rotation)
        self._count(leg, float(np.linalg.norm(way)), float(np.linalg.norm(turn)))
        if np.linalg.norm(way) < FULL_STEP_M:
            self._pushed = np.clip(self._pushed + PUSH * way, -FULL_STEP_M, FULL_STEP_M)
        move = _limited((POSITION_GAIN * way + self._pushed) / FULL_STEP_M, self._pace)
        spin = _limited(TURN_GAIN * turn / FULL_TURN_RAD, self._pace)
        return np.array([*move, *spin, leg.fingers])

    def _turn(self, leg: _Leg, rotation: np.ndarray) -> np.ndarray:
        """Rotation vector [3] to how the gripper should be."""
        if leg.fingers == OPEN and not self._has_held:
            return turn_between(rotation, self._scene.grasp().closing)
        straight = turn_between(rotation, level(rotation[:, FINGER_AXIS]))
        return straight + _UP * (self._scene.goal_turn() if leg.turning else 0.0)

    def _count(self, leg: _Leg, distance_m: float, turn_rad: float) -> None:
        """One more step on this leg; on to the next when it is done."""
        self._leg_steps += 1
        self._steps_left -= 1
        self._has_held = self._has_held or leg.holding
        lost = leg.holding and self._scene.distance_to_grasp > LOST_M
        self._lost_steps = self._lost_steps + 1 if lost else 0
        almost = distance_m < ALMOST * leg.near_m
        self._almost_steps = self._almost_steps + 1 if almost else 0
        turned = turn_rad < NEAR_RAD or not np.isfinite(leg.near_m)
        content = self._almost_steps >= CONTENT_S * self._hz
        there = content or (distance_m < leg.near_m and turned)
        if there and self._leg_steps >= leg.wait_s * self._hz:
            self._legs.pop(0)
            self._leg_steps = self._almost_steps = 0
            self._start, self._pushed = self._scene.gripper[0], np.zeros(3)

    @property
    def over(self) -> bool:
        """Whether the operator looks up, sees how it went, and starts over."""
        lost = self._lost_steps >= NOTICE_S * self._hz
        return not self._legs or self._steps_left <= 0 or lost


def _limited(vector: np.ndarray, most: float) -> np.ndarray:
    """The vector, no longer than `most`."""
    return vector * min(1.0, most / max(float(np.linalg.norm(vector)), 1e-9))


def demonstrate(env: RobomimicTask, operator: Operator, rng: np.random.Generator) -> Episode:
    """One episode by one operator, until success or the time limit.

    A pure function of the environment's family, the operator and the state of `rng`. The recorded
    actions are the executed ones. Metadata: source, operator, quality, style (what was drawn), seed
    (of the environment), attempts.
    """
    env_seed = int(rng.integers(2**31))
    pace, noise_std = (float(rng.uniform(*r)) for r in (operator.pace, operator.noise_std))
    attempts: list[_Attempt] = []

    def intended() -> np.ndarray:
        if not attempts or attempts[-1].over:
            attempts.append(_Attempt(env, operator, pace, rng))
        return attempts[-1].action()

    episode = perform(env, env_seed, operator, noise_std, rng, intended)
    episode.metadata.update(
        source="oracle",
        operator=operator.name,
        quality=operator.quality,
        style={"pace": pace, "noise_std": noise_std},
        seed=env_seed,
        attempts=len(attempts),
    )
    return episode
