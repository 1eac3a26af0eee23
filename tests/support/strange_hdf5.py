"""Small healthy HDF5 files of every format, and ways to change one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from strangers import Outside, outcome

from softflow.formats.d4rl import D4RLSource
from softflow.formats.minari.reading import MinariSource
from softflow.formats.recognising import advice
from softflow.formats.robomimic.reading import RobomimicSource

STEPS = 6
RNG = np.random.default_rng(0)


def write_robomimic(path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        for name in ("demo_0", "demo_1"):
            demo = data.create_group(name)
            demo.attrs["num_samples"] = STEPS
            demo["actions"] = RNG.uniform(-1, 1, (STEPS, 2))
            demo["rewards"] = np.zeros(STEPS)
            demo["dones"] = np.zeros(STEPS, np.int64)
            demo["obs/eef_pos"] = RNG.normal(size=(STEPS, 3))
            frames = RNG.integers(0, 255, (STEPS, 8, 8, 3)).astype(np.uint8)
            demo.create_dataset("obs/front_image", data=frames, compression="gzip")
        file["mask/train"] = np.array([b"demo_0", b"demo_1"])


def write_minari(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("episode_0", "episode_1"):
            group = file.create_group(name)
            group.attrs["seed"] = 3
            group["actions"] = RNG.uniform(-1, 1, (STEPS, 2))
            group["rewards"] = np.zeros(STEPS)
            group["terminations"] = np.zeros(STEPS, bool)
            group["truncations"] = np.arange(STEPS) == STEPS - 1
            group["observations/joints"] = RNG.normal(size=(STEPS + 1, 3))
            frames = RNG.integers(0, 255, (STEPS + 1, 32, 32, 3)).astype(np.uint8)
            group.create_dataset("observations/camera", data=frames, compression="gzip")
            group["infos/success"] = np.zeros(STEPS, bool)


def write_d4rl(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["observations"] = RNG.normal(size=(2 * STEPS, 3))
        actions = RNG.uniform(-1, 1, (2 * STEPS, 2))
        file.create_dataset("actions", data=actions, compression="gzip", shuffle=True)
        file["rewards"] = np.zeros(2 * STEPS)
        file["terminals"] = np.arange(2 * STEPS) == STEPS - 1
        file["timeouts"] = np.arange(2 * STEPS) == 2 * STEPS - 1
        file["infos/qpos"] = RNG.normal(size=(2 * STEPS, 4))
        file["infos/goal_achieved"] = np.zeros(2 * STEPS, bool)


Kind = tuple[Callable[[Path], None], Callable[[Path], Any], str, str, list[str]]
KINDS: dict[str, Kind] = {
    # how it is written and opened; an array, a group, and everything else that is read
    "robomimic": (
        write_robomimic,
        lambda path: RobomimicSource(path, control_hz=20),
        "data/demo_0/actions",
        "data/demo_0/obs",
        [f"data/demo_0/{key}" for key in ("rewards", "dones", "obs/eef_pos", "obs/front_image")]
        + ["mask/train", "data/demo_0", "mask", "data"],
    ),
    "minari": (
        write_minari,
        lambda path: MinariSource(path, control_hz=20),
        "episode_0/actions",
        "episode_0/observations",
        [f"episode_0/{key}" for key in ("rewards", "terminations", "infos/success", "infos")]
        + ["episode_0/observations/joints", "episode_0/observations/camera", "episode_0"],
    ),
    "d4rl": (
        write_d4rl,
        lambda path: D4RLSource(path, control_hz=20),
        "actions",
        "infos",
        ["observations", "rewards", "terminals", "timeouts", "infos/qpos", "infos/goal_achieved"],
    ),
}
ALL_PLACES = [
    (kind, place)
    for kind, (*_, array, group, more) in KINDS.items()
    for place in (array, group, *more)
]


def written(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.hdf5"
    KINDS[kind][0](path)
    return path


def read_all(path: Path, kind: str) -> list[Any]:
    """Every episode, and what a wrong importer would advise."""
    advice(path, "lerobot")
    source = KINDS[kind][1](path)
    return [source.read(name) for name in source.episodes()]


def changed(path: Path, change: Callable[[Any], object]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def refused(path: Path, kind: str, outside: Outside) -> str:
    with outside.watched():
        message = outcome(lambda: read_all(path, kind))
    assert str(path) in message
    return message
