"""What an episode tries that its policy would not do: all its actions shifted by one offset.

The offset follows from the episode's seed, so that a robot and a learner know it alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from softflow.data.metadata import metadata_value
from softflow.errors import DataError

EXPLORATION_KEY = "exploration_std"
"""Of an episode's metadata: the standard deviation of its offset; not there where it has none."""
_PURPOSE = 0x0FF5E7


def exploration_offset(seed: int, std: float, dim: int) -> np.ndarray:
    """The offset [dim] of an episode, in normalised actions.

    Args:
        seed: of the episode; std: standard deviation; dim: numbers of a normalised action.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, _PURPOSE]))
    return std * rng.normal(size=dim)


def exploration_facts(std: float) -> dict[str, float]:
    """What the metadata of an episode say of its offset, beside its seed."""
    return {EXPLORATION_KEY: std} if std else {}


def offset_of(metadata: Mapping[str, Any], std: float, dim: int, where: str) -> np.ndarray | None:
    """The offset [dim] of an episode that explored with `std`; None where it did not.

    Raises:
        DataError: its metadata say something else than numbers; `where` names it.
    """
    if metadata_value(metadata, EXPLORATION_KEY, float, 0.0, where) != std:
        return None
    seed = metadata_value(metadata, "seed", int, -1, where)
    if seed < 0:
        raise DataError(f"{where}: it explored, and its metadata name no seed; leave it out")
    return exploration_offset(seed, std, dim)
