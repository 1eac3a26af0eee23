"""Reads a RoboMimic file with robomimic itself; runs in a process of its own, on its own path.

usage: robomimic_reader.py FILE.hdf5=FILTER_KEY ...    (the key may be empty)
writes FILE.npz beside each
"""

from __future__ import annotations

import json
import sys
from typing import Any

import h5py
import numpy as np
import robomimic.utils.file_utils as file_utils  # pyright: ignore[reportMissingImports]
import robomimic.utils.obs_utils as obs_utils  # pyright: ignore[reportMissingImports]
from robomimic.utils.dataset import SequenceDataset  # pyright: ignore[reportMissingImports]
from torch.utils.data import DataLoader


def read(path: str, filter_key: str | None) -> dict[str, Any]:
    with h5py.File(path) as file:
        keys = sorted(file["data/demo_0/obs"])  # pyright: ignore
    images = [key for key in keys if key.endswith("_image")]
    low_dim = [key for key in keys if key not in images]
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": low_dim, "rgb": images}})
    shapes = file_utils.get_shape_metadata_from_dataset(path)
    dataset = SequenceDataset(
        path,
        obs_keys=keys,
        dataset_keys=("actions", "rewards", "dones"),
        seq_length=3,
        hdf5_cache_mode="low_dim",
        filter_by_attribute=filter_key,
        load_next_obs=True,
    )
    found: dict[str, Any] = {
        "env": json.dumps(file_utils.get_env_metadata_from_dataset(path)),
        "shapes": json.dumps({key: list(shape) for key, shape in shapes["all_shapes"].items()}),
        "ac_dim": shapes["ac_dim"],
        "use_images": shapes["use_images"],
        "demos": np.array(dataset.demos),
        "num_windows": len(dataset),
    }
    for index, demo in enumerate(dataset.demos):
        trajectory = dataset.get_trajectory_at_index(index)
        for key in ("actions", "rewards", "dones"):
            found[f"{demo}/{key}"] = trajectory[key]
        for part in ("obs", "next_obs"):
            found |= {f"{demo}/{part}/{key}": trajectory[part][key] for key in keys}
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    return found | {"batch/actions": batch["actions"].numpy()}


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        file, _, key = argument.partition("=")
        np.savez(file.removesuffix(".hdf5") + ".npz", **read(file, key or None))
