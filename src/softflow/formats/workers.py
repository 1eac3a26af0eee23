"""Episodes read and sealed by several processes; one of them, the caller's, puts them in order."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.files.episode_file import write_episode_file
from softflow.data.files.frame_storage import FrameStorage
from softflow.errors import SoftflowError, StoreError
from softflow.utils.files import TEMP_SUFFIX

FEWEST_EPISODES = 8
"""With cameras: fewer are imported before other processes have begun."""
MOST_JOBS = 8
AHEAD = 2
"""Episodes that each process may have finished before its turn has come."""


class Reader(Protocol):
    """Reads episodes as they are to be stored, in another process."""

    def read(self, name: str) -> Episode:
        """One of them, with all that its metadata are to say."""
        ...

    def oddities(self) -> list[str]:
        """What was noticed meanwhile, and is no fault."""
        ...


@dataclass(frozen=True)
class Sealed:
    """What a process has made of an episode.

    Args:
        name: the episode.
        file: where it lies, sealed; None if it is unusable.
        error: why it is unusable.
        notes: what was odd.
    """

    name: str
    file: Path | None
    error: str
    notes: tuple[str, ...]


def usual_jobs(spec: DataSpec, episodes: int) -> int:
    """How many processes are worth their start: one without cameras, else the machine's cores."""
    if not spec.image_keys or episodes < FEWEST_EPISODES:
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), MOST_JOBS, episodes // 4))


def sealed_by_others(
    names: Sequence[str],
    folder: Path,
    open_reader: Callable[[], Reader],
    jobs: int,
    frames: FrameStorage,
) -> Generator[Sealed, None, None]:
    """Every episode in its order, sealed in a file of the folder for the caller to take.

    Args:
        names: the episodes.
        folder: of the store's episodes; what is left there after a crash is set aside as any other
            file that was not finished.
        open_reader: makes the reader in each process; it is pickled.
        jobs: processes.
        frames: how those of cameras are stored.

    Raises:
        StoreError: the disk refuses, or a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Sealed]] = deque()
    todo = iter(enumerate(names))
    pool = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(open_reader,))
    try:
        while True:
            for number, name in todo:
                file = folder / f".import-{os.getpid()}-{number}{TEMP_SUFFIX}"
                waiting.append(pool.submit(_seal, name, file, frames))
                if len(waiting) >= jobs * (1 + AHEAD):
                    break
            if not waiting:
                return
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise StoreError(
            "a process of the import was killed, most likely because the memory ran out; run the "
            "same command again with --jobs 1: what was imported is there"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
        for future in waiting:
            _forget(future)


def _forget(future: Future[Sealed]) -> None:
    """Remove the file of an episode that nobody will take."""
    with contextlib.suppress(Exception):
        done = future.result(timeout=0)
        if done.file is not None:
            done.file.unlink(missing_ok=True)


_reader: Reader | None = None
"""Of this process."""


def _begin(open_reader: Callable[[], Reader]) -> None:
    global _reader
    _reader = open_reader()


def _seal(name: str, file: Path, frames: FrameStorage) -> Sealed:
    """Read an episode and write its file; errors come back as text, which every process knows."""
    assert _reader is not None
    try:
        write_episode_file(file, _reader.read(name), new=True, storage=frames)
    except StoreError:
        raise
    except SoftflowError as error:
        return Sealed(name, None, str(error), tuple(_reader.oddities()))
    return Sealed(name, file, "", tuple(_reader.oddities()))
