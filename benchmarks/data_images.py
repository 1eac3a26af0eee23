"""How fast windows with camera images come, against reading the same number of frames in order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.data_throughput import WORKERS, take_ahead
from benchmarks.measuring import Row, Section, measure
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.sampling.image_pieces import PieceTable, piece_tables

CASES = ((2, 84), (3, 224))
"""Cameras, and pixels of their width and height."""
BATCH_SIZE = 64
BATCHES_AHEAD = 6


def run(
    chunk: ChunkSpec,
    turns: int,
    num_episodes: int = 12,
    length: int = 80,
    batch_size: int = BATCH_SIZE,
) -> Section:
    """Rows for every case, over stores written to a temporary folder.

    Nothing decoded is kept from batch to batch, as if the data were far larger than the cache.
    """
    rows: list[Row] = []
    for cameras, pixels in CASES:
        with tempfile.TemporaryDirectory() as folder:
            store = image_store(Path(folder) / "store", cameras, pixels, num_episodes, length)
            dataset = ChunkDataset(store, chunk, image_cache_bytes=1)
            sampler = ChunkSampler(dataset, batch_size, 0, "benchmark")
            rows += _rows(sampler, f"{cameras} × {pixels} × {pixels}", turns)
    title = f"Batches of {batch_size} windows with images, nothing kept decoded"
    return Section(title, "this ÷ read in order", rows)


def image_store(
    path: Path, cameras: int, pixels: int, num_episodes: int, length: int
) -> EpisodeStore:
    """A store with cameras that see a textured scene in which a square moves."""
    keys = [f"observation.images.camera_{number}" for number in range(cameras)]
    shapes_of_images = dict.fromkeys(keys, (pixels, pixels, 3))
    shapes = shapes_of_images | {"observation.state": (7,)}
    spec = DataSpec(shapes, 7, (-1.0,) * 7, (1.0,) * 7, 20.0)
    with EpisodeStore.create(path, spec) as store:
        for seed in range(num_episodes):
            store.append(image_episode(spec, length, seed))
    return store


def image_episode(spec: DataSpec, length: int, seed: int) -> Episode:
    """An episode of a store made by `image_store`; its frames compress to about a half."""
    rng = np.random.default_rng(seed)
    observations: dict[str, np.ndarray] = {
        key: _frames(spec.observation_shapes[key][0], length + 1, rng) for key in spec.image_keys
    }
    observations["observation.state"] = rng.normal(size=(length + 1, 7)).astype(np.float32)
    actions = rng.uniform(-1, 1, (length, 7)).astype(np.float32)
    return Episode(observations, actions, np.zeros(length, np.float32), False, True, False)


def _frames(pixels: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(0, 200, (-(-pixels // 7), -(-pixels // 7), 3), dtype=np.uint8)
    scene = coarse.repeat(7, axis=0).repeat(7, axis=1)[:pixels, :pixels]
    frames = np.repeat(scene[None], num_frames, axis=0)
    # The noise of a real camera, which is what costs space and time.
    frames += rng.integers(0, 8, frames.shape, dtype=np.uint8)
    size = pixels // 6
    for number, frame in enumerate(frames):
        place = number * 2 % (pixels - size)
        frame[place : place + size, place : place + size] = 220
    return frames


def _rows(sampler: ChunkSampler, name: str, turns: int) -> list[Row]:
    size, spec = sampler.batch_size, sampler.dataset.store.spec
    num_frames = 2 * size * sampler.dataset.chunk_spec.history_length * len(spec.image_keys)
    megabytes = num_frames * int(np.prod(spec.observation_shapes[spec.image_keys[0]])) / 1e6
    steps, in_order = count(), _decoded_in_order(sampler.dataset.store)
    variants: dict[str, Callable[[], object]] = {
        "sampler": lambda: sampler.batch(next(steps)),
        "prefetched": lambda: take_ahead(sampler, BATCHES_AHEAD),
        "decompress": _decompressing(sampler),
        "in order": lambda: _take(in_order, num_frames),
    }
    timings = measure(variants, turns).divided({"prefetched": BATCHES_AHEAD})
    labels = {
        "sampler": f"{name}: sampler",
        "prefetched": f"{name}: {WORKERS} workers ahead",
        "decompress": f"{name}: decompressing alone",
        "in order": f"{name}: read in order",
    }
    notes = {
        "decompress": "the pieces that a batch needs, from RAM",
        "in order": f"as many frames in the order they lie in, {megabytes:.0f} MB decoded",
    }
    rows: list[Row] = []
    for variant, label in labels.items():
        ms = timings.ms(variant)
        aim = "≤ 1.5" if variant in ("sampler", "prefetched") else ""
        note = notes.get(variant, f"{size / ms.median * 1e3:,.0f} windows/s")
        ratio = None if variant == "in order" else timings.ratio(variant, "in order")
        rows.append(Row(label, ms, ratio, aim, note))
    return rows


def _decompressing(sampler: ChunkSampler) -> Callable[[], object]:
    """Decompress the pieces of one batch's frames, which lie in RAM already."""
    dataset = sampler.dataset
    store, spec = dataset.store, dataset.chunk_spec
    rng = np.random.default_rng(0)
    ends = np.cumsum(dataset.episode_windows)
    windows = rng.integers(dataset.num_windows, size=sampler.batch_size)
    episodes = np.searchsorted(ends, windows, side="right")
    steps = windows - (ends - dataset.episode_windows)[episodes]
    after = np.minimum(steps + spec.execution_horizon, dataset.episode_windows[episodes])
    pieces: list[tuple[PieceTable, memoryview]] = []
    for episode in np.unique(episodes):
        which = episodes == episode
        path = store.episode_path(int(episode))
        with path.open("rb") as file:
            for table in piece_tables(path, store.spec.image_keys).values():
                back = np.arange(spec.history_length)
                seen = np.concatenate([steps[which], after[which]])[:, None] - back
                numbers = np.unique(table.place(np.maximum(seen, 0).ravel())[0])
                pieces += [(table, table.compressed(file.fileno(), path, n)) for n in numbers]

    def decompress() -> None:
        for table, payload in pieces:
            table.decode(payload)

    return decompress


def _decoded_in_order(store: EpisodeStore) -> Iterator[int]:
    """Read and decode piece after piece, for ever; yields how many frames each held."""
    while True:
        for index in range(len(store)):
            path = store.episode_path(index)
            with path.open("rb") as file:
                for table in piece_tables(path, store.spec.image_keys).values():
                    for piece in range(len(table.entries)):
                        yield len(table.read(file.fileno(), path, piece))


def _take(decoded: Iterator[int], num_frames: int) -> None:
    while num_frames > 0:
        num_frames -= next(decoded)
