"""Batches prepared ahead of the gradient step that takes them, by threads of this process."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, TypeVar, runtime_checkable

from softflow.errors import ConfigError

Batch = TypeVar("Batch")
BatchOut = TypeVar("BatchOut", covariant=True)


@runtime_checkable
class Sampler(Protocol[BatchOut]):
    """What can be prefetched: a batch is a function of the update step and the data alone."""

    @property
    def data_version(self) -> Hashable:
        """Changes whenever the data grew."""
        ...

    def batch(self, update_step: int) -> BatchOut:
        """The batch of a gradient step."""
        ...


class Prefetcher(Generic[Batch]):
    """Gives the very batches of `sampler`, prepared up to `depth` steps ahead.

    Threads, not processes: reading, decompressing and copying go on beside Python, and nothing has
    to be handed over. They end with the process, however that ends. Use as a context manager, or
    call `close`.

    Memory: at most `depth` batches beside the one in use.

    Args:
        sampler: of the batches; usable from several threads, as all samplers here are.
        first_step: the first batch that will be asked for.
        stop_step: batches from this step on are not prepared ahead.
        num_workers: threads. One hides the time of sampling; more help where images are decoded.
        depth: batches ahead; at least num_workers to keep all busy.

    Raises:
        ConfigError: num_workers or depth is below 1.
    """

    def __init__(
        self,
        sampler: Sampler[Batch],
        first_step: int,
        stop_step: int,
        *,
        num_workers: int = 1,
        depth: int = 4,
    ) -> None:
        for name, value in (("num_workers", num_workers), ("depth", depth)):
            if value < 1:
                raise ConfigError(f"Prefetcher: {name} is {value}; it must be ≥ 1.")
        self._sampler = sampler
        self._stop_step = stop_step
        self._depth = depth
        self._threads = ThreadPoolExecutor(num_workers, "prefetch")
        self._version = sampler.data_version
        self._ahead: dict[int, Future[Batch]] = {}
        self._prepare(first_step)

    def batch(self, update_step: int) -> Batch:
        """The batch of this step, exactly as `sampler.batch` gives it now.

        What was prepared before the data grew is thrown away.

        Raises:
            Exception: whatever the sampler raises, here and not in the thread.
        """
        if self._version != self._sampler.data_version or update_step not in self._ahead:
            self._discard()
            self._prepare(update_step)
        future = self._ahead.pop(update_step, None)
        self._prepare(update_step + 1)
        return future.result() if future else self._sampler.batch(update_step)

    def _prepare(self, step: int) -> None:
        """Start the `depth` batches from `step` on."""
        for ahead in range(step, min(step + self._depth, self._stop_step)):
            if ahead not in self._ahead:
                self._ahead[ahead] = self._threads.submit(self._sampler.batch, ahead)

    def _discard(self) -> None:
        for future in self._ahead.values():
            future.cancel()
        self._ahead.clear()
        self._version = self._sampler.data_version

    def close(self) -> None:
        """Stop, at the end of the batches that are being prepared; `batch` may not be called."""
        self._discard()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Prefetcher[Batch]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
