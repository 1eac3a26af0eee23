"""Which command is meant, and what there is to choose from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from softflow.errors import ConfigError


def require_command(name: str, known: Iterable[str], prefix: str = "") -> None:
    """Raise unless `name` is one of the commands.

    Raises:
        ConfigError: it is not; names the nearest one, or all.
    """
    known = list(known)
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 1)
    hint = f'did you mean "{near[0]}"?' if near else f"choose one of {', '.join(known)}"
    raise ConfigError(f'no command "{prefix}{name}"; {hint}')


def asks_for_help(words: list[str]) -> bool:
    """True if no command is named, or help is."""
    return not words or words[0] in ("-h", "--help", "help")


def overview(prog: str, what: str, commands: Mapping[str, type]) -> str:
    """A line for each command: the first of the docstring of its options."""
    width = max(len(name) for name in commands)
    lines = [
        f"  {prog} {name:<{width}}  {(options.__doc__ or '').splitlines()[0]}"
        for name, options in commands.items()
    ]
    return "\n".join([f"{prog}: {what}", *lines, "", f"`{prog} COMMAND --help` explains each."])
