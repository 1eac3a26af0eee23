"""Files of a run folder, read with care: what is wrong with one is told, and the page goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from softflow.errors import SoftflowError, StoreError
from softflow.utils.documents import misfit
from softflow.utils.files import read_object, require_inside, require_regular

_T = TypeVar("_T")


def is_own(path: Path, problems: list[str]) -> bool:
    """Whether a file lies where it says; a page must not show what a stranger's link leads to."""
    try:
        require_regular(path)
        require_inside(path.parent, path)
    except SoftflowError as error:
        problems.append(str(error))
        return False
    return True


def read_own_object(path: Path, problems: list[str]) -> dict[str, Any]:
    """The object in a JSON file; empty, and told in `problems`, if there is none to be had."""
    if not path.exists() or not is_own(path, problems):
        return {}
    try:
        return read_object(path)
    except StoreError as error:
        problems.append(str(error))
        return {}


def read_all(
    folder: Path, parse: Callable[[str, dict[str, Any]], _T], problems: list[str]
) -> list[_T]:
    """What `parse` makes of the name and the object of every JSON file; bad ones are told."""
    items: list[_T] = []
    for file in sorted(folder.glob("*.json")):
        value = read_own_object(file, problems)
        try:
            if value:
                items.append(parse(file.stem, value))
        except SoftflowError as error:
            problems.append(f"'{file}' cannot be used: {error}; remove it")
        except msgspec.ValidationError as error:
            problems.append(f"'{file}' cannot be used: {misfit(error, value)}; remove it")
    return items
