"""What the real `lerobot` writes and reads; run by its own Python (see lerobot_environment.py).

lerobot_side.py write FOLDER CODEC TRUTH.npz    a v3.0 dataset, and what was put into it
lerobot_side.py read FOLDER VALUES.npz          every item of a dataset, as LeRobot gives it
lerobot_side.py chunks FOLDER VALUES.npz        the same, each with the actions of `CHUNK` steps
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset, LeRobotDatasetMetadata

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
LENGTHS = (9, 12, 10)
RATE = 30
CHUNK = 4


def features() -> dict[str, dict[str, Any]]:
    return {
        "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
        "observation.force": {"dtype": "float32", "shape": (1,), "names": None},
        "observation.contact": {"dtype": "bool", "shape": (1,), "names": None},
        "action": {"dtype": "float32", "shape": (2,), "names": {"x": 0, "gripper": 1}},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.success": {"dtype": "bool", "shape": (1,), "names": None},
        FRONT: {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
        WRIST: {"dtype": "image", "shape": (48, 64, 3), "names": ["height", "width", "channels"]},
    }


def frame(rng: np.random.Generator, step: int, episode: int) -> dict[str, Any]:
    """A control step. The front camera shows where it is; episode 1 does not succeed."""
    shown = np.zeros((64, 96, 3), np.uint8)
    shown[:, 6 * step : 6 * step + 12] = 60 + 50 * episode
    reached = step == LENGTHS[episode] - 1 and episode != 1
    return {
        "observation.state": rng.normal(size=3).astype(np.float32),
        "observation.force": rng.normal(size=1).astype(np.float32),
        "observation.contact": np.array([step % 2 == 0]),
        "action": rng.uniform(-1, 1, 2).astype(np.float32),
        "next.reward": rng.normal(size=1).astype(np.float32),
        "next.success": np.array([reached]),
        FRONT: shown,
        WRIST: rng.integers(0, 256, (48, 64, 3), dtype=np.uint8),
        "task": f"task {episode % 2}",
    }


def save(target: str, values: dict[str, list[Any]]) -> None:
    arrays: Any = {key: np.stack(value) for key, value in values.items()}
    np.savez(target, **arrays)


def write(folder: str, codec: str, truth: str) -> None:
    dataset = LeRobotDataset.create(
        "test/written", RATE, features(), root=folder, robot_type="toy", vcodec=codec
    )
    rng = np.random.default_rng(0)
    values: dict[str, list[Any]] = defaultdict(list)
    for episode, length in enumerate(LENGTHS):
        for step in range(length):
            row = frame(rng, step, episode)
            for key, value in row.items():
                values[key].append(value)
            dataset.add_frame(row)
        dataset.save_episode(parallel_encoding=False)
    dataset.finalize()
    save(truth, values)


def chunks(folder: str, target: str) -> None:
    """As openpi asks for them."""
    meta = LeRobotDatasetMetadata("test/read", root=folder)
    times = {"action": [step / meta.fps for step in range(CHUNK)]}
    read(folder, target, times)


def read(folder: str, target: str, times: dict[str, list[float]] | None = None) -> None:
    dataset = LeRobotDataset("test/read", root=folder, delta_timestamps=times)
    values: dict[str, list[Any]] = defaultdict(list)
    for index in range(len(dataset)):
        for key, value in dataset[index].items():
            values[key].append(np.asarray(value))
    values["num_episodes"] = [np.asarray(dataset.num_episodes)]
    values["stats.action.mean"] = [dataset.meta.stats["action"]["mean"]]
    values["stats.action.std"] = [dataset.meta.stats["action"]["std"]]
    save(target, values)


if __name__ == "__main__":
    tasks: dict[str, Callable[..., None]] = {"write": write, "read": read, "chunks": chunks}
    tasks[sys.argv[1]](*sys.argv[2:])
