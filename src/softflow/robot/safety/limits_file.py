"""Limits of a robot from a TOML file, held against the schema and the robot's data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError
from softflow.robot.safety.limits import Limits
from softflow.robot.toml_file import read_toml


def read_limits(path: Path) -> Limits:
    """The limits of a file; docs/robot.md shows one.

    Raises:
        StoreError: no such file, or no TOML.
        ConfigError: a field is unknown, or its value unusable; names it.
    """
    return read_toml(path, Limits, "the limits")


def component_numbers(components: Sequence[str | int], spec: DataSpec) -> list[int]:
    """Which components of the action are meant, by name or number.

    Raises:
        ConfigError: the action has none of that name or number.
    """
    names = spec.names.get("action", ())
    numbers = [names.index(c) if c in names else c for c in components]
    for number in numbers:
        if not isinstance(number, int) or not 0 <= number < spec.action_dim:
            known = f", called {', '.join(names)}" if names else ", without names"
            raise ConfigError(
                f"the limits name the component {number!r}; the action has {spec.action_dim}"
                f"{known}, numbered from 0"
            )
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"the limits name a component twice: {list(components)}")
    return [int(number) for number in numbers]


def require_observed(key: str, observed: Sequence[int], spec: DataSpec) -> None:
    """Raise unless an observation has these components.

    Raises:
        ConfigError: says what it has.
    """
    shape = spec.observation_shapes.get(key)
    if shape is None or len(shape) != 1:
        known = ", ".join(k for k, s in spec.observation_shapes.items() if len(s) == 1)
        raise ConfigError(f"the limits name the observation {key!r}; choose one of {known}")
    if any(not 0 <= number < shape[0] for number in observed):
        raise ConfigError(
            f"the limits name components {list(observed)} of {key!r}, which has {shape[0]}"
        )
