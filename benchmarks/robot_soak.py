"""A robot at its rate for a long time, beside a learner that loads the machine.

    python -m benchmarks.robot_soak RUN --minutes 60

The robot is the environment of the run's data in real time, its policy the run's, and beside it a
learner makes real updates without end (`--no-learner`: something else loads the machine). What
reaches the robot is watched from the robot's side: when, and which actions. The same policy in the
same limits without delay is the measure of jumps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from softflow.control.acting import ActingEpisode
from softflow.data.data_spec import DataSpec
from softflow.envs.registry import make_env
from softflow.robot.control_loop import LoopParts, run_episode
from softflow.robot.environment_robot import EnvironmentRobot
from softflow.robot.inference.checkpoint_decider import load_decider
from softflow.robot.inference.process import InferenceProcess
from softflow.robot.protocol import Outcome, Sensed
from softflow.robot.safety.limits import ComponentLimit, Limits
from softflow.robot.safety.safety_layer import SafetyLayer
from softflow.training.provenance import learned_from
from softflow.utils.files import write_json

MISSED = 1.5
"""Periods between two control steps from which on one was missed."""
LEARNER = """
import sys
from dataclasses import replace
from pathlib import Path
from softflow.jobs.train import train
from softflow.models.checkpoint import last_checkpoint
from softflow.training.persistence import read_run_facts
from softflow.training.provenance import learned_from
run, to = map(Path, sys.argv[1:])
config, _, _ = read_run_facts(last_checkpoint(run / "checkpoints"))
long = replace(config.imitation, num_updates=10**6)
train(learned_from(run)["dataset"], to, replace(config, imitation=long), stages=["imitation"])
"""


@dataclass(frozen=True)
class Options:
    """A robot in real time beside a learner that loads the machine."""

    run: Annotated[Path, tyro.conf.Positional]
    """A trained run, on data that name an environment."""
    minutes: float = 60.0
    """How long the robot runs."""
    learner: bool = True
    """Start the learner; without it, something else should load the machine."""
    json: Path | None = None
    """File for the numbers."""


@dataclass
class Seen:
    """What reached the robot in an episode: when it was looked at, and the actions."""

    looks_s: list[float] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)

    def jumps(self) -> np.ndarray:
        """The largest change of a component from one action to the next, [steps - 1]."""
        return np.abs(np.diff(np.array(self.actions), axis=0)).max(axis=1, initial=0.0)


class Watched:
    """A robot as it is, with notes of what reaches it.

    Args:
        robot: that is watched.
    """

    def __init__(self, robot: EnvironmentRobot) -> None:
        self._robot = robot
        self.spec, self.max_episode_steps = robot.spec, robot.max_episode_steps
        self.episodes: list[Seen] = []
        self.hold, self.stop, self.close = robot.hold, robot.stop, robot.close

    def reset(self, seed: int) -> None:
        """Begin an episode."""
        self.episodes.append(Seen())
        self._robot.reset(seed)

    def observe(self) -> Sensed:
        """Called once a control step, when it begins."""
        self.episodes[-1].looks_s.append(time.monotonic())
        return self._robot.observe()

    def act(self, action: np.ndarray) -> Outcome:
        """One control step of the environment."""
        self.episodes[-1].actions.append(action.copy())
        return self._robot.act(action)


def limits_of(spec: DataSpec) -> Limits:
    """The data's range, which a component crosses in two control steps at the fastest."""
    ranges = zip(spec.action_low, spec.action_high, strict=True)
    fastest = [(high - low) * spec.control_hz / 2 for low, high in ranges]
    return Limits([ComponentLimit(index, velocity=most) for index, most in enumerate(fastest)])


@contextmanager
def learner_beside(run: Path) -> Iterator[None]:
    """Updates of the run's own networks on its own data, in a process of one thread."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", LEARNER, str(run), f"{folder}/run"],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError(
                    f"the learner ended with {process.returncode}; nothing was shown"
                )
        finally:
            process.kill()
            process.wait()


def robot_for(run: Path, minutes: float, seconds_told: float = 60.0) -> dict[str, Any]:
    """Episodes on the robot for so long; what came of them."""
    env_id = learned_from(run)["data_spec"]["env_id"]
    robot = Watched(EnvironmentRobot(make_env(env_id), env_id))
    limits, loops, loads = limits_of(robot.spec), list[dict[str, Any]](), list[float]()
    until_s = time.monotonic() + 60 * minutes
    told_s = time.monotonic()
    with InferenceProcess(str(run)) as source:
        parts = LoopParts(robot, source, limits)
        while time.monotonic() < until_s:
            seed = len(robot.episodes)
            robot.reset(seed)
            end = run_episode(parts, seed, seed)
            if end.episode is None:
                raise RuntimeError(f"episode {seed} never began: {end.fault}")
            if end.fault:
                print(f"episode {seed} was stopped: {end.fault}", flush=True)
            loops.append(end.episode.metadata)
            loads.append(os.getloadavg()[0])
            if time.monotonic() > told_s + seconds_told:
                told_s = time.monotonic()
                print(f"{seed + 1} episodes, load {loads[-1]:.1f}", flush=True)
    robot.close()
    return facts_of(robot, limits, loops) | {
        "load": [min(loads), float(np.mean(loads)), max(loads)]
    }


def facts_of(robot: Watched, limits: Limits, told: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of a run: what the loop counted, and what the robot saw."""
    loops = [one["loop"] for one in told]
    unhandled = pauses = 0
    longest_s = 0.0
    for seen, loop in zip(robot.episodes, loops, strict=True):
        gaps = np.diff(seen.looks_s[: len(seen.actions)]) * robot.spec.control_hz
        missed = int(np.round(gaps[gaps > MISSED] - 1).sum())
        unhandled += max(missed - loop["missed_ticks"], 0)
        pauses += int((gaps > MISSED).sum())
        longest_s = max(longest_s, gaps.max(initial=0.0) / robot.spec.control_hz)
    latency = [(loop["latency"]["mean_ms"], loop["latency"]["number"]) for loop in loops]
    deciding = [(loop["deciding"]["mean_ms"], loop["deciding"]["number"]) for loop in loops]
    counts = [one["interventions"]["counts"] for one in told]
    return {
        "episodes": len(loops),
        "steps": sum(len(seen.actions) for seen in robot.episodes),
        "missed ticks, counted by the loop": sum(loop["missed_ticks"] for loop in loops),
        "pauses of the robot above 1.5 periods": pauses,
        "missed ticks, unhandled": unhandled,
        "longest pause, ms": longest_s * 1000,
        "episodes that a watchdog stopped": sum(one["ended"] == "stopped" for one in told),
        "held steps": sum(loop["held_steps"] for loop in loops),
        "skipped actions": sum(loop["skipped_actions"] for loop in loops),
        "clipped by the limits": sum(one.get("clipped", 0) for one in counts),
        "actions outside limits": outside(robot.episodes, limits, robot.spec),
        "latency of a decision, ms": _mean(latency),
        "of it inference, ms": _mean(deciding),
    } | jumps_of(robot.episodes)


def _mean(parts: list[tuple[float, int]]) -> float:
    total = sum(number for _, number in parts)
    return sum(mean * number for mean, number in parts) / max(total, 1)


def jumps_of(episodes: list[Seen]) -> dict[str, float]:
    """How far a component goes from one action to the next."""
    jumps = np.concatenate([seen.jumps() for seen in episodes])
    return {"largest jump": float(jumps.max()), "jump, 99.9 %": float(np.quantile(jumps, 0.999))}


def outside(episodes: list[Seen], limits: Limits, spec: DataSpec) -> int:
    """Actions that are outside the range, or that came too fast; computed anew."""
    low, high = np.array(spec.action_low), np.array(spec.action_high)
    most = np.array([limit.velocity for limit in limits.component]) / spec.control_hz
    bad = 0
    for seen in episodes:
        actions = np.array(seen.actions, np.float64)
        too_far = (actions < low) | (actions > high) | ~np.isfinite(actions)
        too_fast = np.abs(np.diff(actions, axis=0)) > most * (1 + 1e-6)
        bad += int(too_far.any(axis=1).sum() + too_fast.any(axis=1).sum())
    return bad


def without_delay(run: Path, episodes: int) -> dict[str, float]:
    """The same policy, seeds and limits, in a world that waits for every decision."""
    decider = load_decider(str(run), "cpu")
    env = make_env(learned_from(run)["data_spec"]["env_id"])
    spec, seen = decider.facts.spec, list[Seen]()
    for seed in range(episodes):
        seen.append(_undelayed_episode(env, decider, SafetyLayer(limits_of(spec), spec), seed))
    return jumps_of(seen)


def _undelayed_episode(env: Any, decider: Any, safety: SafetyLayer, seed: int) -> Seen:
    seen, period_s = Seen(), 1 / env.control_hz
    decider.begin_episode(seed)
    acting = ActingEpisode(
        decider.facts.chunk,
        env.neutral_action,
        lambda values, prefix, _: decider.decide(values, prefix),
    )
    safety.begin(env.neutral_action)
    values, is_over = env.reset(seed=seed)[0], False
    while not is_over:
        action = safety.command(acting.act(values), values, period_s).action
        seen.actions.append(action)
        values, _, terminated, truncated, _ = env.step(action)
        is_over = terminated or truncated
    return seen


def main(options: Options) -> None:
    """Run, print a line a figure, write the file."""
    with learner_beside(options.run) if options.learner else nullcontext():
        facts = robot_for(options.run, options.minutes)
    undelayed = without_delay(options.run, facts["episodes"])
    facts |= {f"{name}, without delay": value for name, value in undelayed.items()}
    for name, value in facts.items():
        print(f"{name}: {value if isinstance(value, list | int) else f'{value:.4g}'}")
    if options.json:
        write_json(options.json, facts)


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m benchmarks.robot_soak"))
