"""Imitation from pixels that are exact, and from the same pixels stored with a loss, held out.

    softflow data import lerobot PATH --out data/real --unlabelled success --image-size 240 320
    softflow data filter data/real data/real_jpeg --frames jpeg
    python -m benchmarks.lossy_frames --store data/real --others data/real_jpeg

Every episode is held out once, as in `benchmarks.real_images`. A policy that learned from lossy
frames is measured on lossy frames, and on exact ones, which a robot's camera gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from scipy.stats import t as student
from torch import Tensor

from benchmarks.real_images import Held, Options, features_of, fold_of, pixels_config
from softflow.data.episode_store import EpisodeStore

Features = list[dict[str, Tensor]]
MEASURES = ("bits", "median", "most")


@dataclass(frozen=True)
class LossyOptions(Options):
    """What is compared, and how long it learns."""

    others: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="STORE [STORE ...]")] = ()
    """Copies of the store with other frames."""
    seeds: tuple[int, ...] = (0, 1)
    """Of weights and batches; an episode counts with the mean over them."""


def main(options: LossyOptions) -> None:
    """Every arm on every fold, then means and differences from exact frames with intervals."""
    stores = [EpisodeStore.open(path) for path in (options.store, *options.others)]
    config = pixels_config(options)
    features = {store.path.name: features_of(store, config) for store in stores}
    exact = next(iter(features))
    results: dict[str, list[list[list[Held]]]] = {}
    for held_out in range(len(stores[0])):
        for learned in features:
            tests = dict.fromkeys((learned, exact))
            found = [
                fold_of(
                    stores[0],
                    replace(config, seed=seed),
                    held_out,
                    features[learned],
                    options,
                    [features[tested] for tested in tests],
                )
                for seed in options.seeds
            ]
            for at, tested in enumerate(tests):
                arm = learned if tested == learned else f"{learned}, measured on {tested}"
                results.setdefault(arm, []).append([seed[at] for seed in found])
                print(f"episode {held_out} held out, {arm}: {results[arm][-1]}", flush=True)
    _report(results, options.counts)


def _report(results: dict[str, list[list[list[Held]]]], counts: Sequence[int]) -> None:
    """Means over episodes, and the differences from the first arm, with 95 % intervals."""
    print(
        "\n| updates | frames | bits a number | median error | 95 % error |\n|---|---|---|---|---|"
    )
    for at, count in enumerate(counts):
        first = None
        for arm, episodes in results.items():
            values = np.array([[_numbers(seed[at]) for seed in e] for e in episodes]).mean(1)
            cells = [f"{mean:.4f} ± {half:.4f}" for mean, half in map(_interval, values.T)]
            print(f"| {count} | {arm} | {' | '.join(cells)} |")
            if first is None:
                first = values
                continue
            moved = [f"{m:+.4f} ± {half:.4f}" for m, half in map(_interval, (values - first).T)]
            print(f"| {count} | {arm}, less the first | {' | '.join(moved)} |")


def _numbers(held: Held) -> list[float]:
    return [getattr(held, key) for key in MEASURES]


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Mean, and half of Student's 95 % interval over the episodes."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(student.ppf(0.975, len(values) - 1) * error)


if __name__ == "__main__":
    main(tyro.cli(LossyOptions, description=__doc__))
