"""Deciders for the process of a policy, made there by name: one that plans, and bad ones."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.errors import CheckpointError
from softflow.robot.inference.deciding import PolicyFacts
from softflow.utils.imports import trust

PLANNER = "toy_deciders:planner"
trust(PLANNER)

CAMERA_KEY = "observation.images.front"
SPEC = DataSpec(
    {STATE_KEY: (2,), CAMERA_KEY: (4, 6, 3)},
    action_dim=2,
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    control_hz=20.0,
    env_id="toy",
)
CHUNK = ChunkSpec(chunk_length=4, execution_horizon=3, prefix_length=1, history_length=2)


class Planner:
    """Plans what it was asked to be, in `path`: words "name value" after each other.

    The chunk is the newest state, then the prefix, then the seed, then the camera's mean.
    """

    def __init__(self, path: str) -> None:
        words = path.split()
        self.wishes = dict(zip(words[::2], words[1::2], strict=True))
        if "torn" in self.wishes:
            raise CheckpointError("that checkpoint is torn; copy it again")
        chunk = replace(CHUNK, chunk_length=int(self.wishes.get("length", 4)))
        self.facts = PolicyFacts(SPEC, chunk, self.wishes.get("version", "one"))
        self.seed = -1

    def begin_episode(self, seed: int) -> None:
        self.seed = seed

    def decide(self, observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
        time.sleep(float(self.wishes.get("takes_s", 0)))
        if "raises" in self.wishes:
            raise ValueError("the network is\x1b[2J broken")
        if "dies" in self.wishes:
            os.kill(os.getpid(), int(self.wishes["dies"]))
        if "narrow" in self.wishes:
            return np.zeros((1, 2), np.float32)
        if "leaves" in self.wishes:
            Path(self.wishes["leaves"]).write_text("decided")
        camera = float(observations[CAMERA_KEY].mean())
        rows = [observations[STATE_KEY][-1], prefix[-1], [self.seed, 0], [camera, 0]]
        return np.array(rows, np.float32)


def planner(path: str) -> Planner:
    return Planner(path)
