"""store.json: what a store holds, in which format, with a checksum of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from softflow.data.data_spec import DataSpec
from softflow.data.files.episode_file import check_format, version_for
from softflow.data.files.frame_storage import EXACT, FrameStorage
from softflow.data.files.jpeg_frames import require_codec
from softflow.errors import DataError, StoreError
from softflow.utils.documents import checked
from softflow.utils.files import is_there
from softflow.utils.sealed_json import read_sealed, write_sealed

FILE = "store.json"


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format_version: int
    spec: dict[str, Any]
    frames: FrameStorage = EXACT


@dataclass(frozen=True)
class StoreIdentity:
    """What store.json says.

    Args:
        spec: what the episodes hold.
        format_version: of the store.
        is_current: as a writer leaves it today: in today's format, with its checksum.
        frames: how a writer stores the frames of episodes that it appends.
    """

    spec: DataSpec
    format_version: int
    is_current: bool
    frames: FrameStorage


def write_identity_of(store: Path, spec: DataSpec, frames: FrameStorage = EXACT) -> None:
    """Write store.json of a store in today's format; older softflows read it if frames are exact.

    Raises:
        StoreError: the disk refuses.
    """
    told = {"frames": msgspec.to_builtins(frames)} if frames.is_lossy else {}
    document = {"format_version": version_for(frames), "spec": spec.to_json(), **told}
    write_sealed(store / FILE, document)


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
    is_current = sealed and document.format_version == version_for(document.frames)
    return StoreIdentity(spec, document.format_version, is_current, document.frames)


def require_storable(spec: DataSpec, frames: FrameStorage) -> None:
    """Raise unless a writer here can store frames in this way.

    Raises:
        DataError: there is no camera whose frames could have a loss.
        StoreError: Pillow is not installed.
    """
    require_codec(frames)
    if frames.is_lossy and not spec.image_keys:
        raise DataError(
            f"these data have no camera whose frames could be stored as {frames}; leave --frames "
            "out, or take cameras"
        )


def require_redeclarable(store: Path, before: DataSpec, spec: DataSpec) -> None:
    """Raise unless a spec says anew of a store what may be said anew: actions and environment.

    Raises:
        DataError: something else differs.
    """
    low, high, neutral = spec.action_low, spec.action_high, spec.neutral_action
    actions = {"action_low": low, "action_high": high, "neutral_action": neutral}
    if replace(before, **actions, env_id=spec.env_id) != spec:
        raise DataError(
            f"the store '{store}' can only be given other action bounds, another neutral action or "
            "environment; import what differs otherwise into another folder."
        )
