"""Several episodes on a robot: reset, act, keep, ask the person beside it; closed at every end."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from softflow.control.observation_history import ObservationHistory
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.data.measures import EVENTS_KEY
from softflow.data.task_profile import EventKind
from softflow.errors import RobotStoppedError
from softflow.robot.control_loop import (
    EpisodeEnd,
    LoopParts,
    fault_in_words,
    run_episode,
    stop_robot,
)
from softflow.robot.inference.deciding import Question
from softflow.robot.recorder import UNLABELLED_KEY
from softflow.utils.console import say

WARM_UP_S = 300.0
"""How long the very first decision may take, while the robot stands still."""
Verdict = Literal["success", "failure", "discard"]
VERDICTS: dict[str, Verdict | None] = {"s": "success", "f": "failure", "d": "discard", "": None}

Listening = Callable[[], AbstractContextManager[LoopParts]]
"""The loop's parts with what a person tells while an episode runs, and only then."""


@dataclass(frozen=True)
class SessionPlan:
    """What is done.

    Attributes:
        episodes: how many; seed: of what is random in robot and decisions.
        pause_every: a pause for the person after so many episodes; 0 makes none.
        asks_verdict: whether a person says what an episode was, where the robot cannot.
        annotator: who that is.
        metadata: kept with every episode.
    """

    episodes: int
    seed: int = 0
    pause_every: int = 0
    asks_verdict: bool = False
    annotator: str = "operator"
    metadata: dict[str, Any] = field(default_factory=dict)


def run_session(
    parts: LoopParts,
    store: EpisodeStore,
    plan: SessionPlan,
    listening: Listening,
    ask: Callable[[str], str] = input,
    before_episode: Callable[[], None] | None = None,
) -> None:
    """Run the episodes of a plan; each is sealed in the store before the next begins.

    Args:
        parts: what the loop works with; its robot is closed when this returns or raises.
        store: open for writing; earlier episodes stay.
        plan: what is done.
        listening: entered for every episode.
        ask: asks the person beside the robot a question, and waits.
        before_episode: called before each, while the robot rests: waits until one may begin, takes
            a newer policy.

    Raises:
        RobotStoppedError: it was stopped, and nothing resets it again by itself.
    """
    try:
        for index in range(plan.episodes):
            if before_episode is not None:
                before_episode()
            number = len(store)
            seed = _episode_seed(plan.seed, number)
            say(f"episode {index + 1} of {plan.episodes}: resetting the robot")
            _reset(parts, seed)
            if index == 0:
                _warm_up(parts, seed)
            with listening() as parts_now:
                end = run_episode(parts_now, index, seed, plan.metadata | {"episode": number})
            _keep(end, store, plan, ask)
            if end.fault:
                raise RobotStoppedError(f"the robot was stopped: {end.fault}")
            if plan.pause_every and (index + 1) % plan.pause_every == 0 < plan.episodes - index - 1:
                done = f"{index + 1} episodes are done; label them if you like."
                _answer(ask, f"{done} Enter goes on: ")
    except BaseException:
        stop_robot(parts.robot)  # what came first is what is raised
        raise
    finally:
        parts.robot.close()


def _reset(parts: LoopParts, seed: int) -> None:
    """Bring the robot to its start; what its driver raises is told as a reason to stop."""
    try:
        parts.robot.reset(seed)
    except Exception as error:
        raise RobotStoppedError(f"the robot was stopped: {fault_in_words(error)}") from error


def _episode_seed(seed: int, number: int) -> int:
    """Another one for every episode of a store."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(b"robot"), number])
    return int(sequence.generate_state(1)[0])


def _warm_up(parts: LoopParts, seed: int) -> None:
    """Have one decision made and thrown away: the first is slow, and the robot stands still."""
    source, clock, holding = parts.source, parts.clock, parts.robot.hold()
    chunk = source.facts.chunk
    seen = ObservationHistory(chunk.history_length, parts.robot.observe().values).stacked()
    source.ask(Question(-1, 0, seed, seen, np.tile(holding, (chunk.prefix_length, 1))))
    deadline_s = clock.now_s() + WARM_UP_S
    while source.poll() is None:
        if source.problem or clock.now_s() > deadline_s:
            told = source.problem or f"its first decision took more than {WARM_UP_S:g} s"
            raise RobotStoppedError(f"the policy cannot act: {told}; the robot did not move")
        clock.wait_until(clock.now_s() + 0.005)


def _keep(
    end: EpisodeEnd, store: EpisodeStore, plan: SessionPlan, ask: Callable[[str], str]
) -> None:
    """Seal an episode with what a person says of it; without, if nobody answers."""
    say(_in_words(end))
    episode, verdict = end.episode, None
    if episode is None or end.ending == "discarded":
        return
    try:
        if plan.asks_verdict and end.ending == "time limit":
            verdict = _verdict(ask)
    finally:
        if verdict == "success" or verdict == "failure":
            episode = _judged(episode, verdict, plan.annotator)
        if verdict != "discard":
            store.append(episode)


def _judged(episode: Episode, verdict: EventKind, annotator: str) -> Episode:
    """The episode, which succeeded or failed in its last step."""
    known = {key: value for key, value in episode.metadata.items() if key != UNLABELLED_KEY}
    event = Event(episode.length - 1, verdict, float(verdict == "success"))
    label = Label(annotator, (event,))
    return label.applied_to(replace(episode, metadata=known), "the episode")


def _verdict(ask: Callable[[str], str]) -> Verdict | None:
    """What a person says of an episode, asked for until it is a verdict; None for none."""
    while True:
        answer = _answer(ask, "success (s), failure (f), discard (d), or Enter for none: ")
        if answer in VERDICTS:
            return VERDICTS[answer]


def _answer(ask: Callable[[str], str], question: str) -> str:
    """The first letter of what a person answers.

    Raises:
        RobotStoppedError: there is nobody to answer.
    """
    try:
        return ask(question).strip().lower()[:1]
    except EOFError as error:
        raise RobotStoppedError(
            "nobody answers: the command has no terminal. Run it in the foreground, or without "
            "pauses and verdicts (--pause-every 0, --verdict never)"
        ) from error


def _happened(episode: Episode) -> str:
    """Events that the robot told of, and the reward; nothing of robots that tell nothing."""
    if UNLABELLED_KEY in episode.metadata:
        return ""
    counts = Counter(name for _, name in episode.metadata.get(EVENTS_KEY, ()))
    parts = [f"{name} {count} times" if count > 1 else name for name, count in counts.items()]
    return f", {', '.join([*parts, f'reward {episode.rewards.sum():g}'])}"


def _in_words(end: EpisodeEnd) -> str:
    """What the console says of an episode."""
    if end.episode is None:
        return f"nothing was recorded ({end.ending})"
    loop, done = end.episode.metadata["loop"], end.episode.metadata["interventions"]["counts"]
    what = "success" if end.episode.success else end.ending
    happened = _happened(end.episode)
    changed = ", ".join(f"{number} {kind}" for kind, number in done.items()) or "none"
    return (
        f"{what} after {end.episode.length} control steps{happened}; decisions took "
        f"{loop['latency']['mean_ms']:.0f} ms (at most {loop['latency']['max_ms']:.0f}), "
        f"{loop['missed_ticks']} ticks missed, {loop['held_steps']} steps without a decision; "
        f"interventions: {changed}"
    )
