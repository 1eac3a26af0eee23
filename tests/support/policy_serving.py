"""Policy servers in a thread or a process, with a policy that tells what it was asked.

python policy_serving.py PORT        serves until it is killed, and prints the port
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.robot.policy_server import PolicyServer, ServedPolicy

CAMERA = "observation.images.front"


def spec_with(side: int) -> DataSpec:
    """A robot whose camera has so many pixels a side."""
    shapes = {STATE_KEY: (3,), CAMERA: (side, side, 3), "observation.unread": (50,)}
    return DataSpec(shapes, 2, (-1.0, -1.0), (1.0, 1.0), 20.0)


SPEC = spec_with(8)
CHUNK = ChunkSpec(4, 3, 1, 2)
READS = (CAMERA, STATE_KEY)
Decide = Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray]


def telling(observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
    """A chunk from which the question can be read: its first row is the prefix, then sums."""
    assert observations.keys() == set(READS)
    sums = [observations[STATE_KEY].sum(), float(observations[CAMERA].sum())]
    return np.stack([prefix[0], np.array(sums, np.float32), prefix[0], prefix[0]])


def question(seed: int = 0, side: int = 8) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Observations and prefix of one decision."""
    rng = np.random.default_rng(seed)
    observations = {
        STATE_KEY: rng.normal(size=(2, 3)).astype(np.float32),
        CAMERA: rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8),
        "observation.unread": np.zeros((2, 50), np.float32),
    }
    return observations, rng.uniform(-1, 1, (1, 2)).astype(np.float32)


def served(decide: Decide = telling, side: int = 8) -> ServedPolicy:
    """A policy of such a robot."""
    return ServedPolicy("3_online_rl_00000500", spec_with(side), CHUNK, READS, decide)


@contextmanager
def serving(server: PolicyServer, port: int = 0) -> Iterator[int]:
    """The port of a server that runs in a thread of its own within the block."""
    ready, stop = threading.Event(), asyncio.Event()
    found: list[int] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def run() -> None:
        loops.append(asyncio.get_running_loop())
        listening = await server.start(port=port)
        found.append(listening.sockets[0].getsockname()[1])
        ready.set()
        await stop.wait()
        listening.close()
        await listening.wait_closed()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield found[0]
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(10)


async def _serve_for_ever(port: int, side: int) -> None:
    listening = await PolicyServer(served(side=side)).start(port=port)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve_for_ever(int(sys.argv[1]), int(sys.argv[2])))
