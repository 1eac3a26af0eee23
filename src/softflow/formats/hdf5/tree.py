"""Every array of an HDF5 file by its path, for saying what an import takes and what it does not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import h5py

from softflow.errors import DataError
from softflow.formats.contents import Part
from softflow.formats.hdf5.files import member, member_dataset, place_of
from softflow.formats.hdf5.frames import picture_kind

MAX_NODES = 10_000
"""Groups and arrays below one group: more are no recording, or a group that holds itself."""
ELSEWHERE = "elsewhere or encoded"


@dataclass(frozen=True)
class Leaf:
    """An array below a group.

    Args:
        path: from that group on, such as obs/policy/joint_pos.
        shape: with the steps in front.
        dtype: as numpy writes it, and the kind of encoded pictures; `ELSEWHERE` for what lies in
            another file or needs foreign code.
        dataset: the array; None for those.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    dataset: h5py.Dataset | None


def leaves(group: h5py.Group, leave_out: Collection[str] = ()) -> Iterator[Leaf]:
    """Every array below a group in the order of names, but for members named in `leave_out`.

    Raises:
        DataError: more than `MAX_NODES` groups and arrays.
    """
    waiting = [(group, name, str(name)) for name in sorted(group, reverse=True)]
    seen = 0
    while waiting:
        parent, name, path = waiting.pop()
        if path in leave_out:
            continue
        seen += 1
        if seen > MAX_NODES:
            raise DataError(
                f"{place_of(group)} holds more than {MAX_NODES} groups and arrays, or itself; it "
                "is no recording of episodes"
            )
        try:
            node = member(parent, name)
            if isinstance(node, h5py.Group):
                waiting += [(node, k, f"{path}/{k}") for k in sorted(node, reverse=True)]
            elif (array := member_dataset(parent, name)) is not None:
                yield Leaf(path, array.shape or (), _kind(array), array)
        except DataError:
            # Not even its shape is looked at: HDF5 would open the file it lies in.
            yield Leaf(path, (), ELSEWHERE, None)


def _kind(array: h5py.Dataset) -> str:
    """uint8, or "uint8, JPEG" for pictures that are encoded."""
    try:
        pictures = picture_kind(array)
    except (DataError, OSError):
        pictures = ""  # whoever reads the damaged array is told
    return ", ".join(filter(None, (str(array.dtype), pictures)))


class Tally:
    """Collects the arrays of many episodes by name, each told of once.

    Args:
        why_not: why an array is left out if it is, and how to take it; asked while its file is
            open.
    """

    def __init__(self, why_not: Callable[[Leaf], str]) -> None:
        self._why_not = why_not
        self._first: dict[str, tuple[Leaf, str]] = {}
        self._count: dict[str, int] = {}
        self._episodes = 0

    def see(self, found: Iterator[Leaf]) -> None:
        """Take in the arrays of one more episode."""
        self._episodes += 1
        for leaf in found:
            if leaf.path not in self._first:
                self._first[leaf.path] = leaf, self._why_not(leaf)
            self._count[leaf.path] = self._count.get(leaf.path, 0) + 1

    def parts(self, becomes: Mapping[str, str], below: str = "") -> list[Part]:
        """A part for each name.

        Args:
            becomes: path -> what it becomes.
            below: what to put in front of each name.
        """
        return [
            Part(
                below + self._told(leaf),
                leaf.shape[1:],
                leaf.dtype,
                becomes.get(path, ""),
                "" if becomes.get(path) else why,
            )
            for path, (leaf, why) in sorted(self._first.items())
        ]

    def _told(self, leaf: Leaf) -> str:
        count = self._count[leaf.path]
        some = "" if count == self._episodes else f" (in {count} of {self._episodes} episodes)"
        return leaf.path + some
