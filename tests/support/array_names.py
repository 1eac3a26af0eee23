"""The names of everything in a file, found without softflow."""

from __future__ import annotations

from pathlib import Path

import h5py


def hdf5_arrays(path: Path) -> set[str]:
    """The path of every array in an HDF5 file."""
    names: set[str] = set()

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            names.add(name)

    with h5py.File(path) as file:
        file.visititems(visit)
    return names
