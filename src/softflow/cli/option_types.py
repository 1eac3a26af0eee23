"""How the command line writes values that Python has and a shell has not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import getdoc
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from softflow.cli.help.examples import EXAMPLES
from softflow.cli.help.page import groups_of, page, usage_of
from softflow.errors import ConfigError
from softflow.utils.console import say

MAX_IMAGE_SIDE = 8192


def require_image_size(size: tuple[int, int] | None) -> None:
    """Raise ConfigError unless height and width can be those of a camera."""
    if size is not None and not all(1 <= side <= MAX_IMAGE_SIDE for side in size):
        raise ConfigError(
            f"--image-size is {size[0]} {size[1]}; give height and width within 1 to "
            f"{MAX_IMAGE_SIDE}"
        )


OPTION_TYPES = ConstructorRegistry()
"""For `tyro.cli(..., registry=OPTION_TYPES)`."""


@OPTION_TYPES.primitive_rule
def named_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Mapping[str, float]] | None:
    """`Mapping[str, float]` as NAME=NUMBER ...; None for all other types."""
    if info.type_origin is not Mapping:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME=NUMBER ...",
        instance_from_str=_parse,
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=lambda value: [f"{name}={number:g}" for name, number in value.items()],
    )


@OPTION_TYPES.primitive_rule
def named_path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    """`Path`, but not from an empty word: that would be the folder one happens to be in."""
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=_parse_path,
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


def parsed(kind: type, prog: str, words: Sequence[str], *, pairs: bool = False) -> Any:
    """The options of a command, of class `kind`; asked for help, its page is printed.

    Args:
        pairs: a switch may be named as --no-switch too, which a preset needs; without, it is off
            unless named.

    Raises:
        SystemExit: help was asked for, or tyro has said what is wrong with the words.
    """
    config = () if pairs else (tyro.conf.FlagCreatePairsOff,)
    if wants_help(words):
        groups = groups_of(kind, config=config, registry=OPTION_TYPES)
        examples = EXAMPLES.get(prog.removeprefix("softflow "), {})
        say(page(usage_of(prog, groups), getdoc(kind) or "", examples, [*groups.values()]))
        raise SystemExit(0)
    return tyro.cli(kind, args=words, prog=prog, config=config, registry=OPTION_TYPES)


def wants_help(words: Sequence[str]) -> bool:
    """Whether help is among the words, wherever."""
    return bool({"-h", "--help"} & set(words))


def _parse_path(words: list[str]) -> Path:
    """Raises ValueError, which tyro shows."""
    if not words[0].strip():
        raise ValueError('the path is empty; name a file or folder ("." is the one you are in)')
    return Path(words[0])


def _parse(words: list[str]) -> dict[str, float]:
    """Raises ValueError, which tyro shows, naming the word."""
    numbers: dict[str, float] = {}
    for word in words:
        name, equals, number = word.rpartition("=")
        if not (equals and name):
            raise ValueError(f'"{word}" is not NAME=NUMBER, such as teleop=2')
        if name in numbers:
            raise ValueError(f'"{name}" is given twice; give it once')
        try:
            numbers[name] = float(number)
        except ValueError:
            raise ValueError(f'"{number}" in "{word}" is not a number') from None
    return numbers
