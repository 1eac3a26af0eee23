"""JSON files with a checksum of their own text: any bit that flips, and any edit, is noticed.

    {
      "sha256": "…",        of this file with nothing between these quotation marks
      …
    }

Files without that field, of earlier versions or with the line removed by hand, are read as well.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softflow.errors import StoreError
from softflow.utils.files import read_json_bytes, write_bytes

SEAL = "sha256"


def write_sealed(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum, whole or not at all.

    Raises:
        StoreError: the system refused, or the value has no JSON form.
    """
    try:
        text = json.dumps({SEAL: "", **value}, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise StoreError(f"cannot write '{path}': the value has no JSON form ({error})") from error
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_bytes(path, text.replace(f'"{SEAL}": ""', f'"{SEAL}": "{digest}"', 1).encode())


def read_sealed(path: str | os.PathLike[str]) -> tuple[dict[str, Any], bool]:
    """The object in a JSON file without its checksum, and whether there was one.

    Raises:
        StoreError: the file is missing or damaged, or was edited: says how to keep an edit.
    """
    value, content = read_json_bytes(Path(path))
    if not isinstance(value, dict):
        raise StoreError(f"'{path}' is damaged: it is no JSON object; restore it from a copy.")
    if SEAL not in value:
        return value, False
    digest = value.pop(SEAL)
    unsealed = content.replace(f'"{digest}"'.encode(), b'""', 1)
    if digest != hashlib.sha256(unsealed).hexdigest():
        raise StoreError(
            f"'{path}' does not match its checksum: it is damaged, or was edited. Restore it from "
            f'a copy; if you meant the edit, remove its line "{SEAL}" too, and it is read without.'
        )
    return value, True
