"""Statistics that a LeRobot dataset keeps of every episode and of all of it: for normalisation.

As LeRobot has them: minimum, maximum, mean, standard deviation, number of rows and five quantiles;
of cameras per channel, of values in [0, 1], from a sample of frames and pixels. An episode's are
exact, and so are the dataset's but for its quantiles: means of the episodes', weighted by length.
"""

from __future__ import annotations

import numpy as np

Statistics = dict[str, np.ndarray]
"""min, max, mean, std, q01, q10, q50, q90, q99: one value a component; count: [1]."""

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
SAMPLED_FRAMES = 100
SAMPLED_SIDE = 150


def statistics_of(values: np.ndarray) -> Statistics:
    """Statistics of a feature [T, *shape], at least one component."""
    rows = values.reshape(len(values), *(values.shape[1:] or (1,))).astype(np.float64)
    return _statistics(rows, len(values))


def image_statistics_of(frames: np.ndarray) -> Statistics:
    """Statistics [3, 1, 1] of a camera, uint8 [T, height, width, 3], in [0, 1]."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, SAMPLED_FRAMES).round().astype(int))
    stride = max(1, min(frames.shape[1:3]) // SAMPLED_SIDE)
    pixels = frames[chosen, ::stride, ::stride].reshape(-1, 3) / np.float32(255)
    result = _statistics(pixels, len(chosen))
    return {key: v if key == "count" else v.reshape(3, 1, 1) for key, v in result.items()}


def _statistics(rows: np.ndarray, count: int) -> Statistics:
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0, dtype=np.float64),
        "std": rows.std(axis=0, dtype=np.float64),
        "count": np.array([count]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def combined(first: Statistics | None, second: Statistics) -> Statistics:
    """Statistics of two sets of rows together."""
    if first is None:
        return second
    counts = [int(first["count"][0]), int(second["count"][0])]
    share = counts[1] / sum(counts)
    mean = first["mean"] + (second["mean"] - first["mean"]) * share
    spread = [s["std"] ** 2 + (s["mean"] - mean) ** 2 for s in (first, second)]
    result = {
        "min": np.minimum(first["min"], second["min"]),
        "max": np.maximum(first["max"], second["max"]),
        "mean": mean,
        "std": np.sqrt(spread[0] * (1 - share) + spread[1] * share),
        "count": np.array([sum(counts)]),
    }
    return result | {key: first[key] * (1 - share) + second[key] * share for key in QUANTILES}
