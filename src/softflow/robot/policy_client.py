"""A policy on another machine, asked as if it were here: no torch, no thread of one's own.

What the network does is not seen but as time: a connection that breaks is made again, and the same
question asked again, until the deadline. The control loop never waits here; see
`robot/control_loop.py` and docs/robot.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict
from socket import IPPROTO_TCP, TCP_USER_TIMEOUT

import msgspec
import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.sync.client import ClientConnection, connect

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, DataError, PolicyServerError, brief
from softflow.robot.messages import (
    MAX_HELLO_BYTES,
    PROTOCOL,
    Answer,
    Array,
    Ask,
    Hello,
    Message,
    Welcome,
    answer_bytes,
    packed,
    unpacked_reply,
)
from softflow.utils.machine import softflow_version

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5


class PolicyClient:
    """Asks a policy server for decisions; one thread at a time.

    Attributes:
        policy: name of the policy that answers; it may be another one after the server was started
            anew, of the same dimensions.
        chunk: lengths of its decisions.
        reads: keys of the observations that it reads.
        inference_ms: how long the policy took for the last decision, by the server's clock.

    Args:
        url: "ws://host:port".
        spec: what the robot sees and does.
        chunk: lengths of a decision that the robot is set up for; None takes those of the policy.
        token: of the server, if it wants one.
        deadline_s: the longest that connecting, or a decision with all it takes, may last.

    Raises:
        PolicyServerError: nobody answers there in time, or the policy does not fit the robot.
        ConfigError: the address is none.
    """

    def __init__(
        self,
        url: str,
        spec: DataSpec,
        chunk: ChunkSpec | None = None,
        token: str = "",
        deadline_s: float = 5.0,
    ) -> None:
        self._url, self._spec, self._deadline_s = url, spec, deadline_s
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._asked = chunk
        self._connection: ClientConnection | None = None
        self._open = ExitStack()
        self._id = 0
        self.policy, self.reads, self.inference_ms = "", (), 0.0
        self.chunk = ChunkSpec(1, 1) if chunk is None else chunk
        self._until(time.monotonic() + deadline_s, None)

    def decide(self, observations: Mapping[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
        """A decision.

        Args:
            observations: key -> `[history, ...]`; what the policy does not read is not sent.
            prefix: `[P, A]`.

        Returns:
            `[H, A]` float32.

        Raises:
            PolicyServerError: no answer in time, or the policy refuses: the same question will be
                refused again.
        """
        self._id += 1
        try:
            seen = {key: Array.of(observations[key]) for key in self.reads}
        except KeyError as error:
            raise PolicyServerError(f"the policy reads {error}, which was not observed") from error
        ask = Ask(self._id, seen, Array.of(np.asarray(prefix, np.float32)))
        answer = self._until(time.monotonic() + self._deadline_s, packed(ask))
        if not isinstance(answer, Answer):
            raise PolicyServerError(f"{self._url}: the server said nothing")
        shape = (self.chunk.chunk_length, self._spec.action_dim)
        self.inference_ms = answer.inference_ms
        return answer.actions.values("the chunk", "float32", shape)

    def close(self) -> None:
        """Hang up; the next decision connects anew."""
        with suppress(OSError, ConnectionClosed):
            self._open.close()
        self._connection = None

    def _until(self, deadline_s: float, question: bytes | None) -> Answer | None:
        """Connect, and ask, until it worked or the time is over."""
        pause_s, trouble = FIRST_PAUSE_S, ""
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                connection = self._connection or self._connect(deadline_s)
                if question is None:
                    return None
                connection.send(question)
                return self._answer(connection, deadline_s)
            except InvalidStatus as error:
                self.close()
                trouble = _status(error)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError) as error:
                self.close()
                trouble = brief(error)
            except AssertionError:  # of websockets, where a stranger hangs up in the handshake
                self.close()
                trouble = "it hung up"
            except BaseException:
                self.close()  # an answer that comes later belongs to no question
                raise
            time.sleep(max(0.0, min(pause_s, left_s)))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        raise PolicyServerError(
            f"{self._url} gave no answer within {self._deadline_s:g} s ({trouble or 'too slow'}); "
            "is `softflow serve` running there?"
        )

    def _connect(self, deadline_s: float) -> ClientConnection:
        left_s = max(0.001, deadline_s - time.monotonic())
        try:
            connecting = connect(
                self._url,
                additional_headers=self._headers,
                compression=None,
                open_timeout=left_s,
                close_timeout=0.2,
                max_size=max(MAX_HELLO_BYTES, answer_bytes(self._spec, self.chunk)),
                proxy=None,
            )
            connection = self._open.enter_context(connecting)
            # A server that stands still takes no bytes, and sending has no timeout of its own.
            longest_ms = max(1, int(1000 * self._deadline_s))
            connection.socket.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, longest_ms)
        except (InvalidURI, ValueError) as error:
            raise ConfigError(f"{self._url!r} is no address, such as ws://gpu:8765") from error
        self._connection = connection
        chunk = None if self._asked is None else asdict(self._asked)
        connection.send(packed(Hello(PROTOCOL, softflow_version(), self._spec.to_json(), chunk)))
        self._take_over(self._reply(connection, deadline_s, Welcome))
        return connection

    def _take_over(self, welcome: Welcome) -> None:
        """What the server says of its policy, held against the robot."""
        where = f"{self._url}, policy {welcome.policy}"
        if welcome.protocol != PROTOCOL:
            raise PolicyServerError(f"{where}: it speaks protocol {welcome.protocol}")
        try:
            lines = self._spec.differences(DataSpec.from_json(welcome.spec))
            chunk = msgspec.convert(welcome.chunk, ChunkSpec)
        except (DataError, ConfigError, msgspec.ValidationError) as error:
            raise PolicyServerError(f"{where}: its description is damaged: {error}") from error
        if self._asked is not None and chunk != self._asked:
            lines.append(f"decisions: {self._asked} and {chunk}")
        unknown = sorted(set(welcome.reads) - self._spec.observation_shapes.keys())
        if unknown:
            lines.append(f"it reads {unknown[0]}")
        if lines:
            raise PolicyServerError(
                f"{where}: made for another robot than this one, whose values come first: "
                + "; ".join(lines[:4])
            )
        # A server that is started anew may bring another policy, but no other lengths.
        self._asked = self.chunk = chunk
        self.policy, self.reads = welcome.policy, tuple(welcome.reads)

    def _answer(self, connection: ClientConnection, deadline_s: float) -> Answer:
        answer = self._reply(connection, deadline_s, Answer)
        if answer.id != self._id:
            raise PolicyServerError(
                f"{self._url} answered question {answer.id}, not {self._id}; it is no server of "
                "softflow"
            )
        return answer

    def _reply(
        self, connection: ClientConnection, deadline_s: float, kind: type[Message]
    ) -> Message:
        left_s = max(0.0, deadline_s - time.monotonic())
        return unpacked_reply(connection.recv(left_s), kind)


def _status(error: InvalidStatus) -> str:
    """What an HTTP status means here.

    Raises:
        PolicyServerError: asking again will not help.
    """
    code = error.response.status_code
    if code == 401:
        raise PolicyServerError("the server wants another token; give the one of its --token-file")
    if code == 503:
        return "it has as many clients as it takes"
    return f"HTTP status {code}"
