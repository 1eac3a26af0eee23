"""Other people's simulators draw from numpy's global state: give them a seed, put theirs back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def seeded_global_numpy(seed: int) -> Iterator[None]:
    """numpy's global random numbers follow from `seed` (below 2^32) within, as before behind."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
