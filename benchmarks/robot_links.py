"""How long the ways between robot, policy and learner take, beside inference alone.

Every decision is the same: `small-image` through three cameras of 224 × 224, one thread. It is
asked for in this process, of a second process, of `softflow serve` over a websocket of this machine
(by itself, and from a second process as `softflow robot` does), and from a ROS 2 driver's topics
to its command. Through the exchange go an episode, until the learner has checked it, and a policy,
until the robot's second process has loaded it; what both sides wait between two looks comes on top.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import ros2_link
from benchmarks.data_images import image_episode
from benchmarks.link_policy import CHUNK, camera_spec, committed, seen, write_policies
from benchmarks.measuring import Row, Section, Spread, Timings, measure
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.robot.exchange.claiming import Claim
from softflow.robot.exchange.inbox import EpisodeInbox
from softflow.robot.exchange.policy_publishing import publish
from softflow.robot.exchange.robot_side import RobotSide
from softflow.robot.exchange_experience import POLL_S
from softflow.robot.inference.checkpoint_decider import load_decider
from softflow.robot.inference.deciding import Question
from softflow.robot.inference.process import InferenceProcess
from softflow.robot.learner_rounds import PAUSE_S
from softflow.robot.policy_client import PolicyClient

SERVED = "softflow.robot.inference.served_decider:connect_decider"
ALONE, SECOND = "inference alone", "a second process"
CLIENT, SERVED_SECOND = "softflow serve, its client", "softflow serve, from a second process"
LOOK_S = 0.0005
ROS2 = "ROS 2, topics to command"
EPISODE, POLICY = "an episode to the learner", "a policy to the robot"


def run(turns: int, pixels: int = 224, steps: int = 100) -> Section:
    """Rows for the ways of a decision, of an episode of so many steps, and of a policy."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    spec = camera_spec(pixels)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        checkpoints = write_policies(Path(folder) / "checkpoints", pixels, turns + 2)
        first, *newer = checkpoints
        process = stack.enter_context(InferenceProcess(str(first), device="cpu"))
        port = stack.enter_context(_serving(first))
        inferences: dict[str, list[float]] = {SECOND: [], CLIENT: []}
        decisions = measure(_decisions(first, spec, process, port, stack, inferences), turns)
        exchange = stack.enter_context(_exchange(Path(folder), spec, process, newer, steps))
        exchanged = measure(exchange, turns)
        rows = [_row(name, decisions, _told(inferences.get(name))) for name in decisions.turns_ms]
        rows += _ros2_rows(first, pixels, turns)
    alone = decisions.turns_ms[ALONE]
    notes = (f"and up to {POLL_S:g} s between two looks", f"and up to {PAUSE_S:g} s")
    for name, note in zip(exchange, notes, strict=True):
        both = Timings({ALONE: alone, name: exchanged.turns_ms[name]})
        rows.append(_row(name, both, note))
    title = f"Links of a robot: `small-image`, three cameras {pixels} × {pixels}, one thread"
    return Section(title, "÷ inference alone", rows)


def _row(name: str, timings: Timings, note: str) -> Row:
    ratio = None if name == ALONE else timings.ratio(name, ALONE)
    return Row(name, timings.ms(name), ratio, note=note)


def _decisions(
    checkpoint: Path,
    spec: DataSpec,
    process: InferenceProcess,
    port: int,
    stack: ExitStack,
    inferences: dict[str, list[float]],
) -> dict[str, Callable[[], object]]:
    decider, url = load_decider(str(checkpoint), "cpu"), f"ws://127.0.0.1:{port}"
    client = PolicyClient(url, spec, deadline_s=60.0)
    stack.callback(client.close)
    told = {"spec": json.dumps(spec.to_json()), "token": "", "deadline_s": "60"}
    served = stack.enter_context(InferenceProcess(url, SERVED, **told))
    values, prefix = seen(spec), committed()

    def by_client() -> None:
        client.decide(values, prefix)
        inferences[CLIENT].append(client.inference_ms)

    return {
        ALONE: lambda: decider.decide(values, prefix),
        SECOND: lambda: inferences[SECOND].append(_asked(process, values, prefix)),
        CLIENT: by_client,
        SERVED_SECOND: lambda: _asked(served, values, prefix),
    }


def _asked(process: InferenceProcess, values: dict[str, np.ndarray], prefix: np.ndarray) -> float:
    """Ask and wait; gives what the process says that deciding took, milliseconds."""
    process.ask(Question(0, 0, 0, values, prefix))
    while (answer := process.poll()) is None:
        if process.problem:
            raise RuntimeError(process.problem)
        time.sleep(LOOK_S)  # the two have two threads between them
    return 1e3 * answer.decided_in_s


def _told(inferences: list[float] | None) -> str:
    """What inference took in a way, without the untimed turn."""
    return f"inference there: {np.median(inferences[1:]):.0f} ms" if inferences else ""


@contextmanager
def _serving(checkpoint: Path) -> Iterator[int]:
    """The port of `softflow serve`, while the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "softflow", "serve", str(checkpoint), "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stdout.readline() if process.stdout else ""
        found = re.search(r"ws://127\.0\.0\.1:(\d+)", said)
        if found is None:
            raise RuntimeError(f"softflow serve did not begin: {said}")
        yield int(found.group(1))
    finally:
        process.kill()
        process.wait()


@contextmanager
def _exchange(
    folder: Path, spec: DataSpec, process: InferenceProcess, newer: Sequence[Path], steps: int
) -> Iterator[dict[str, Callable[[], object]]]:
    """Sealing and sending an episode until the learner has it, and a policy until it is loaded."""
    (folder / "run").mkdir()
    claim = Claim(folder / "run", folder / "exchange", spec, CHUNK)
    claim.require()
    inbox = EpisodeInbox(claim.folder, folder / "arriving", spec, print)
    episode, checkpoints, taken = image_episode(spec, steps, 0), iter(newer), list[str]()
    with EpisodeStore.create(folder / "robot", spec) as store:
        side = RobotSide(claim.folder.path, store, "arm", CHUNK, print)

        def send() -> None:
            number = len(store)
            store.append(replace(episode, metadata={"number": number}))
            side.send()
            arrived = inbox.arrivals(taken)
            if len(arrived) != 1:
                raise RuntimeError(f"{len(arrived)} episodes arrived, not one")
            inbox.episode(arrived[0])
            taken.append(arrived[0].name.key)

        def take() -> None:
            publish(claim.folder, claim.identity, next(checkpoints))
            received = side.newer_policy()
            why = process.load(str(received.checkpoint)) if received else "it was not seen"
            if why:
                raise RuntimeError(f"the policy was not taken: {why}")

        yield {EPISODE: send, POLICY: take}


def _ros2_rows(checkpoint: Path, pixels: int, turns: int) -> list[Row]:
    """From a driver's messages to its command; the ratio is to the inference in between."""
    told = ros2_link.measured(checkpoint, pixels, turns)
    if isinstance(told, str):
        return [Row(ROS2, note=f"not measured: {told}")]
    link, alone = np.array(told["link_ms"]), np.array(told["inference_ms"])
    return [Row(ROS2, Spread.of(link), Spread.of(link / alone), note=_told([0.0, *alone]))]
