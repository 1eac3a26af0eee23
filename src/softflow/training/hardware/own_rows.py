"""What of a batch, and of chance, is a process's own where several train a run together."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.prefetch import Prefetcher, Sampler

ALL_ROWS = slice(0, None, 1)


class OwnRows:
    """A sampler of some rows of another one's batches, all of them if there is one process.

    The whole batch is drawn, so that it does not depend on how many share it.

    Args:
        sampler: of whole batches.
        rows: which are this process's.
        pinned: whether they wait in memory that a GPU copies from by itself.
    """

    def __init__(self, sampler: Sampler[ChunkBatch], rows: slice, *, pinned: bool = False) -> None:
        self._sampler, self._rows, self._pinned = sampler, rows, pinned

    @property
    def data_version(self) -> Hashable:
        """Changes whenever the data grew."""
        return self._sampler.data_version

    def batch(self, update_step: int) -> ChunkBatch:
        """This process's rows of the batch of a gradient step."""
        batch = self._sampler.batch(update_step)
        if self._rows != ALL_ROWS:
            batch = batch.rows(self._rows)
        return batch.pinned() if self._pinned else batch

    @contextmanager
    def ahead(
        self, first: int, stop: int, num_workers: int, device: torch.device
    ) -> Iterator[Sampler[ChunkBatch] | Prefetcher[ChunkBatch]]:
        """Inside, the batches from `first` up to `stop` are prepared by threads, if there are any.

        For a GPU they wait in pinned memory. The threads are gone at the end of the block, however
        that is left.
        """
        if num_workers == 0:
            yield self._sampler if self._rows == ALL_ROWS else self
            return
        own = OwnRows(self._sampler, self._rows, pinned=device.type == "cuda")
        with Prefetcher(
            own, first, stop, num_workers=num_workers, depth=2 * num_workers
        ) as batches:
            yield batches


def update_seed(seed: int, stage: str, update: int, rank: int = 0) -> int:
    """Seed of an update's randomness in the process of this rank; 0 where it is alone."""
    of_rank = [rank] if rank else []
    sequence = np.random.SeedSequence([seed, zlib.crc32(stage.encode()), update, *of_rank])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
