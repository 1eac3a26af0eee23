"""Whatever the system refuses, no healthy episode leaves its store; later all is as before."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import Faults
from toy_episodes import EpisodeMaker

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError

ALL = [*sorted(set(errno.errorcode) - {errno.EINTR}), None]
"""Every system error that Python does not try again by itself; None stands for a lack of memory."""
USUAL = (
    errno.EIO,
    errno.ENOENT,
    errno.ENOMEM,
    errno.ETIMEDOUT,
    errno.EHOSTDOWN,
    errno.EAGAIN,
    None,
)
READING = ("open", "read", "seek", "stat", "lstat", "listdir", "flock")
WRITING = ("write", "fsync", "rename", "replace", "mkdir", "unlink")


def fault(number: int | None) -> Callable[[], BaseException]:
    if number is None:
        return MemoryError
    return lambda: OSError(number, os.strerror(number))


@pytest.fixture
def path(tmp_path: Path, spec: DataSpec, make_episode: EpisodeMaker) -> Path:
    """A store of three healthy episodes and a label."""
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        for seed in range(3):
            store.append(make_episode(spec, length=3, seed=seed))
    return tmp_path / "store"


def contents(path: Path) -> dict[str, bytes]:
    """What lies in a store, but for its lock and what a refused write could not take away."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "writer.lock" and not file.name.endswith(".tmp")
    }


def names(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "episodes").iterdir() if file.suffix != ".tmp")


def calls_of(path: Path, work: Callable[[], object]) -> dict[str, int]:
    """How often each kind of call is made."""
    with Faults(path).on() as faults:
        work()
    return dict(faults.calls)


Tries = Iterator[tuple[str, int, int | None]]


def every_error(calls: dict[str, int], kinds: tuple[str, ...]) -> Tries:
    """With every kind of call, each at another of its calls."""
    for kind, (turn, number) in itertools.product(kinds, enumerate(ALL)):
        if calls.get(kind):
            yield kind, turn % calls[kind], number


def some_errors(calls: dict[str, int], kinds: tuple[str, ...]) -> Tries:
    """A few of these."""
    yield from itertools.islice(every_error(calls, kinds), 0, None, 29)


def errors_in_turn(calls: dict[str, int], kinds: tuple[str, ...]) -> Tries:
    """Every error, but with one kind of call each."""
    present = [kind for kind in kinds if calls.get(kind)]
    for turn, number in enumerate(ALL):
        kind = present[turn % len(present)]
        yield kind, turn // len(present) % calls[kind], number


def every_call(calls: dict[str, int], kinds: tuple[str, ...]) -> Tries:
    """A disk error at every single call."""
    for kind in kinds:
        for nth in range(calls.get(kind, 0)):
            yield kind, nth, errno.EIO


def open_and_verify(path: Path) -> None:
    with EpisodeStore.open(path, writable=True) as store:
        assert store.verify() == []


def only_open(path: Path) -> None:
    EpisodeStore.open(path, writable=True).close()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize(
    ("choice", "work"),
    [
        (some_errors, only_open),
        pytest.param(every_error, only_open, marks=pytest.mark.slow),
        pytest.param(every_call, only_open, marks=pytest.mark.slow),
        pytest.param(errors_in_turn, open_and_verify, marks=pytest.mark.slow),
    ],
)
def test_no_episode_leaves_a_store_whatever_is_refused_on_opening(
    path: Path, choice: Callable[..., Tries], work: Callable[[Path], None], lasting: bool
) -> None:
    before = contents(path)
    calls = calls_of(path, lambda: work(path))
    tried = refused = 0
    for kind, nth, number in choice(calls, READING):
        with Faults(path, kind, nth, fault(number), lasting).on():
            try:
                work(path)
            except (StoreError, MemoryError) as error:
                refused += str(path) in str(error)
        tried += 1
        assert contents(path) == before, (kind, nth, number)
    assert len(EpisodeStore.open(path)) == 3
    assert tried > 20
    assert refused > tried / 4


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize(
    "choice",
    [
        some_errors,
        pytest.param(errors_in_turn, marks=pytest.mark.slow),
        pytest.param(every_call, marks=pytest.mark.slow),
    ],
)
def test_a_store_is_as_before_when_an_episode_was_refused(
    path: Path, spec: DataSpec, make_episode: EpisodeMaker, choice: Callable[..., Tries]
) -> None:
    episode = make_episode(spec, length=2, seed=9)
    with EpisodeStore.open(path, writable=True) as store:
        calls = calls_of(path, lambda: store.append(episode))
        for kind, nth, number in choice(calls, READING + WRITING):
            before, length = names(path), len(store)
            with Faults(path, kind, nth, fault(number)).on():
                try:
                    store.append(episode)
                except (StoreError, MemoryError):
                    assert (names(path), len(store)) == (before, length), (kind, nth, number)
                else:
                    assert len(store) == length + 1
        assert store.append(episode) == len(store) - 1
        for leftover in path.rglob("*.tmp"):
            leftover.unlink()
    reopened = EpisodeStore.open(path, writable=True)
    assert (len(reopened), reopened.verify()) == (len(store), [])
    reopened.close()


def test_a_new_store_never_replaces_one_that_the_system_hides(path: Path, spec: DataSpec) -> None:
    """`Path.exists` is false for a store on a server that does not answer: it was overwritten."""
    before = contents(path)
    for number in set(ALL) - {errno.ENOENT, errno.ENOTDIR}:
        with (
            Faults(path, "lstat", 0, fault(number), lasting=True).on(),
            pytest.raises((StoreError, MemoryError)),
        ):
            EpisodeStore.create(path, spec)
    assert contents(path) == before


def test_what_is_damaged_is_set_aside_although_a_fault_came_before(path: Path) -> None:
    episode = path / "episodes" / "episode_000001.zarr.zip"
    content = bytearray(episode.read_bytes())
    content[content.index(b"format_version")] ^= 1
    episode.write_bytes(content)
    with (
        Faults(path, "rename", 0, fault(errno.EIO)).on(),
        pytest.raises(StoreError, match="Input/output error"),
    ):
        EpisodeStore.open(path, writable=True)
    assert episode.exists()
    with pytest.warns(UserWarning, match="set aside"):
        store = EpisodeStore.open(path, writable=True)
    assert [summary.metadata["seed"] for summary in store.summaries()] == [0, 2]
    assert (path / "set_aside" / episode.name).read_bytes() == content
    store.close()


def test_what_was_set_aside_is_never_replaced(path: Path) -> None:
    episode = path / "episodes" / "episode_000001.zarr.zip"
    for content in (b"first", b"second", b"third"):
        episode.write_bytes(content)
        with pytest.warns(UserWarning, match="set aside"):
            EpisodeStore.open(path, writable=True).close()
    kept = [file.read_bytes() for file in sorted((path / "set_aside").iterdir())]
    assert kept == [b"first", b"second", b"third"]
