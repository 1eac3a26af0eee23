"""Frames that are stored with a loss against exact ones: space, and how fast single frames come.

python -m benchmarks --only stored_frames                on made-up frames, as in `make bench`
python -m benchmarks.stored_frames --store data/real     on those of a store
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console

from benchmarks.data_images import image_store
from benchmarks.measuring import Row, Section, Timings, measure
from benchmarks.tables import table
from softflow.curation.copying import copy_episodes
from softflow.curation.stored_frames import frames_told
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import write_episode_file
from softflow.data.files.frame_storage import EXACT, FrameStorage
from softflow.sampling.frame_cache import FrameCache

QUALITIES = (95, 80)
"""Of JPEGs."""
FRAMES = 64
"""Read at random in a turn, of all cameras."""


@dataclass(frozen=True)
class Options:
    """What is measured."""

    store: Annotated[Path, tyro.conf.arg(metavar="STORE")]
    """Episode store with cameras and exact frames."""
    episodes: int = 2
    """Its first ones."""
    turns: int = 7
    """Timed turns; medians and quartiles are reported."""
    qualities: tuple[int, ...] = QUALITIES
    """Of the JPEGs."""


def run(turns: int, cameras: int = 2, pixels: int = 84, length: int = 80) -> Section:
    """Rows for made-up frames, which have the noise of a camera."""
    with tempfile.TemporaryDirectory() as folder:
        store = image_store(Path(folder) / "store", cameras, pixels, 2, length)
        return compared(store, 2, QUALITIES, turns)


def compared(store: EpisodeStore, episodes: int, qualities: tuple[int, ...], turns: int) -> Section:
    """Rows for the first episodes of a store, exact and as JPEGs of these qualities."""
    kinds = [EXACT, *(FrameStorage("jpeg", quality) for quality in qualities)]
    with tempfile.TemporaryDirectory() as folder:
        stores = {
            str(kind): _copied(store, episodes, Path(folder) / f"{kind.codec}{kind.quality}", kind)
            for kind in kinds
        }
        reading: dict[str, Callable[[], object]] = {k: _reader(s) for k, s in stores.items()}
        episode = store.episode(0, labelled=False)
        file = Path(folder) / "written.zarr.zip"
        writing: dict[str, Callable[[], object]] = {
            str(kind): partial(write_episode_file, file, episode, storage=kind) for kind in kinds
        }
        read, written = measure(reading, turns), measure(writing, turns)
        rows = [row for name in stores for row in _rows(name, stores, read, written)]
    height, width, _ = store.spec.observation_shapes[store.spec.image_keys[0]]
    return Section(f"Frames of {height} × {width} stored with a loss", "this ÷ exact", rows)


def _copied(store: EpisodeStore, episodes: int, path: Path, kind: FrameStorage) -> EpisodeStore:
    selection = [(store, index) for index in range(min(episodes, len(store)))]
    copy_episodes(selection, path, store.spec, frames=kind)
    return EpisodeStore.open(path)


def _reader(store: EpisodeStore) -> Callable[[], object]:
    """Single frames at random, each decoded anew."""
    cameras = store.spec.image_keys
    rng = np.random.default_rng(0)
    episodes = rng.integers(len(store), size=FRAMES)
    lengths = np.array([summary.length for summary in store.summaries()])
    steps = rng.integers(lengths[episodes])
    cache = FrameCache(store, max_bytes=1)
    return lambda: cache.frames(cameras, episodes, steps)


def _rows(name: str, stores: dict[str, EpisodeStore], read: Timings, written: Timings) -> list[Row]:
    exact = str(EXACT)
    sizes = {kind: _bytes(store.path / "episodes") for kind, store in stores.items()}
    told = frames_told(stores[name])[0].partition(": ")[2]
    note = f"{sizes[name] / sizes[exact]:.3f} of its space; {told}" if told else ""
    first = name == exact
    return [
        Row(
            f"{name}: {FRAMES} frames at random",
            read.ms(name),
            None if first else read.ratio(name, exact),
            note=note,
        ),
        Row(
            f"{name}: an episode written",
            written.ms(name),
            None if first else written.ratio(name, exact),
        ),
    ]


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def main(options: Options) -> None:
    """Print the rows of a store."""
    store = EpisodeStore.open(options.store)
    section = compared(store, options.episodes, options.qualities, options.turns)
    Console(width=160).print(table(section))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
