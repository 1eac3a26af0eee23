"""The policy in a process of its own: what it does, or that it dies, never holds up the loop."""

from __future__ import annotations

import time
from contextlib import suppress

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.errors import CheckpointError, RobotStoppedError
from softflow.robot.inference.buffers import DecisionBuffers
from softflow.robot.inference.deciding import Answer, PolicyFacts, Question
from softflow.robot.inference.messages import (
    Attach,
    Decide,
    Decided,
    Failed,
    FromPolicy,
    Load,
    Loaded,
    from_policy,
    send,
)
from softflow.robot.inference.serving import serve
from softflow.robot.spawned import spawn
from softflow.utils.imports import trusted

LOADING_S = 300.0
"""How long a policy may take to be loaded, torch included."""
_ENDING_S = 2.0
_DIED = "the policy's process died: killed, out of memory, or by an error of its own"
CHECKPOINTS = "softflow.robot.inference.checkpoint_decider:load_decider"
"""Makes a decider of a checkpoint; the only part that needs torch, and in the other process."""


class InferenceProcess:
    """Decisions from a second process on this machine; use it as a context manager.

    Args:
        path: what the maker gets: a run, a checkpoint.
        maker: "module:function", called with `path` and the options in the other process; makes a
            `Decider`.
        options: of the maker, by name.

    Raises:
        CheckpointError: the policy cannot be loaded; nothing runs any more.
    """

    def __init__(self, path: str, maker: str = CHECKPOINTS, **options: str) -> None:
        self._process, self._connection = spawn(serve, maker, options, trusted(), daemon=True)
        self._buffers: DecisionBuffers | None = None
        self._busy, self._problem = False, ""
        try:
            self.facts = self._load(path, 0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> InferenceProcess:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the other process."""
        return self._process.pid or 0

    @property
    def is_busy(self) -> bool:
        """Whether a question is on its way."""
        return self._busy

    @property
    def problem(self) -> str:
        """Why no more answers will come; empty while the process lives and answers."""
        if not self._problem and not self._process.is_alive():
            self._problem = _DIED
        return self._problem

    def load(self, path: str) -> str:
        """Take another policy, between episodes; waits until it is there.

        Returns:
            Why it is not in use, as one that is torn, or of other dimensions than the one that is:
            that goes on. Empty if it is in use.
        """
        try:
            self.facts = self._load(path, self.facts.number + 1)
        except CheckpointError as error:
            return str(error)
        return ""

    def ask(self, question: Question) -> None:
        """Send a question; does not wait.

        Raises:
            RobotStoppedError: one is on its way already.
        """
        if self._busy or self._buffers is None:
            raise RobotStoppedError("a decision was asked for while another one is on its way")
        self._busy = True
        self._buffers.write_question(question.observations, question.prefix)
        try:
            send(self._connection, Decide(question.episode, question.step, question.seed))
        except OSError:
            self._problem = _DIED

    def poll(self) -> Answer | None:
        """The answer, once it is there; does not wait."""
        message = self._received()
        if isinstance(message, Failed):
            self._problem = f"the policy failed: {message.why}"
        if not isinstance(message, Decided) or self._buffers is None:
            return None
        self._busy = False
        chunk, took_s = self._buffers.chunk(), message.decided_in_s
        return Answer(message.episode, message.step, chunk, took_s, message.number)

    def close(self) -> None:
        """End the process, however it does; a second call does nothing."""
        self._connection.close()
        for end in (lambda: None, self._process.terminate, self._process.kill):
            end()
            self._process.join(_ENDING_S)
            if not self._process.is_alive():
                break
        if self._buffers is not None:
            self._buffers.close()
            self._buffers = None

    def _received(self) -> FromPolicy | None:
        """The next message, if there is one."""
        try:
            return from_policy(self._connection) if self._connection.poll(0) else None
        except (EOFError, OSError):
            self._problem = _DIED
            return None

    def _load(self, path: str, number: int) -> PolicyFacts:
        self._await_quiet(path)
        with suppress(OSError):  # of a process that died, which is told below
            send(self._connection, Load(path, number))
        message = self._awaited(path)
        if isinstance(message, Failed):
            raise CheckpointError(message.why)
        if not isinstance(message, Loaded):
            raise CheckpointError(f"the policy of '{path}' cannot be loaded: {self.problem}")
        chunk, spec = ChunkSpec(**message.chunk), DataSpec.from_json(message.spec)
        told = (message.version, message.number, message.exploration_std)
        facts = PolicyFacts(spec, chunk, *told)
        if self._buffers is None:  # later policies are of the same dimensions
            self._buffers = DecisionBuffers(facts)
            send(self._connection, Attach(self._buffers.name))
        return facts

    def _await_quiet(self, path: str) -> None:
        """Wait for an answer that is on its way, and drop it."""
        if self._busy and not isinstance(self._awaited(path), Decided):
            raise CheckpointError(f"'{path}' cannot be loaded: {self.problem}")
        self._busy = False

    def _awaited(self, path: str) -> FromPolicy | None:
        """The next message; None if the process is gone, or takes too long."""
        deadline_s = time.monotonic() + LOADING_S
        while time.monotonic() < deadline_s and not self.problem:
            if self._connection.poll(0.1):
                return self._received()
        self._problem = self.problem or f"'{path}' was not loaded within {LOADING_S:g} s"
        return None
