"""`softflow robot` at its rate for a long time, beside a `softflow learn` that loads the machine.

    python -m benchmarks.robot_soak RUN --out runs/robot_soak --minutes 60

The two commands share an exchange folder and nothing else: episodes go to the learner, which trains
without end (its updates are not waited for), and its policies come to the robot between episodes.
The robot is the environment of the run's data in real time, and notes on its own side what reaches
it. The first and the last policy in the same limits without any delay are the measure of jumps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from benchmarks.watched_robot import ENV_ID, NOTES, Seen, read_notes
from softflow.control.acting import ActingEpisode
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.envs.registry import make_env
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.inference.checkpoint_decider import load_decider
from softflow.robot.safety.limits import Limits
from softflow.robot.safety.limits_file import read_limits
from softflow.robot.safety.safety_layer import SafetyLayer
from softflow.training.provenance import learned_from
from softflow.utils.files import write_bytes, write_json

MISSED = 1.5
"""Periods between two control steps from which on one was missed."""
EVERY_S = 10.0
"""Between two looks at the machine and the processes."""


@dataclass(frozen=True)
class Options:
    """`softflow robot` in real time beside a `softflow learn`."""

    run: Annotated[Path, tyro.conf.Positional]
    """A trained run, on data that name an environment; the learner goes on with a copy."""
    out: Path
    """Folder of everything that comes of it; made anew."""
    minutes: float = 60.0
    """How long the robot runs."""
    nice: int = 5
    """How much the learner steps back for what must not be late."""
    undelayed: int = 100
    """Episodes without delay of each of the two policies."""


class Command:
    """One softflow command in a process of its own, with one thread.

    Args:
        words: after `softflow`.
        log: file for what it says.
        nice: how much it steps back.
        environment: variables beside this process's own.
    """

    def __init__(
        self, words: Sequence[str], log: Path, nice: int, environment: Mapping[str, str]
    ) -> None:
        self.log = log
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                ["nice", "-n", str(nice), sys.executable, "-m", "softflow", *words],
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self._process.poll() is not None

    def end(self, patience_s: float = 60.0) -> None:
        """Tell it to end, then make it; what a shell has in its background ignores Ctrl-C."""
        self._process.terminate()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def processor_s(self) -> float:
        """Processor time so far, of the process itself."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Soak:
    """The two commands and what they share.

    Args:
        options: of the soak.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        out = options.out.absolute()
        shutil.rmtree(out, ignore_errors=True)
        self.episodes, self.notes, self.limits_file = out / "robot", out / "notes", out / "limits"
        self.exchange = ExchangeFolder(out / "exchange")
        self._learning, self._out = out / "learning", out
        shutil.copytree(
            options.run, self._learning, ignore=shutil.ignore_patterns("demonstrations", "*.lock")
        )
        facts = learned_from(options.run)["data_spec"]
        self.env_id, self.spec = facts["env_id"], DataSpec.from_json(facts)
        write_bytes(self.limits_file, limits_text(self.spec).encode())
        self.loads: list[float] = []
        self.learner_share = 0.0
        self.stopped_runs = 0

    def run(self) -> None:
        """Let both run for the time; raises if the learner ends."""
        learn = ["learn", str(self._learning), "--exchange", str(self.exchange.path)]
        learner = Command([*learn, "--continuous"], self._out / "learn.log", self._options.nice, {})
        try:
            _wait_for(self.exchange.order_file, learner)
            self._robot_beside(learner)
        finally:
            learner.end()

    def _robot_beside(self, learner: Command) -> None:
        robot, begun_s, learned_s = self._robot(), time.monotonic(), learner.processor_s()
        try:
            while (elapsed_s := time.monotonic() - begun_s) < 60 * self._options.minutes:
                time.sleep(EVERY_S)
                self.loads.append(os.getloadavg()[0])
                if learner.has_ended():
                    raise RuntimeError(f"the learner ended, so nothing was shown: {learner.log}")
                if robot.has_ended():
                    self.stopped_runs += 1
                    robot = self._robot()
            self.learner_share = (learner.processor_s() - learned_s) / elapsed_s
        finally:
            robot.end()

    def _robot(self) -> Command:
        words = ["robot", str(self._options.run), "--robot", "benchmarks.watched_robot:make"]
        words += ["--limits", str(self.limits_file), "--out", str(self.episodes)]
        words += ["--exchange", str(self.exchange.path), "--name", "arm", "--episodes", "10000"]
        watched = {ENV_ID: self.env_id, NOTES: str(self.notes)}
        return Command(words, self._out / "robot.log", 0, watched)

    def newest_policy(self) -> Path:
        """The last one that the learner published."""
        return max(path for path in self.exchange.policies.iterdir() if path.name[0] != ".")


def _wait_for(path: Path, command: Command) -> None:
    while not path.exists():
        if command.has_ended():
            raise RuntimeError(f"the learner ended before it began: {command.log}")
        time.sleep(0.2)


def limits_text(spec: DataSpec) -> str:
    """The data's range, which a component crosses in two control steps at the fastest."""
    ranges = enumerate(zip(spec.action_low, spec.action_high, strict=True))
    return "".join(
        f"[[component]]\ncomponent = {index}\nvelocity = {(high - low) * spec.control_hz / 2}\n"
        for index, (low, high) in ranges
    )


def facts_of(seen: Sequence[Seen], told: Sequence[Mapping[str, Any]], hz: float) -> dict[str, Any]:
    """What the loop counted in each episode, and what the robot saw of it."""
    loops = [one["loop"] for one in told]
    unhandled = pauses = 0
    longest_s = 0.0
    for one, loop in zip(seen, loops, strict=True):
        gaps = np.diff(one.looks_s) * hz
        missed = int(np.round(gaps[gaps > MISSED] - 1).sum())
        unhandled += max(missed - loop["missed_ticks"], 0)
        pauses += int((gaps > MISSED).sum())
        longest_s = max(longest_s, gaps.max(initial=0.0) / hz)
    versions = [one["policy_version"] for one in told]
    return {
        "episodes": len(loops),
        "control steps": sum(len(one.actions) for one in seen),
        "policies": f"{len(set(versions))}, from {versions[0]} to {versions[-1]}",
        "missed ticks, counted by the loop": sum(loop["missed_ticks"] for loop in loops),
        "missed ticks, unhandled": unhandled,
        "pauses of the robot above 1.5 periods": pauses,
        "longest pause, ms": longest_s * 1000,
        "held steps": sum(loop["held_steps"] for loop in loops),
        "skipped actions": sum(loop["skipped_actions"] for loop in loops),
        "clipped by the limits": sum(
            one["interventions"]["counts"].get("clipped", 0) for one in told
        ),
        "latency of a decision, ms": _mean(loops, "latency"),
        "of it inference, ms": _mean(loops, "deciding"),
    }


def _mean(loops: Sequence[Mapping[str, Any]], what: str) -> float:
    total = sum(loop[what]["number"] for loop in loops)
    return sum(loop[what]["mean_ms"] * loop[what]["number"] for loop in loops) / max(total, 1)


def jumps_of(episodes: Sequence[Seen]) -> dict[str, Any]:
    """How far a component goes from one action to the next."""
    jumps = np.concatenate([one.jumps() for one in episodes])
    largest = [round(float(value), 4) for value in jumps.max(axis=0)]
    return {
        "largest jump": max(largest),
        "largest jump, each component": largest,
        "jump, 99.9 %": float(np.quantile(jumps.max(axis=1), 0.999)),
    }


def outside(episodes: Sequence[Seen], limits: Limits, spec: DataSpec) -> int:
    """Actions that are outside the range, or that came too fast; computed anew."""
    low, high = np.array(spec.action_low), np.array(spec.action_high)
    most = np.array([limit.velocity for limit in limits.component]) / spec.control_hz
    bad = 0
    for seen in episodes:
        actions = seen.actions
        too_far = (actions < low) | (actions > high) | ~np.isfinite(actions)
        too_fast = np.abs(np.diff(actions, axis=0)) > most * (1 + 1e-6)
        bad += int(too_far.any(axis=1).sum() + too_fast.any(axis=1).sum())
    return bad


def without_delay(policy: Path, env_id: str, limits: Limits, episodes: int) -> list[Seen]:
    """A policy in the same limits, in a world that waits for every decision."""
    decider, env = load_decider(str(policy), "cpu"), make_env(env_id)
    spec = decider.facts.spec
    layers = (SafetyLayer(limits, spec) for _ in range(episodes))
    return [_undelayed_episode(env, decider, layer, seed) for seed, layer in enumerate(layers)]


def _undelayed_episode(env: Any, decider: Any, safety: SafetyLayer, seed: int) -> Seen:
    actions, period_s = list[np.ndarray](), 1 / env.control_hz
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
        actions.append(action)
        values, _, terminated, truncated, _ = env.step(action)
        is_over = terminated or truncated
    return Seen(np.arange(len(actions)) * period_s, np.array(actions, np.float64))


def main(options: Options) -> None:
    """Run, print a line a figure, write the file."""
    soak = Soak(options)
    soak.run()
    limits, spec = read_limits(soak.limits_file), soak.spec
    seen = read_notes(soak.notes, spec.action_dim)
    with EpisodeStore.open(soak.episodes) as store:
        told = [store.episode(index).metadata for index in range(len(store))]
    facts = facts_of(seen, told, spec.control_hz) | {
        "runs that a watchdog stopped": soak.stopped_runs,
        "actions outside limits": outside(seen, limits, spec),
        "load of the machine": [min(soak.loads), float(np.mean(soak.loads)), max(soak.loads)],
        "processor that the learner had": soak.learner_share,
    }
    policies = (options.run, soak.newest_policy())
    undelayed = [
        episode
        for policy in policies
        for episode in without_delay(policy, soak.env_id, limits, options.undelayed)
    ]
    facts |= jumps_of(seen)
    facts |= {f"{name}, without delay": value for name, value in jumps_of(undelayed).items()}
    for name, value in facts.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    write_json(options.out / "figures.json", facts)


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m benchmarks.robot_soak"))
