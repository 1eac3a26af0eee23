"""A sealed episode file copied as it is, with other metadata: nothing is decoded or encoded anew.

Its states, actions and rewards, which are small, are read and checked; of its frames, the CRC-32
that the zip keeps of every piece. Only the group's own document is written again.
"""

from __future__ import annotations

import json
import mmap
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from softflow.data.data_spec import DataSpec
from softflow.data.files.episode_file import read_states
from softflow.data.files.episode_reading import damaged
from softflow.data.files.sealed_arrays import METADATA
from softflow.errors import StoreError
from softflow.utils.files import written_whole

LOCAL_HEADER_BYTES, LOCAL_NAMES_AT = 30, 26
LOCAL_NAMES = struct.Struct("<HH")
"""Lengths of an entry's name and of its extra field, in the header before its bytes."""


def copy_episode_file(
    source: Path,
    target: Path,
    spec: DataSpec,
    told: Callable[[dict[str, Any]], dict[str, Any]],
    where: str,
) -> None:
    """Copy an episode file; `target` appears only once all of it is on the disk.

    Args:
        source: the file.
        target: the new one.
        spec: what the store of the new one holds.
        told: gives the metadata of the new one from those of the old one.
        where: how messages about the episode name it.

    Raises:
        DataError: a policy must not be trained on the episode; see `Episode.validate`.
        StoreError: damaged, of another spec, or the system refuses; nothing is left behind.
    """
    states = {key: spec.observation_shapes[key] for key in spec.state_keys}
    unseen = replace(spec, observation_shapes=states, names=_of(states, spec))
    episode = read_states(source, spec)
    metadata = told(episode.metadata)
    replace(episode, metadata=metadata).validate(unseen, where)
    with written_whole(target, new=True) as temp:
        shutil.copyfile(source, temp)
        try:
            if bad := _other_than_written(temp, _tell_anew(temp, metadata)):
                raise damaged(source, f"checksum of '{bad}' does not match")
        except (zipfile.BadZipFile, struct.error) as error:
            raise damaged(source, str(error)) from error


def _of(states: Mapping[str, Any], spec: DataSpec) -> dict[str, tuple[str, ...]]:
    return {key: names for key, names in spec.names.items() if key in states or key == "action"}


def _tell_anew(path: Path, metadata: Mapping[str, Any]) -> list[zipfile.ZipInfo]:
    """Put other metadata into the group's document; the old one stays in the file, unlisted.

    Returns:
        The entries that are listed.

    Raises:
        StoreError: the file has no such document.
    """
    with zipfile.ZipFile(path, "a") as archive:
        if METADATA not in archive.NameToInfo:
            raise StoreError(f"'{path}' has no '{METADATA}'; copy it again")
        document = json.loads(archive.read(METADATA))
        document["attributes"]["metadata"] = dict(metadata)
        archive.filelist = [e for e in archive.filelist if e.filename != METADATA]
        del archive.NameToInfo[METADATA]
        archive.writestr(METADATA, json.dumps(document))
        return archive.infolist()


def _other_than_written(path: Path, entries: list[zipfile.ZipInfo]) -> str:
    """The first entry that does not read back as it was written; "" if there is none.

    As `ZipFile.testzip`, which takes ten times as long for many small entries.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as content,
    ):
        for entry in entries:
            names = LOCAL_NAMES.unpack_from(content, entry.header_offset + LOCAL_NAMES_AT)
            start = entry.header_offset + LOCAL_HEADER_BYTES + sum(names)
            stored = content[start : start + entry.compress_size]
            whole = len(stored) == entry.file_size and zlib.crc32(stored) == entry.CRC
            stored.release()
            if not whole:
                return entry.filename
    return ""
