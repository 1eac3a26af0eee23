"""Checkpoints that look through three cameras, for measuring the ways to a policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.synthetic import statistics
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.models.checkpoint import write_checkpoint
from softflow.models.inputs import ModelInputs
from softflow.models.value_distribution import ValueSupport
from softflow.presets import preset
from softflow.training.learner import Learner
from softflow.training.persistence import learner_parts

CAMERAS, DIM, HZ = 3, 7, 20.0
CHUNK = ChunkSpec(chunk_length=10, execution_horizon=5, prefix_length=2)


def camera_spec(pixels: int) -> DataSpec:
    """Three cameras and a state of seven numbers, an action of as many."""
    shapes: dict[str, tuple[int, ...]] = {
        f"observation.images.camera_{number}": (pixels, pixels, 3) for number in range(CAMERAS)
    }
    return DataSpec(shapes | {STATE_KEY: (DIM,)}, DIM, (-1.0,) * DIM, (1.0,) * DIM, HZ)


def write_policies(root: Path, pixels: int, number: int) -> list[Path]:
    """Checkpoints of an untrained `small-image`, called as those of rounds are."""
    config, spec = preset("small-image"), camera_spec(pixels)
    config = replace(config, model=replace(config.model, chunk=CHUNK))
    inputs = ModelInputs(CHUNK, statistics(DIM, DIM), spec.observation_shapes)
    learner = Learner(config, inputs, ValueSupport(0.0, 1.0))
    names = [f"3_online_rl_{step:08d}" for step in range(number)]
    return [
        write_checkpoint(
            root, name, learner_parts(learner, spec, {"stage": "online_rl", "update_step": step})
        )
        for step, name in enumerate(names)
    ]


def seen(spec: DataSpec) -> dict[str, np.ndarray]:
    """What a decision sees: key -> `[1, ...]`."""
    rng = np.random.default_rng(0)
    return {
        key: rng.integers(0, 255, (1, *shape), np.uint8)
        if key in spec.image_keys
        else rng.uniform(-1, 1, (1, *shape)).astype(np.float32)
        for key, shape in spec.observation_shapes.items()
    }


def committed() -> np.ndarray:
    """The prefix `[P, A]`."""
    return np.zeros((CHUNK.prefix_length, DIM), np.float32)
