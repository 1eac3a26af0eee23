"""What the process of a policy does: load it, answer questions, end with whoever asks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from multiprocessing.connection import Connection, wait

import numpy as np

from softflow.errors import CheckpointError, NetworkContractError, SoftflowError, brief
from softflow.robot.inference.buffers import DecisionBuffers
from softflow.robot.inference.deciding import Decider, PolicyFacts
from softflow.robot.inference.messages import (
    Attach,
    Decide,
    Decided,
    Failed,
    Load,
    Loaded,
    send,
    to_policy,
)
from softflow.utils.imports import follow, trust

MakeDecider = Callable[..., Decider]
"""Called with what `Load.path` says, and with the options of the process by name."""


def serve(
    connection: Connection, maker: str, options: Mapping[str, str], trusted: frozenset[str]
) -> None:
    """Answer until the other side is gone.

    Args:
        connection: to the control loop.
        maker: "module:function", a `MakeDecider`.
        options: it gets by name.
        trusted: import paths that the user named.
    """
    # A terminal sends Ctrl-C to every process, and it is the loop's to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    trust(*trusted)
    worker = _Worker(connection, maker, options)
    while True:
        try:
            message = to_policy(connection)
        except (EOFError, OSError):
            return
        try:
            worker.do(message)
        except SoftflowError as error:
            send(connection, Failed(str(error)[:2000]))
        except Exception as error:
            send(connection, Failed(brief(error, 2000)))


class _Worker:
    """The policy that was loaded, and the memory it reads questions from."""

    def __init__(self, connection: Connection, maker: str, options: Mapping[str, str]) -> None:
        self._connection, self._maker, self._options = connection, maker, options
        self._decider: Decider | None = None
        self._buffers: DecisionBuffers | None = None
        self._episode: int | None = None
        self._number = 0

    def do(self, message: Load | Attach | Decide) -> None:
        if isinstance(message, Load):
            self._load(message)
        elif isinstance(message, Attach) and self._decider is not None:
            self._buffers = DecisionBuffers(self._decider.facts, message.memory)
        elif isinstance(message, Decide) and self._decider and self._buffers:
            self._decide(message, self._decider, self._buffers)

    def _load(self, message: Load) -> None:
        make: MakeDecider = follow(self._maker)
        decider = make(message.path, **self._options)
        facts = replace(decider.facts, number=message.number)
        self._require_as_before(facts)
        self._decider, self._number, self._episode = decider, message.number, None
        chunk = {name: int(value) for name, value in asdict(facts.chunk).items()}
        told = (facts.version, facts.number, facts.exploration_std)
        send(self._connection, Loaded(facts.spec.to_json(), chunk, *told))

    def _require_as_before(self, facts: PolicyFacts) -> None:
        """Raise CheckpointError if another policy than the one in use does not fit the loop."""
        if self._decider is None:
            return
        now = self._decider.facts
        differences = now.spec.differences(facts.spec)
        if now.chunk != facts.chunk:
            differences.append(f"chunk: {now.chunk} and {facts.chunk}")
        if differences:
            raise CheckpointError(
                f"the policy {facts.version} is of other dimensions than {now.version}, which goes "
                "on: " + "; ".join(differences)
            )

    def _decide(self, message: Decide, decider: Decider, buffers: DecisionBuffers) -> None:
        begun_s = time.monotonic()
        if message.episode != self._episode:
            decider.begin_episode(message.seed)
            self._episode = message.episode
        actions = np.asarray(decider.decide(*buffers.question()), np.float32)
        chunk = decider.facts.chunk.chunk_length, decider.facts.spec.action_dim
        if actions.shape != chunk:
            raise NetworkContractError(f"the policy decided on {actions.shape}, not {chunk}")
        buffers.write_chunk(actions)
        took_s = time.monotonic() - begun_s
        send(self._connection, Decided(message.episode, message.step, took_s, self._number))


def _end_with_parent() -> None:
    """Whoever asks may be killed while this process computes, or hangs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
