"""Settings of what proposes events: NAME=VALUE as a person writes it, as a checked dataclass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import msgspec

from softflow.errors import ConfigError
from softflow.utils.documents import misfit

Settings = TypeVar("Settings")


def parse_settings(words: Sequence[str]) -> dict[str, str]:
    """NAME -> VALUE of words NAME=VALUE.

    Raises:
        ConfigError: a word is none, or a name is given twice.
    """
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise ConfigError(f"--set {word!r:.80}: write NAME=VALUE")
        if name in given:
            raise ConfigError(f"--set {name} is given twice; give it once")
        given[name] = value
    return given


def settings_as(kind: type[Settings], given: Mapping[str, str], whose: str) -> Settings:
    """Settings as the dataclass `kind`: those given, and its defaults.

    Args:
        kind: a dataclass.
        given: name -> value, as text.
        whose: what messages call their owner.

    Raises:
        ConfigError: one is unknown, missing or of another type.
        SoftflowError: as `kind` raises it.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if strange := [name for name in given if name not in known]:
        raise ConfigError(f"{whose} has no setting '{strange[0]}'; it has {', '.join(known)}")
    values: dict[str, Any] = dict(given)
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"--set of {whose}: {misfit(error, values)}") from error
