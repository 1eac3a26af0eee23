"""A sealed episode file copied as it is, with other metadata: nothing is decoded or encoded anew.

Its states, actions and rewards, which are small, are read and checked; of its frames, the CRC-32
that the zip keeps of every piece. Only the group's own document is written again.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from softflow.data.data_spec import DataSpec
from softflow.data.files.episode_file import read_states
from softflow.data.files.episode_reading import damaged
from softflow.data.files.sealed_arrays import METADATA
from softflow.errors import StoreError
from softflow.utils.files import written_whole


def copy_episode_file(
    source: Path, target: Path, spec: DataSpec, metadata: Mapping[str, Any], where: str
) -> None:
    """Copy an episode file; `target` appears only once all of it is on the disk.

    Args:
        source: the file.
        target: the new one.
        spec: what the store of the new one holds.
        metadata: of the new one.
        where: how messages about the episode name it.

    Raises:
        DataError: a policy must not be trained on the episode; see `Episode.validate`.
        StoreError: damaged, of another spec, or the system refuses; nothing is left behind.
    """
    states = {key: spec.observation_shapes[key] for key in spec.state_keys}
    unseen = replace(spec, observation_shapes=states, names=_of(states, spec))
    episode = read_states(source, spec)
    replace(episode, metadata=dict(metadata)).validate(unseen, where)
    with written_whole(target, new=True) as temp:
        shutil.copyfile(source, temp)
        try:
            if bad := _tell_anew(temp, metadata):
                raise damaged(source, f"checksum of '{bad}' does not match")
        except zipfile.BadZipFile as error:
            raise damaged(source, str(error)) from error


def _of(states: Mapping[str, Any], spec: DataSpec) -> dict[str, tuple[str, ...]]:
    return {key: names for key, names in spec.names.items() if key in states or key == "action"}


def _tell_anew(path: Path, metadata: Mapping[str, Any]) -> str | None:
    """Put other metadata into the group's document; the old one stays in the file, unlisted.

    Returns:
        The first entry that does not read back as it was written, if there is one.

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
        return archive.testzip()
