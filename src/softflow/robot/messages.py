"""What a policy server and its clients say to each other: MessagePack, of these types alone.

    client                                     server
    Hello: versions, what the robot is    ->
                                          <-   Welcome: which policy, what it reads
    Ask: observations, prefix             ->
                                          <-   Answer: the chunk       (any number of times)

Instead of Welcome or Answer there may be a Refusal. Nothing is pickled; an array is its type, one
of two, its shape and its bytes, and is held against what the handshake said before it is used.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec, is_image_key
from softflow.errors import PolicyServerError, brief

PROTOCOL = 1
MAX_HELLO_BYTES = 1 << 20
"""A description of a robot, without any array."""
_OVERHEAD_BYTES = 64 * 1024
_DTYPES = {"float32": np.dtype("<f4"), "uint8": np.dtype("u1")}
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Name = Annotated[str, msgspec.Meta(max_length=200)]


class Array(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An array on the wire: little-endian, row by row."""

    dtype: Literal["float32", "uint8"]
    shape: Annotated[list[Number], msgspec.Meta(max_length=8)]
    data: bytes

    @classmethod
    def of(cls, values: np.ndarray) -> Array:
        """The wire form of float32 or uint8 values."""
        dtype = "uint8" if values.dtype == np.uint8 else "float32"
        content = np.ascontiguousarray(values, _DTYPES[dtype]).tobytes()
        return cls(dtype, list(values.shape), content)

    def values(self, what: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """A copy as numpy has it.

        Args:
            what: how messages call it.
            dtype, shape: what it must be.

        Raises:
            PolicyServerError: it is of another type or shape, its bytes are too few or too many, or
                a number is not finite.
        """
        if self.dtype != dtype or tuple(self.shape) != shape:
            raise PolicyServerError(
                f"{what} is {self.dtype} of shape {tuple(self.shape)}, expected {dtype} of {shape}"
            )
        if len(self.data) != math.prod(shape) * _DTYPES[dtype].itemsize:
            raise PolicyServerError(f"{what} has {len(self.data):,} bytes, which is not {shape}")
        array = np.frombuffer(self.data, _DTYPES[dtype]).reshape(shape)
        if dtype == "float32" and not np.isfinite(array).all():
            raise PolicyServerError(f"{what} holds NaN or infinity")
        return array.astype(dtype)


class Hello(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The first message: which protocol, which softflow, and what the robot sees and does.

    Attributes:
        chunk: lengths of a decision that the robot is set up for; None takes those of the policy.
    """

    protocol: int
    softflow: Name
    spec: dict[str, Any]
    chunk: dict[str, Any] | None


class Welcome(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """The policy behind a server, and the observations that it reads."""

    protocol: int
    softflow: Name
    policy: Name
    spec: dict[str, Any]
    chunk: dict[str, Any]
    reads: Annotated[list[Name], msgspec.Meta(max_length=1000)]


class Ask(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """One decision is asked for."""

    id: Number
    observations: Annotated[dict[Name, Array], msgspec.Meta(max_length=1000)]
    prefix: Array


class Answer(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """A chunk, and how long the policy took for it, in milliseconds."""

    id: Number
    actions: Array
    inference_ms: Annotated[float, msgspec.Meta(ge=0)]


class Refusal(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Why there is no Welcome or Answer."""

    reason: Annotated[str, msgspec.Meta(max_length=4000)]


Message = TypeVar("Message")
_encode = msgspec.msgpack.Encoder().encode


def packed(message: msgspec.Struct) -> bytes:
    """A message as bytes."""
    return _encode(message)


def unpacked(content: bytes | str, kind: type[Message]) -> Message:
    """A message of a type.

    Raises:
        PolicyServerError: it is none.
    """
    return _decoded(content, kind)


def unpacked_reply(content: bytes | str, kind: type[Message]) -> Message:
    """What a server replies.

    Raises:
        PolicyServerError: it refuses, or that is no message of this type.
    """
    reply = _decoded(content, kind | Refusal)
    if isinstance(reply, Refusal):
        raise PolicyServerError(f"the server refuses: {reply.reason}")
    return reply


def _decoded(content: bytes | str, kinds: Any) -> Any:
    if isinstance(content, str):
        raise PolicyServerError("a text came where a message belongs")
    try:
        return msgspec.msgpack.decode(content, type=kinds)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise PolicyServerError(f"what came is no message of softflow: {brief(error)}") from error


def checked_ask(
    ask: Ask, spec: DataSpec, chunk: ChunkSpec, reads: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The observations `[history, ...]` and the prefix `[P, A]` of a decision.

    Raises:
        PolicyServerError: they are not what the handshake says.
    """
    if ask.observations.keys() != set(reads):
        raise PolicyServerError(
            f"observations {sorted(ask.observations)} came, the policy reads {sorted(reads)}"
        )
    observations = {
        key: ask.observations[key].values(key, _dtype(key), _seen_shape(key, spec, chunk))
        for key in reads
    }
    shape = (chunk.prefix_length, spec.action_dim)
    return observations, ask.prefix.values("the prefix", "float32", shape)


def ask_bytes(spec: DataSpec, chunk: ChunkSpec, reads: tuple[str, ...]) -> int:
    """The most bytes that an `Ask` has."""
    sizes = [math.prod(_seen_shape(key, spec, chunk)) for key in reads]
    prefix = chunk.prefix_length * spec.action_dim
    return 4 * (sum(sizes) + prefix) + _OVERHEAD_BYTES + 400 * len(reads)


def answer_bytes(spec: DataSpec, chunk: ChunkSpec) -> int:
    """The most bytes that an `Answer` has."""
    return 4 * chunk.chunk_length * spec.action_dim + _OVERHEAD_BYTES


def _dtype(key: str) -> str:
    return "uint8" if is_image_key(key) else "float32"


def _seen_shape(key: str, spec: DataSpec, chunk: ChunkSpec) -> tuple[int, ...]:
    return (chunk.history_length, *spec.observation_shapes[key])
