"""How fast a component may change: as a person says, or as the data itself suggests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from softflow.curation.components import component_sizes, fits, parse_component, rows_of
from softflow.curation.row_sample import RowSample, sample_rows
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.errors import DataError

USUAL_SIGMAS = 20.0
MAD_TO_STD = 1.4826
"""Median absolute value to standard deviation, for a normal distribution about 0."""
BULK_QUANTILE, BULK_FACTOR = 0.995, 4.0
GLITCH_CHANGES = 4
"""Changes that two glitches make, there and back: too few to decide what is usual."""

Rates = Mapping[str, np.ndarray]
"""Key → largest allowed change per second of each component; infinity allows any."""


def parse_max_rates(texts: Sequence[str], spec: DataSpec) -> dict[str, np.ndarray]:
    """Limits as given on a command line: `observation.state[3]=1.5`, units per second.

    Raises:
        DataError: not KEY=NUMBER, no such component, or not above 0.
    """
    sizes = component_sizes(spec)
    rates: dict[str, np.ndarray] = {}
    for text in texts:
        reference, equals, number = text.rpartition("=")
        try:
            limit = float(number)
        except ValueError:
            limit = float("nan")
        if not equals or not limit > 0:
            raise DataError(
                f"'{text}' is no rate limit; write KEY=NUMBER or KEY[COMPONENT]=NUMBER, units per "
                "second, above 0, as in observation.state[3]=1.5"
            )
        key, components = parse_component(reference, spec)
        if key not in sizes:
            raise DataError(f"'{text}': '{key}' has no rate limit; choose one of {list(sizes)}")
        rates.setdefault(key, np.full(sizes[key], np.inf))[components] = limit
    return rates


def usual_rates(
    episodes: Iterable[Episode], spec: DataSpec, sigmas: float = USUAL_SIGMAS
) -> dict[str, np.ndarray]:
    """The rate beyond which a state changes faster than it usually does.

    Of each component's non-zero changes from step to step: `sigmas` robust standard deviations
    (1.4826 times the median size), but at least 4 times what 99.5 % of them stay below (of fewer
    than 800 changes: all but the 4 largest), so that something which rests most of the time and
    then moves, or a switch, is no jump. Actions have no such limit, for commands do jump.

    Args:
        episodes: read once, one at a time; of very many changes a fixed sample is kept.
        spec: what they hold.
        sigmas: robust standard deviations that are still usual; 0 or infinity gives no limits.
    """
    if not 0 < sigmas < np.inf:
        return {}
    sizes = component_sizes(spec)
    samples = {key: RowSample(sample_rows(sizes[key])) for key in spec.state_keys}
    for episode in episodes:
        for key, sample in samples.items():
            if fits(episode, key, spec):
                sample.add(np.abs(np.diff(rows_of(episode, key), axis=0)))
    return {
        key: np.array([_usual(column, sigmas) for column in sample.rows.T]) * spec.control_hz
        for key, sample in samples.items()
        if len(sample.rows)
    }


def _usual(changes: np.ndarray, sigmas: float) -> float:
    """The largest usual change per step, from the sizes of the changes of one component."""
    moving = changes[np.isfinite(changes) & (changes > 0)].astype(np.float64)
    if len(moving) == 0:
        return float("inf")
    robust = sigmas * MAD_TO_STD * float(np.median(moving))
    bulk = min(BULK_QUANTILE, max(0.5, 1 - GLITCH_CHANGES / len(moving)))
    return max(robust, BULK_FACTOR * float(np.quantile(moving, bulk)))
