"""Bounds of configured numbers: what lies beyond is a slip, told before anything is built."""

from __future__ import annotations

from softflow.errors import ConfigError

MAX_PREFETCH_WORKERS = 64
MAX_WORKERS = 512
MAX_UPDATES = 10**9
MAX_ROWS = 2**20
MAX_CANDIDATES = 2**16
MAX_EPISODES = 100_000


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with this message unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_within(name: str, value: int, least: int, most: int) -> None:
    """Raise ConfigError unless a value lies in [least, most]; `name` is the setting's."""
    require(value >= least, f"{name} is {value}; must be >= {least}")
    require(value <= most, f"{name} is {value:,}; must be <= {most:,}")
