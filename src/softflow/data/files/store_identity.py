"""store.json: what a store holds, in which format, with a checksum of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from softflow.data.data_spec import DataSpec
from softflow.data.files.episode_file import FORMAT_VERSION, check_format
from softflow.errors import DataError, StoreError
from softflow.utils.documents import checked
from softflow.utils.files import is_there
from softflow.utils.sealed_json import read_sealed, write_sealed

FILE = "store.json"


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format_version: int
    spec: dict[str, Any]


@dataclass(frozen=True)
class StoreIdentity:
    """What store.json says.

    Args:
        spec: what the episodes hold.
        format_version: of the store.
        is_current: as a writer leaves it today: in today's format, with its checksum.
    """

    spec: DataSpec
    format_version: int
    is_current: bool


def write_identity_of(store: Path, spec: DataSpec) -> None:
    """Write store.json of a store in today's format.

    Raises:
        StoreError: the disk refuses.
    """
    write_sealed(store / FILE, {"format_version": FORMAT_VERSION, "spec": spec.to_json()})


def read_identity_of(store: Path) -> StoreIdentity:
    """Read store.json of a store; the earlier ones had no checksum.

    Raises:
        StoreError: there is none, it is damaged or edited, or of a newer format.
    """
    file = store / FILE
    if not is_there(file):
        raise StoreError(
            f"'{store}' is not an episode store (no store.json); check the path, or create one "
            "with `softflow data import` or `softflow collect`."
        )
    value, sealed = read_sealed(file)
    if "format_version" in value:
        check_format(value["format_version"], file)
    restore = "restore it from a copy."
    document = checked(value, _Document, f"'{file}'", restore)
    try:
        spec = DataSpec.from_json(document.spec)
    except DataError as error:
        raise StoreError(f"'{file}' is damaged: {error}; {restore}") from error
    is_current = sealed and document.format_version == FORMAT_VERSION
    return StoreIdentity(spec, document.format_version, is_current)
