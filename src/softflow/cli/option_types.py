"""How the command line writes values that Python has and a shell has not."""

from __future__ import annotations

from collections.abc import Mapping

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
