"""Metadata of episodes that softflow gives a meaning to: others may have written anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from softflow.errors import DataError

Value = TypeVar("Value")


def metadata_value(
    metadata: Mapping[str, Any], key: str, kind: type[Value], default: Value, where: str
) -> Value:
    """What the metadata of an episode say under a key.

    Args:
        metadata: of the episode.
        key: what is asked for.
        kind: of which type it must be.
        default: if nothing is said.
        where: how messages call the episode.

    Raises:
        DataError: something of another type stands there.
    """
    if key not in metadata:
        return default
    try:
        return msgspec.convert(metadata[key], kind)
    except msgspec.ValidationError as error:
        raise DataError(
            f"{where}: the metadata '{key}' is {metadata[key]!r:.60}, which softflow does not "
            f"write there ({error}); record the episode again, or leave it out"
        ) from error
