"""The seam between a control loop and whatever decides for it: here, or on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec


@dataclass(frozen=True)
class PolicyFacts:
    """What a loop must know of a policy.

    Attributes:
        spec: what the data it was trained on held.
        chunk: lengths of its decisions.
        version: its name, kept with every episode; later ones are known by `number`.
        number: counts the policies a run was given, from 0.
        exploration_std: of the offset that each episode's actions are shifted by; 0: of none.
    """

    spec: DataSpec
    chunk: ChunkSpec
    version: str
    number: int = 0
    exploration_std: float = 0.0


class Decider(Protocol):
    """A policy, where its networks are. It may take its time, and may fail.

    Attributes:
        facts: of the policy; `number` is counted by whoever asks.
    """

    facts: PolicyFacts

    def begin_episode(self, seed: int) -> None:
        """What is random from now on follows from the seed."""
        ...

    def decide(self, observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
        """The chunk `[H, A]` after the actions `prefix` `[P, A]`, the robot's units.

        Args:
            observations: key -> `[history, ...]`, the newest last.
            prefix: what will be executed before the chunk begins.
        """
        ...


@dataclass(frozen=True)
class Question:
    """What a decision is asked for with.

    Attributes:
        episode: number of the episode within the run; step: its control step.
        seed: of the episode.
        observations, prefix: as `Decider.decide` gets them.
    """

    episode: int
    step: int
    seed: int
    observations: Mapping[str, np.ndarray]
    prefix: np.ndarray


@dataclass(frozen=True)
class Answer:
    """A decision that has arrived.

    Attributes:
        episode, step: of the question.
        actions: the chunk `[H, A]`.
        decided_in_s: what the networks took; the rest of the latency is the way there and back.
        policy: number of the policy that decided.
    """

    episode: int
    step: int
    actions: np.ndarray
    decided_in_s: float
    policy: int


class DecisionSource(Protocol):
    """What a control loop asks for decisions, one at a time; no method of it waits.

    Attributes:
        facts: of the policy that decides now.
    """

    facts: PolicyFacts

    @property
    def is_busy(self) -> bool:
        """Whether a question is on its way: then no other may be asked."""
        ...

    @property
    def problem(self) -> str:
        """Why no more answers will come, for a person; empty while all is well."""
        ...

    def ask(self, question: Question) -> None:
        """Send a question."""
        ...

    def poll(self) -> Answer | None:
        """The answer, once it is there."""
        ...
