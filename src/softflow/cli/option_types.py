"""How the command line writes values that Python has and a shell has not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from softflow.errors import ConfigError

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


def parsed(kind: type, prog: str, words: list[str]) -> Any:
    """The options of a command, of class `kind`; a switch is off unless named: no --no-write."""
    config = (tyro.conf.FlagCreatePairsOff,)
    return tyro.cli(kind, args=words, prog=prog, config=config, registry=OPTION_TYPES)


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
