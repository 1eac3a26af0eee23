"""Two rules on recorded signals: a cube has turned by 90 degrees, a gripper has lifted something.

An event carries the control step whose action brought it about: what is seen first in observation
t + 1 happened at step t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from softflow.curation.components import component_sizes, parse_component, rows_of
from softflow.data.episode import Episode
from softflow.errors import ConfigError
from softflow.labelling.proposals import ProposedEvent
from softflow.labelling.rules import RuleContext

DOUBTFUL = 0.5
"""Confidence in what follows from a signal that jumped."""


@dataclass(frozen=True)
class QuarterTurnSettings:
    """What counts as a turn (paper V-C: +1 for each 90 degrees).

    Attributes:
        event: which declared event it is.
        quat: the first of four components of the cube's orientation next to each other (unit
            quaternion), such as observation.state[24]; its turn about the vertical axis counts.
        order: of these four, wxyz or xyzw.
        yaw: instead of `quat`, one component that is that angle in rad; may wrap at any full turn.
        direction: 1 counter-clockwise seen from above, -1 clockwise.
        degrees: of one turn.
        hold_s: it must stay so far for this long: one wrong pose is no turn.
        jump_degrees: a change within one control step above which the cube was lost from sight, and
            what follows is proposed with confidence 0.5.
    """

    event: str = "rotated"
    quat: str = ""
    order: str = "wxyz"
    yaw: str = ""
    direction: int = 1
    degrees: float = 90.0
    hold_s: float = 0.1
    jump_degrees: float = 60.0

    def __post_init__(self) -> None:
        if bool(self.quat) == bool(self.yaw):
            raise ConfigError(
                "cube-quarter-turn needs to know where the cube's orientation is: --set "
                "quat=KEY[FIRST OF FOUR], or --set yaw=KEY[COMPONENT] for an angle in rad"
            )
        if self.order not in ("wxyz", "xyzw") or self.direction not in (1, -1):
            raise ConfigError(
                f"cube-quarter-turn: order is {self.order!r} (wxyz or xyzw), direction "
                f"{self.direction} (1 or -1)"
            )
        require_positive("cube-quarter-turn", degrees=self.degrees, jump_degrees=self.jump_degrees)
        require_hold("cube-quarter-turn", self.hold_s)


@dataclass(frozen=True)
class LiftedSettings:
    """What counts as lifted: a height above where it began, and, if told, a gripper that holds.

    Attributes:
        event: which declared event it is.
        height: component that is the height of the thing, or of the gripper, in m.
        rise: m above where it began.
        above: what that is: "start", its height in the first observation, or "lowest", the least it
            has been since; that one is for the height of a gripper, which first goes down.
        gap: component that is how far the fingers are apart; "" to look at the height alone.
        gap_above, gap_below: it holds something while the gap lies between the two: neither shut on
            nothing nor open.
        hold_s: both must stay so for this long.
    """

    event: str = "retrieved"
    height: str = ""
    rise: float = 0.04
    above: str = "start"
    gap: str = ""
    gap_above: float = -math.inf
    gap_below: float = math.inf
    hold_s: float = 0.1

    def __post_init__(self) -> None:
        if not self.height:
            raise ConfigError(
                "gripper-lifted needs to know which component is the height: --set height=KEY[NAME]"
            )
        if self.above not in ("start", "lowest"):
            raise ConfigError(f"gripper-lifted: above is {self.above!r}; choose start or lowest")
        require_positive("gripper-lifted", rise=self.rise)
        require_hold("gripper-lifted", self.hold_s)
        if not self.gap_above < self.gap_below:
            raise ConfigError(
                f"gripper-lifted: gap_above {self.gap_above} must be below gap_below "
                f"{self.gap_below}"
            )


def require_positive(rule: str, **settings: float) -> None:
    """Raise ConfigError unless these are finite and above 0."""
    for name, value in settings.items():
        if not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{rule}: {name} is {value}; give a finite number above 0")


def require_hold(rule: str, hold_s: float) -> None:
    """Raise ConfigError unless it is a time."""
    if not (math.isfinite(hold_s) and hold_s >= 0):
        raise ConfigError(f"{rule}: hold_s is {hold_s}; give seconds, 0 for a single step")


def cube_quarter_turn(
    episode: Episode, context: RuleContext, settings: QuarterTurnSettings
) -> list[ProposedEvent]:
    """One event for each further 90 degrees; what is turned back and forth again counts once."""
    yaw, lost = _unwrapped(_yaw(episode, context, settings), math.radians(settings.jump_degrees))
    degrees = np.degrees(yaw - yaw[0]) * settings.direction
    turned = np.maximum.accumulate(_held(degrees, context.spec.control_hz, settings.hold_s))
    # float32 signals stop a hair before a quarter
    quarters = np.floor(turned / settings.degrees + 1e-4).clip(min=0).astype(int)
    events: list[ProposedEvent] = []
    for step, new in enumerate(np.diff(quarters)):
        doubtful = bool(lost[: step + 2].any()) or new > 1
        confidence = DOUBTFUL if doubtful else 1.0
        events += [context.event(settings.event, step, confidence)] * int(new)
    return events


def gripper_lifted(
    episode: Episode, context: RuleContext, settings: LiftedSettings
) -> list[ProposedEvent]:
    """One event where it is first held above; more, each after a way down, where it may repeat."""
    height = context.signal(episode, settings.height)
    lowest = settings.above == "lowest"
    risen = height - (np.minimum.accumulate(height) if lowest else height[0])
    holds = np.ones(len(risen), bool)
    if settings.gap:
        gap = context.signal(episode, settings.gap)
        holds = (gap > settings.gap_above) & (gap < settings.gap_below)
    up = _held(np.where(holds, risen, -np.inf), context.spec.control_hz, settings.hold_s)
    repeats = context.kinds.named(settings.event).repeats
    events: list[ProposedEvent] = []
    armed = True
    for step in range(len(up) - 1):
        if armed and up[step + 1] >= settings.rise:
            events.append(context.event(settings.event, step))
            armed = False
        elif repeats and risen[step + 1] < settings.rise / 2:
            armed = True
    return events


def _yaw(episode: Episode, context: RuleContext, settings: QuarterTurnSettings) -> np.ndarray:
    """Turn about the vertical axis [T+1] in rad, each within a full turn of nobody knows which."""
    if settings.yaw:
        return context.signal(episode, settings.yaw)
    key, (first, *others) = parse_component(settings.quat, context.spec)
    size = component_sizes(context.spec)[key]
    if others or first + 4 > size:
        raise ConfigError(
            f"cube-quarter-turn: quat is '{settings.quat}'; name the first of four components next "
            f"to each other, '{key}' has {size}"
        )
    quat = rows_of(episode, key)[:, first : first + 4].astype(np.float64)
    w, z = (quat[:, 0], quat[:, 3]) if settings.order == "wxyz" else (quat[:, 3], quat[:, 2])
    # The twist of swing and twist: unlike Euler's yaw it stands a cube that tilts. q and -q are a
    # full turn apart, which unwrapping takes out.
    return 2.0 * np.arctan2(z, w)


def _unwrapped(angle: np.ndarray, jump: float) -> tuple[np.ndarray, np.ndarray]:
    """The angle without its wraps, and where it jumped [T+1]."""
    unwrapped = np.unwrap(angle)
    return unwrapped, np.abs(np.diff(unwrapped, prepend=unwrapped[0])) > jump


def _held(values: np.ndarray, control_hz: float, hold_s: float) -> np.ndarray:
    """For each step what the signal keeps for `hold_s` from there on, or to the end: its least."""
    steps = max(1, math.ceil(hold_s * control_hz - 1e-9))
    padded = np.concatenate([values, np.full(steps - 1, values[-1])])
    return np.lib.stride_tricks.sliding_window_view(padded, steps).min(axis=1)
