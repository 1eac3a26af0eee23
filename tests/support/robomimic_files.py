"""Small RoboMimic files, written here by hand, and ways to change them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

STATE = "observation.state"
AGENTVIEW = "observation.images.agentview"
FIXTURES = Path(__file__).parents[1] / "formats" / "robomimic" / "fixtures"
ROBOSUITE = FIXTURES / "robosuite_1_5_2_lift.hdf5"
ROBOMIMIC = FIXTURES / "robomimic_0_3_0_lift_image.hdf5"
STEPS = 6
ENV_ARGS = {
    "env_name": "Lift",
    "env_version": "1.5.1",
    "type": 1,
    "env_kwargs": {"control_freq": 20},
}


def write(path: Path, demos: int = 2, env_args: dict[str, Any] | None = None) -> Path:
    """A file as robomimic lays it out: two low-dimensional observations and a camera."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(env_args or ENV_ARGS)
        data.attrs["total"] = demos * STEPS
        for number in range(demos):
            group = data.create_group(f"demo_{number}")
            group.attrs["num_samples"] = STEPS
            group["actions"] = rng.uniform(-1, 1, (STEPS, 2))
            group["rewards"] = np.eye(STEPS)[STEPS - 1] * (number % 2 == 0)
            group["dones"] = np.eye(STEPS, dtype=np.int64)[STEPS - 1]
            eef = rng.normal(size=(STEPS + 1, 3))
            qpos = rng.normal(size=(STEPS + 1, 1))
            frames = rng.integers(0, 256, (STEPS + 1, 8, 10, 3), dtype=np.uint8)
            for part, rows in (("obs", slice(0, -1)), ("next_obs", slice(1, None))):
                group[f"{part}/eef_pos"] = eef[rows]
                group[f"{part}/qpos"] = qpos[rows]
                group[f"{part}/agentview_image"] = frames[rows]
        file["mask/even"] = np.array([f"demo_{n}" for n in range(0, demos, 2)], dtype="S")
    return path


@contextmanager
def edited(path: Path) -> Iterator[h5py.Group]:
    with h5py.File(path, "a") as file:
        yield cast("h5py.Group", file["data"])


def replace(data: h5py.Group, name: str, value: Any) -> None:
    del data[name]
    data[name] = value


def array(file: h5py.File | h5py.Group, name: str) -> np.ndarray:
    return np.asarray(cast("h5py.Dataset", file[name]))
