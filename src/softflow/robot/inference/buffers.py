"""Memory that a control loop and the process of its policy share: one question and its answer.

Cameras are copied once and sent nowhere, so asking takes the time of a copy, and a process that
hangs cannot make whoever asks it wait for room in a pipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from softflow.data.data_spec import is_image_key
from softflow.robot.inference.deciding import PolicyFacts

_ALIGNED = 64
_PREFIX, _CHUNK = "prefix", "chunk"


class DecisionBuffers:
    """Arrays in shared memory, laid out by what the policy's data holds.

    Args:
        facts: of the policy.
        name: of the memory that the other process made; empty makes one.
    """

    def __init__(self, facts: PolicyFacts, name: str = "") -> None:
        shapes = _layout(facts)
        size = sum(_bytes(*declared) for declared in shapes.values())
        self._memory = SharedMemory(name or None, create=not name, size=max(size, 1))
        self._owns = not name
        self._arrays: dict[str, np.ndarray] = {}
        offset = 0
        for key, (shape, dtype) in shapes.items():
            self._arrays[key] = np.ndarray(shape, dtype, self._memory.buf, offset)
            offset += _bytes(shape, dtype)

    @property
    def name(self) -> str:
        """What the other process opens it by."""
        return self._memory.name

    def write_question(self, observations: Mapping[str, np.ndarray], prefix: np.ndarray) -> None:
        """Copy what a decision sees."""
        for key in self._arrays.keys() - {_PREFIX, _CHUNK}:
            self._arrays[key][:] = observations[key]
        self._arrays[_PREFIX][:] = prefix

    def question(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Copies of observations and prefix: networks may keep what they were given."""
        keys = self._arrays.keys() - {_PREFIX, _CHUNK}
        return {key: self._arrays[key].copy() for key in keys}, self._arrays[_PREFIX].copy()

    def write_chunk(self, actions: np.ndarray) -> None:
        """Copy the decision `[H, A]`."""
        self._arrays[_CHUNK][:] = actions

    def chunk(self) -> np.ndarray:
        """A copy of the decision `[H, A]`."""
        return self._arrays[_CHUNK].copy()

    def close(self) -> None:
        """Give the memory back; whoever made it removes it."""
        self._arrays = {}
        self._memory.close()
        if self._owns:
            self._memory.unlink()


def _layout(facts: PolicyFacts) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
    """Name -> shape and type of every array, in the order they lie in."""
    history, width = facts.chunk.history_length, facts.spec.action_dim
    arrays: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        key: ((history, *shape), np.uint8 if is_image_key(key) else np.float32)
        for key, shape in sorted(facts.spec.observation_shapes.items())
    }
    arrays[_PREFIX] = ((facts.chunk.prefix_length, width), np.float32)
    arrays[_CHUNK] = ((facts.chunk.chunk_length, width), np.float32)
    return arrays


def _bytes(shape: tuple[int, ...], dtype: type[np.generic]) -> int:
    """What an array takes, up to where the next one may begin."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return -(-size // _ALIGNED) * _ALIGNED
