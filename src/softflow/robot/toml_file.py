"""What a person writes: a TOML file, held against a schema."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from softflow.errors import ConfigError, StoreError
from softflow.utils.documents import checked
from softflow.utils.files import require_regular

Document = TypeVar("Document")
MAX_FILE_BYTES = 2**20


def read_toml(path: Path, kind: type[Document], what: str, page: str = "docs/robot.md") -> Document:
    """A file as `kind`, whose fields a page of the documentation lists.

    Args:
        path: of the file.
        kind: the schema, a `msgspec.Struct`.
        what: how messages call the file, such as "the limits".
        page: where its fields are explained.

    Raises:
        StoreError: no such file, or no TOML.
        ConfigError: a field is unknown, or its value unusable; names it.
    """
    require_regular(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {what} '{path}': {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise StoreError(f"{what} '{path}' are {len(content):,} bytes; that is no such file")
    try:
        value = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{what} '{path}' are no TOML: {error}; correct that line") from error
    try:
        return checked(value, kind, f"{what} '{path}'", f"{page} lists what may stand")
    except StoreError as error:
        raise ConfigError(str(error).replace(" is damaged: ", ": ")) from error
    except ConfigError as error:
        raise ConfigError(f"{what} '{path}': {error}") from error
