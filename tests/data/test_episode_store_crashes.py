"""What a store goes through in real life, with real processes: kill -9, two writers, full disks."""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError

CAMERA = "observation.images.front"
SPEC = DataSpec({CAMERA: (32, 32, 3)}, 2, (-1.0, -1.0), (1.0, 1.0), 20.0)


def recorded(seed: int, length: int = 12) -> Episode:
    """The episode that a writer process appends as number `seed`."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (length + 1, 32, 32, 3), dtype=np.uint8)
    actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    rewards = np.ones(length, np.float32)
    return Episode({CAMERA: frames}, actions, rewards, False, True, False, {"seed": seed})


COMMON = f"""
import os, resource, signal, sys
from pathlib import Path
import numpy as np
from softflow.data.episode import DataSpec, Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError

CAMERA = {CAMERA!r}
SPEC = DataSpec.from_json({SPEC.to_json()!r})

{inspect.getsource(recorded)}
"""

# Importing takes a second, so one process imports and then forks a writer per line it reads.
NURSERY = (
    COMMON
    + """
def say(*words):
    # One write call: lines of parent and child must not mix.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def write_forever(path):
    try:
        store = EpisodeStore.open_or_create(path, SPEC)
        say("opened")
        while True:
            say("sealed", store.append(recorded(len(store))))
    except BaseException as error:
        say("failed", repr(error))
        os._exit(1)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
say("ready")
for line in sys.stdin:
    if line == "sync\\n":
        say("sync")
        continue
    pid = os.fork()
    if pid == 0:
        write_forever(line.strip())
    say("pid", pid)
"""
)


def run_script(body: str, *arguments: str) -> str:
    script = [sys.executable, "-W", "ignore", "-c", COMMON + body, *arguments]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Nursery:
    """Starts writers by fork and counts the episodes they reported as sealed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.stdin, self.stdout = process, process.stdin, process.stdout
        assert self.stdout.readline() == "ready\n"

    def read_until(self, *words: str) -> list[str]:
        """Lines said so far, once each word started one."""
        lines: list[str] = []
        while not all(any(line.startswith(word) for line in lines) for word in words):
            lines.append(self.stdout.readline())
            assert lines[-1], "the writers' parent died"
            assert len(lines) < 10_000, lines[:5]
            assert not lines[-1].startswith("failed"), lines[-1]
        return lines

    def start(self, store: Path, until: str) -> tuple[int, list[str]]:
        """The process id of a new writer and its lines, once it said `until`."""
        print(store, file=self.stdin, flush=True)
        lines = self.read_until("pid", until)
        return int(next(line for line in lines if line.startswith("pid")).split()[1]), lines

    def kill_a_writer(self, store: Path, until: str, after_s: float) -> int:
        """The number of episodes sealed, as far as the writer came to tell."""
        pid, lines = self.start(store, until)
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                time.sleep(0.002)
        print("sync", file=self.stdin, flush=True)
        lines += self.read_until("sync")
        return max((int(x.split()[1]) + 1 for x in lines if x.startswith("sealed")), default=0)


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield Nursery(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing_sealed(tmp_path: Path, nursery: Nursery) -> None:
    path = tmp_path / "store"
    delays = random.Random(0)
    known = 0
    for kill in range(100):
        until = ("pid", "opened", "sealed")[kill % 3]
        sealed = nursery.kill_a_writer(path, until, delays.uniform(0.0, 0.1))
        if not (path / "store.json").exists():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            store = EpisodeStore.open(path, writable=kill % 2 == 0)
        assert len(store) >= max(sealed, known)
        known = len(store)
        store.close()
    store = EpisodeStore.open(path, writable=True)
    assert known >= 30
    assert store.verify() == []
    for index in range(len(store)):
        episode, original = store.episode(index), recorded(index)
        np.testing.assert_array_equal(episode.observations[CAMERA], original.observations[CAMERA])
        np.testing.assert_array_equal(episode.actions, original.actions)
    assert not list((path / "episodes").glob(".*"))
    assert list((path / "set_aside").iterdir()), "no kill hit a write: the test is too gentle"


def test_second_writer_is_told_who_the_first_is(tmp_path: Path, nursery: Nursery) -> None:
    EpisodeStore.create(tmp_path / "store", SPEC).close()
    pid, _ = nursery.start(tmp_path / "store", until="opened")
    try:
        with pytest.raises(StoreError, match="already has a writer") as caught:
            EpisodeStore.open(tmp_path / "store", writable=True)
        assert f'"pid": {pid}' in str(caught.value)
        assert os.uname().nodename in str(caught.value)
        EpisodeStore.open(tmp_path / "store").summaries()
    finally:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while True:
        try:
            EpisodeStore.open(tmp_path / "store", writable=True).close()
            break
        except StoreError:
            assert time.monotonic() < deadline, "the lock outlived its writer"
            time.sleep(0.02)


LIMITED = """
store = EpisodeStore.create(sys.argv[1], SPEC)
store.append(recorded(0))
size = store.episode_path(0).stat().st_size
for limit in np.linspace(0, size - 1, 30).astype(int).tolist():
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.append(recorded(1))
        raise SystemExit(f"limit {limit} of {size} was not noticed")
    except StoreError as error:
        assert "file-size limit" in str(error), error
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    names = sorted(os.listdir(Path(sys.argv[1]) / "episodes"))
    assert names == ["episode_000000.zarr.zip"], names
assert len(store) == 1
assert store.append(recorded(1)) == 1

"""


def test_write_refused_at_any_byte_leaves_the_store_as_before(tmp_path: Path) -> None:
    run_script(LIMITED, str(tmp_path / "store"))
    store = EpisodeStore.open(tmp_path / "store")
    assert (len(store), store.verify()) == (2, [])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 288 KiB; needs the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=288k", "softflow-test", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if done.returncode != 0:
        pytest.skip("mounting is not permitted here; the file-size limit test covers the rest")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(store: EpisodeStore) -> None:
    for seed in range(50):
        store.append(recorded(seed))


def test_full_disk_is_reported_and_survived(small_disk: Path) -> None:
    with EpisodeStore.create(small_disk / "store", SPEC) as store:
        with pytest.raises(StoreError) as caught:
            fill(store)
        sealed = len(store)
        assert sealed > 0
        for part in (f"episode_{sealed:06d}.zarr.zip", "No space left", "free some space"):
            assert part in str(caught.value)
        assert store.verify() == []
        # A shorter episode still fits: the failed write left nothing behind.
        store.append(recorded(sealed, length=1))
    reopened = EpisodeStore.open(small_disk / "store", writable=True)
    assert (len(reopened), reopened.verify()) == (sealed + 1, [])
    assert not (small_disk / "store" / "set_aside").exists()
    reopened.close()
