"""Import paths ("module:name"), followed only where the user named them.

Importing a module runs its code. A data set or a checkpoint of strangers may name any module, so a
path that only a file names is not followed. What the user says is trusted: words of the command
line, `trust` in Python, and in worker processes what their parent trusts.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from softflow.errors import UntrustedImportError

Item = TypeVar("Item")
Result = TypeVar("Result")

_trusted: set[str] = set()


def trust(*paths: str) -> None:
    """Let these import paths be followed, in this process and the workers that work for it."""
    _trusted.update(paths)


def trusted() -> frozenset[str]:
    """Everything that may be followed, for `trust` in another process."""
    return frozenset(_trusted)


def require_trusted(path: str, what: str, option: str) -> None:
    """Raise unless the user named this import path.

    Args:
        path: "module:name".
        what: how messages call what it stands for, such as "the environment".
        option: of the command line that names it, such as "--env".

    Raises:
        UntrustedImportError: only a file names it; says how to allow it.
    """
    if path in _trusted:
        return
    raise UntrustedImportError(
        f"{what} is named by its import path, {path!r}: following it runs the code of the module "
        f"{path.partition(':')[0]!r} on this machine, and so far only a file asks for that (a data "
        f"set, or a checkpoint). If you know that code, name it on the command line: {option} "
        f"{path} (in Python: softflow.utils.imports.trust({path!r}))"
    )


def follow(path: str) -> Any:
    """The object called "module:name"; a dot behind the colon leads into a class.

    A module may lie in the current folder; one that is installed under that name comes first. It
    is for the caller to know that the user named it.

    Raises:
        ImportError, AttributeError, ValueError: there is no such module or object.
    """
    module_name, _, name = path.partition(":")
    with _current_folder_last():
        found: Any = importlib.import_module(module_name)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def package_folder(name: str) -> Path | None:
    """Where a package lies; None if it is not installed. Nothing of it is run."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0])


def is_module(name: str) -> bool:
    """Whether a module of this name can be imported, without a dot; nothing of it is run."""
    if not name.isidentifier():
        return False
    with _current_folder_last():
        return importlib.util.find_spec(name) is not None


@contextmanager
def _current_folder_last() -> Iterator[None]:
    """Not for longer than one import: no other one shall find what merely lies there."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        # The last one: Python may have been started with the same folder in front.
        if here in sys.path:
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(here)]


def with_my_trust(
    function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[frozenset[str], Callable[[Item], Result], Item]]:
    """Calls for `do_trusting` in worker processes, which then trust what this process does."""
    paths = trusted()
    return ((paths, function, item) for item in items)


def do_trusting(call: tuple[frozenset[str], Callable[[Item], Result], Item]) -> Result:
    """Do a call of `with_my_trust`."""
    paths, function, item = call
    trust(*paths)
    return function(item)
