"""JSON of other people's files: read to a bound, held against a schema, told of in one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from softflow.errors import DataError, brief
from softflow.formats.remedies import LFS_START, remedy
from softflow.utils.documents import MAX_DOCUMENT_BYTES
from softflow.utils.files import require_regular

Document = TypeVar("Document")


def read_document(path: Path, kind: type[Document]) -> Document:
    """A JSON file as a `msgspec.Struct`, or whatever msgspec knows.

    Raises:
        DataError: missing, too long, no JSON, or something of another type in it; names the place.
    """
    content = read_bytes(path)
    if content.startswith(LFS_START):
        raise DataError(f"{path} is not JSON; {remedy(path)}")
    return parsed(content, kind, str(path))


def read_bytes(path: Path) -> bytes:
    """The content of a file that is text.

    Raises:
        DataError: it cannot be read, or is longer than `MAX_DOCUMENT_BYTES`.
    """
    require_regular(path)
    try:
        with path.open("rb") as file:
            size = min(os.fstat(file.fileno()).st_size, MAX_DOCUMENT_BYTES)
            content = file.read(size + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read {path}: {why}; copy or download it again") from error
    if len(content) > MAX_DOCUMENT_BYTES:
        raise DataError(
            f"{path} is longer than the {MAX_DOCUMENT_BYTES:,} bytes that are read of such a file; "
            "download it again"
        )
    return content


def parsed(text: str | bytes, kind: type[Document], where: str) -> Document:
    """JSON text as `kind`; an error names `where` it is.

    Raises:
        DataError: no JSON, nested too deeply, or something of another type in it.
    """
    try:
        return converted(json.loads(text), kind, where)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where} is not JSON ({brief(error)}); copy or download the file again"
        ) from error


def converted(value: Any, kind: type[Document], where: str) -> Document:
    """A value of JSON as `kind`.

    Raises:
        DataError: something is missing or of another type; says what and where in it.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        raise DataError(
            f"{where} is damaged ({brief(error)}); copy or download the file again"
        ) from error
