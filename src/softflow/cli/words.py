"""Which command is meant, and what there is to choose from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from softflow.errors import ConfigError
from softflow.utils.console import plain, say

InPath = Annotated[Path, tyro.conf.Positional]
"""A file or folder that a command reads, given without the name of an option."""
StorePath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
"""An episode store."""
OutPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
"""What a command writes."""


def require_readable(words: Sequence[str]) -> None:
    """Raise for words that could not be shown again, nor written into a run's record.

    Raises:
        ConfigError: one holds control characters, or bytes that are no UTF-8.
    """
    for number, word in enumerate(words, 1):
        if plain(word) != word or "\n" in word or "\0" in word:
            raise ConfigError(
                f"word {number} of the command, {word!a:.100}, holds control characters or is no "
                "UTF-8; rename that file or folder (a shell's completion or a loop over files may "
                "have put it there)"
            )


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


def overview(prog: str, what: str, commands: Mapping[str, str]) -> str:
    """What there is: a line for each command and what it does."""
    width = max(len(name) for name in commands)
    lines = [f"  {prog} {name:<{width}}  {does}" for name, does in commands.items()]
    return "\n".join([f"{prog}: {what}", "", *lines, "", f"`{prog} COMMAND --help` explains each."])


def first_line(options: type) -> str:
    """What a command does: the first line of its options' docstring."""
    return (options.__doc__ or "").splitlines()[0]


def print_some(lines: Sequence[object], show: int, more: str = "") -> None:
    """Print the first lines, and how many others there are, with the options that show them."""
    show = max(show, 0)
    for line in lines[:show]:
        say(line)
    if len(lines) > show:
        say(f"… and {len(lines) - show} more{f' ({more})' if more else ''}")
