"""What softflow knows of an episode and RoboMimic HDF5 has no place for, in attributes of its own.

data           attribute `softflow`: version, spec, parts, added
data/demo_7    attribute `softflow`: terminated, truncated, success, metadata

The other way round, what a RoboMimic file knows and softflow has no place for (the environment's
arguments, the simulator's model) stays in the episode's metadata under "robomimic", as it was.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import msgspec
import numpy as np

from softflow.data.data_spec import IMAGE_PREFIX, OBSERVATION_PREFIX, DataSpec
from softflow.errors import DataError, brief
from softflow.formats.documents import converted
from softflow.formats.hdf5.files import json_attributes, json_object, place_of
from softflow.formats.source import named_parts
from softflow.utils.documents import MAX_DOCUMENT_BYTES

FOREIGN = "robomimic"
"""Metadata key of the attributes that an imported file had: {"data": {...}, "demo": {...}}."""
IMAGE_SUFFIX = "_image"
ATTRIBUTE = "softflow"
VERSION = 1
DERIVED = {"total", "num_samples", ATTRIBUTE}
"""Attributes that follow from the rest of a file."""
LONG_TEXT = 1000
PACKED = "zlib+base64:"

Parts = dict[str, dict[str, list[int]]]
"""Key of the store -> name of the robomimic observation -> columns of the key's array in it."""


class FileDocument(msgspec.Struct):
    """The JSON in the attribute of `data`; see `FileRecord`."""

    version: int
    spec: dict[str, Any]
    parts: dict[str, list[str]]
    added: list[str]


class EpisodeDocument(msgspec.Struct):
    """The JSON in the attribute of a demonstration."""

    terminated: bool
    truncated: bool
    success: bool
    metadata: dict[str, Any]


class ForeignDocument(msgspec.Struct):
    """What an episode's metadata keeps of the RoboMimic file it came from."""

    data: dict[str, Any] = {}
    demo: dict[str, Any] = {}


@dataclass(frozen=True)
class FileRecord:
    """What an exported file says of itself.

    Args:
        spec: what the store held.
        parts: key of the store -> the robomimic observations it went into, in order.
        added: attributes of `data` that the export made up for robomimic's sake.
    """

    spec: DataSpec
    parts: dict[str, list[str]]
    added: tuple[str, ...]

    def write(self, data: h5py.Group) -> None:
        """Put it into the file."""
        value = {"version": VERSION, "spec": self.spec.to_json(), "parts": self.parts}
        data.attrs[ATTRIBUTE] = json.dumps(value | {"added": self.added}, sort_keys=True)

    @classmethod
    def read(cls, data: h5py.Group) -> FileRecord | None:
        """The one in the file; None in files that softflow did not write.

        Raises:
            DataError: damaged, or of a newer softflow.
        """
        if ATTRIBUTE not in data.attrs:
            return None
        value = json_object(data, ATTRIBUTE)
        where = f"{place_of(data)}: attribute '{ATTRIBUTE}'"
        if value.get("version") != VERSION:
            raise DataError(
                f"{where} is of version {value.get('version')!r:.40}, this softflow reads "
                f"{VERSION}; upgrade it, or delete that attribute"
            )
        said = converted(value, FileDocument, where)
        spec = DataSpec.from_json(said.spec)
        if unknown := said.parts.keys() - set(spec.state_keys):
            raise DataError(f"{where} tells of '{min(unknown):.60}', which its spec has not")
        return cls(spec, said.parts, tuple(said.added))


def parts_of(spec: DataSpec) -> Parts:
    """The robomimic observations that each key of a store becomes.

    A key whose components are named goes into the arrays they came from, "front" becomes
    "front_image", and any other key keeps its name without "observation.".
    """
    result: Parts = {}
    taken = {camera_observation(key) for key in spec.image_keys}
    for key in spec.state_keys:
        own_name = key.removeprefix(OBSERVATION_PREFIX)
        found = named_parts(spec.names[key]) if key in spec.names else {own_name: []}
        result[key] = {}
        for part, columns in found.items():
            name = _free(part.replace("/", "_"), own_name, taken)
            taken.add(name)
            result[key][name] = columns
    return result


def camera_observation(key: str) -> str:
    """observation.images.front -> front_image."""
    return key.removeprefix(IMAGE_PREFIX) + IMAGE_SUFFIX


def _free(name: str, key: str, taken: set[str]) -> str:
    """That name, or one like it that is not taken yet and that HDF5 allows."""
    longer = f"{key}_{name}"
    candidates = [name, longer, *(f"{longer}_{number}" for number in range(len(taken)))]
    # "." and ".." are places in HDF5.
    return next(c for c in candidates if c.strip(".") and c not in taken)


# ---- attributes of other people's files ------------------------------------------------------


def foreign_attributes(node: h5py.Group, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """The attributes of a group, as they are kept in metadata: long text is packed."""
    attributes = json_attributes(node)
    kept = sorted(attributes.keys() - DERIVED - set(leave_out))
    return {name: _packed(attributes[name]) for name in kept}


def foreign_of(metadata: Mapping[str, Any], where: str) -> ForeignDocument:
    """What was kept of the file that an episode came from; nothing for other episodes.

    Raises:
        DataError: it is something else.
    """
    return converted(metadata.get(FOREIGN, {}), ForeignDocument, f"{where}: '{FOREIGN}'")


def write_attributes(node: h5py.Group, attributes: Mapping[str, Any]) -> None:
    """The inverse of `foreign_attributes`.

    Raises:
        DataError: one of them is nothing that an attribute of HDF5 can be.
    """
    for name, value in attributes.items():
        value = unpacked(value)
        if isinstance(value, list) and value and isinstance(value[0], str):
            value = np.array(value, dtype=h5py.string_dtype())
        try:
            node.attrs[name] = value
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"the metadata '{FOREIGN}' has an attribute '{name!r:.60}' that HDF5 cannot keep "
                f"({brief(error)}); delete it from the episode's metadata"
            ) from error


def _packed(value: Any) -> Any:
    """Models of simulators are 40 kB of XML an episode, and a tenth of that packed."""
    if isinstance(value, str) and (len(value) > LONG_TEXT or value.startswith(PACKED)):
        return PACKED + base64.b64encode(zlib.compress(value.encode(), 9)).decode()
    return value


def unpacked(value: Any) -> Any:
    """An attribute as the file had it.

    Raises:
        DataError: it was packed by somebody else, or unpacks to more than is read.
    """
    if not (isinstance(value, str) and value.startswith(PACKED)):
        return value
    decoder = zlib.decompressobj()
    try:
        packed = base64.b64decode(value.removeprefix(PACKED))
        text = decoder.decompress(packed, MAX_DOCUMENT_BYTES)
        if not decoder.eof:
            raise ValueError(f"more than {MAX_DOCUMENT_BYTES:,} bytes, or cut off")
        return text.decode()
    except (zlib.error, ValueError) as error:
        raise DataError(
            f"the metadata '{FOREIGN}' holds a text that cannot be unpacked ({brief(error)}); "
            "delete it from the episode's metadata"
        ) from error
