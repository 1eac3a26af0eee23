"""Which format a path most likely holds: for the error that a wrong importer gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py

from softflow.errors import DataError
from softflow.formats.hdf5.files import member, member_dataset, opened
from softflow.formats.remedies import ROS1_START, first_bytes, remedy
from softflow.formats.replay_buffer.entries import holds_buffer

HDF5_ENDINGS = (".hdf5", ".h5")
BAG_ENDINGS = (".mcap", ".db3")
_NAMED = 3


def advice(path: Path, asked: str) -> str:
    """What to do instead with a path that the importer `asked` for cannot read; "" if unknown.

    Reads names only, never data, and raises nothing.
    """
    try:
        if path.suffix == ".bag" or first_bytes(path).startswith(ROS1_START):
            return remedy(path)
        if (path / "store.json").is_file():
            return f"{path} is an episode store already: train with --dataset {path}"
        found = _named_format(path)
        if found not in ("", asked):
            return f"it looks like {found} data: softflow data import {found} {path}"
        return "" if found else _inside(path)
    except (DataError, OSError, ValueError):
        return ""


def format_of(path: Path) -> str:
    """The importer's name of what a path holds, or "" where nothing tells; raises nothing."""
    try:
        return _named_format(path)
    except (DataError, OSError, ValueError):
        return ""


def _named_format(path: Path) -> str:
    """The importer's name, or "" where nothing tells."""
    if path.is_file():
        if path.suffix in BAG_ENDINGS:
            return "rosbag"
        return "umi" if path.suffix == ".zip" and holds_buffer(path) else _hdf5_format(path)
    if (path / "meta" / "info.json").is_file():
        return "lerobot"
    if any((path / name).is_file() for name in ("main_data.hdf5", "data/main_data.hdf5")):
        return "minari"
    if holds_buffer(path):
        return "umi"
    files = sorted(_hdf5_files(path))
    if files and _hdf5_format(files[0]) == "act":
        return "act"
    return "rosbag" if _holds_bags(path) else ""


def _hdf5_format(path: Path) -> str:
    if not h5py.is_hdf5(path):
        return ""
    with opened(path) as file:
        if isinstance(member(file, "data"), h5py.Group):
            return "robomimic"
        if isinstance(member(file, "episode_0"), h5py.Group):
            return "minari"
        acted = member(file, "action")
        if isinstance(member(file, "observations"), h5py.Group) and acted is not None:
            return "act"
        flat = ("observations", "actions")
        return "d4rl" if all(member_dataset(file, key) is not None for key in flat) else ""


def _holds_bags(folder: Path) -> bool:
    patterns = [f"{depth}*{ending}" for depth in ("", "*/") for ending in BAG_ENDINGS]
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _inside(folder: Path) -> str:
    """Where to look in a folder that is no dataset itself, but holds some."""
    files = sorted(_hdf5_files(folder))
    if files and (first := _hdf5_format(files[0])):
        more = len(files) - _NAMED
        names = ", ".join(file.name for file in files[:_NAMED]) + (
            f" and {more} more" if more > 0 else ""
        )
        one = "" if len(files) == 1 else ", then the others into the same --out"
        return f"it holds {names}: softflow data import {first} {files[0]}{one}"
    nested = sorted(folder.glob("*/data/main_data.hdf5")) + sorted(folder.glob("*/meta/info.json"))
    nested += sorted(folder.glob("*/*/data/main_data.hdf5"))
    if nested:
        dataset = nested[0].parent.parent
        return f"there is one below it: softflow data import {_named_format(dataset)} {dataset}"
    return ""


def _hdf5_files(folder: Path) -> Iterator[Path]:
    found = (file for ending in HDF5_ENDINGS for file in folder.glob(f"*{ending}"))
    return (file for file in found if not file.name.startswith("."))
