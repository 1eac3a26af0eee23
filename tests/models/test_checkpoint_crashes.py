"""Real processes that die or run out of disk inside `write_checkpoint`."""

from __future__ import annotations

import inspect
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from softflow.models.checkpoint import (
    LAST,
    MANIFEST,
    CheckpointParts,
    last_checkpoint,
    read_checkpoint,
    write_checkpoint,
)


def numbered(index: int) -> CheckpointParts:
    """Contents of checkpoint `index`, in three files."""
    weights = {f"layer{n}": torch.full((50, 50), float(index)) for n in range(4)}
    return CheckpointParts(
        tensors={"pretrained_model/model": weights, "algorithm/critic": weights},
        documents={"training_state/position": index},
    )


def whole(folder: Path) -> int:
    """The number of a checkpoint, having read and compared all of it."""
    parts = read_checkpoint(folder)
    index = parts.documents["training_state/position"]
    expected = numbered(index)
    assert parts.documents == expected.documents
    assert parts.tensors.keys() == expected.tensors.keys()
    for key, tensors in expected.tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(parts.tensors[key][name], tensor)
    return index


def name_of(index: int) -> str:
    return f"{index:06d}"


# Importing takes seconds, so one process imports and forks a writer per line it reads.
NURSERY = f"""
import os, resource, signal, sys
from pathlib import Path
import torch
from softflow.errors import StoreError
from softflow.models.checkpoint import CheckpointParts, write_checkpoint
from softflow.models.checkpoint_writer import CheckpointWriter

{inspect.getsource(numbered)}
{inspect.getsource(name_of)}

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

def forever(root, index):
    while True:
        write_checkpoint(root, name_of(index), numbered(index))
        say("written", index)
        index += 1

def beside(root, index):
    parts, writer = numbered(index), CheckpointWriter()
    while True:
        for tensors in parts.tensors.values():
            for tensor in tensors.values():
                tensor.fill_(float(index))
        parts.documents["training_state/position"] = index
        name = name_of(index)
        writer.start(parts, lambda copied, name=name: write_checkpoint(root, name, copied))
        for tensors in parts.tensors.values():
            for tensor in tensors.values():
                tensor.fill_(-1.0)
        say("written", index - 1)
        index += 1

def die_at_change(root, index, change):
    parts, seen = numbered(index), 0
    def count(event, arguments):
        nonlocal seen
        if event in CHANGES or (event == "open" and arguments[2] & WRITING):
            seen += 1
            if seen == change:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    write_checkpoint(root, name_of(index), parts)
    say("survived")

def limited(root, index, limit):
    parts = numbered(index)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_checkpoint(root, name_of(index), parts)
        say("survived")
    except StoreError as error:
        say("refused", error)

say("ready")
for line in sys.stdin:
    mode, root, *numbers = line.split()
    pid = os.fork()
    if pid == 0:
        try:
            globals()[mode](Path(root), *map(int, numbers))
            os._exit(0)
        except BaseException as error:
            say("failed", repr(error))
            os._exit(1)
    say("pid", pid)
    os.waitpid(pid, 0)
    say("done")
"""


class Nursery:
    """Runs one writer at a time, by fork."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.stdin, self.stdout = process.stdin, process.stdout
        assert self.stdout.readline() == "ready\n"

    def run(
        self, mode: str, *arguments: object, kill: tuple[int, float] | None = None
    ) -> list[str]:
        """Everything the writer said until it ended, by itself or by kill -9.

        With kill = (n, delay_s), it dies delay_s after it has said so n times that it has written.
        """
        print(mode, *arguments, file=self.stdin, flush=True)
        lines: list[str] = []
        if kill is not None:
            self._read(lines, "pid", 1)
            self._read(lines, "written", kill[0])
            time.sleep(kill[1])
            pid = next(line for line in lines if line.startswith("pid")).split()[1]
            os.kill(int(pid), signal.SIGKILL)
        self._read(lines, "done", 1)
        return lines

    def _read(self, lines: list[str], word: str, times: int) -> None:
        """Go on reading lines until so many of them start with the word."""
        while sum(line.startswith(word) for line in lines) < times:
            lines.append(self.stdout.readline().rstrip())
            assert lines[-1], "the writers' parent died"
            assert not lines[-1].startswith("failed"), lines[-1]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    ) as process:
        try:
            yield Nursery(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["forever", "beside"])
def test_kill_9_at_random_moments(tmp_path: Path, nursery: Nursery, mode: str) -> None:
    """A run that is killed again and again: each time it finds its last checkpoint, whole.

    Also where a thread writes, from a copy, while the process changes its tensors.
    """
    delays, interrupted, index = random.Random(0), 0, 0
    for number in range(25):
        kill = (number % 3, delays.uniform(0.0, 0.03))
        lines = nursery.run(mode, tmp_path, index + 1, kill=kill)
        told = max((int(x.split()[1]) for x in lines if x.startswith("written")), default=index)
        interrupted += any(path.name.startswith(".tmp-") for path in tmp_path.iterdir())
        last = last_checkpoint(tmp_path)
        if last is None:
            assert told == 0
            continue
        found = whole(last)
        # The link follows the rename: a kill between them leaves the checkpoint before.
        assert found >= told
        assert last.name == name_of(found)
        if (tmp_path / LAST).is_symlink():
            assert whole(tmp_path / LAST) == found
        index = found
    assert index >= 8
    assert interrupted >= 1, "hardly a kill hit a write: the test is too gentle"


def deaths(nursery: Nursery, prepared: Path, work: Path, index: int) -> Iterator[Path]:
    """The folder after a death before each change on disk that one `write_checkpoint` makes."""
    change = 0
    while True:
        change += 1
        assert change < 100
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(prepared, work, symlinks=True)
        if "survived" in nursery.run("die_at_change", work, index, change):
            assert change > 15, "too few changes seen: the test is blind"
            return
        yield work


@pytest.mark.slow
@pytest.mark.parametrize("num_before", [0, 2])
def test_death_before_any_change_leaves_whole_checkpoints(
    tmp_path: Path, nursery: Nursery, num_before: int
) -> None:
    """Exhaustive: the new checkpoint or the one before, never less; and the next write works."""
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    for index in range(1, num_before + 1):
        write_checkpoint(prepared, name_of(index), numbered(index))
    results: set[int] = set()
    for root in deaths(nursery, prepared, tmp_path / "work", num_before + 1):
        last = last_checkpoint(root)
        assert (last is None) <= (num_before == 0)
        results.add(0 if last is None else whole(last))
        for folder in root.glob(f"[!.]*/{MANIFEST}"):
            whole(folder.parent)
        write_checkpoint(root, name_of(9), numbered(9))
        assert whole(root / LAST) == 9
        assert not list(root.glob(".*"))
    # Without a link yet, the renamed folder counts; with one, the link's own rename is the commit.
    assert results == ({0, 1} if num_before == 0 else {num_before})


@pytest.mark.slow
@pytest.mark.parametrize("num_before", [1, 2])
def test_death_while_saving_the_same_position_again_leaves_whole_checkpoints(
    tmp_path: Path, nursery: Nursery, num_before: int
) -> None:
    """A run saves one position several times: before an evaluation, a video, a round."""
    prepared = tmp_path / "prepared"
    for index in range(1, num_before + 1):
        write_checkpoint(prepared, name_of(index), numbered(index))
    broken: list[str] = []
    for root in deaths(nursery, prepared, tmp_path / "work", num_before):
        try:
            last = last_checkpoint(root)
            assert last is not None, "no checkpoint is left"
            assert whole(last) == num_before
        except Exception as error:
            broken.append(repr(error))
    assert broken == []


@pytest.mark.parametrize("left", [b"damaged", None])
def test_saving_the_same_again_heals_a_damaged_folder(tmp_path: Path, left: bytes | None) -> None:
    """An interrupted deletion leaves the manifest of a checkpoint that is gone."""
    folder = write_checkpoint(tmp_path, name_of(1), numbered(1))
    weights = folder / "pretrained_model/model.safetensors"
    weights.unlink()
    if left is not None:
        weights.write_bytes(left)
    assert whole(write_checkpoint(tmp_path, name_of(1), numbered(1))) == 1


def test_a_half_deleted_folder_does_not_block_its_name(tmp_path: Path) -> None:
    """What a kill inside a deletion leaves when the manifest went first."""
    folder = write_checkpoint(tmp_path, name_of(1), numbered(1))
    (folder / MANIFEST).unlink()
    assert whole(write_checkpoint(tmp_path, name_of(1), numbered(1))) == 1


@pytest.mark.parametrize("same_name", [False, True])
def test_a_full_disk_costs_nothing_that_was_saved(
    tmp_path: Path, nursery: Nursery, same_name: bool
) -> None:
    """No file may grow beyond a limit, at limits inside every file of the checkpoint."""
    write_checkpoint(tmp_path, name_of(1), numbered(1))
    sizes = [path.stat().st_size for path in (tmp_path / name_of(1)).rglob("*") if path.is_file()]
    limits = sorted({max(sizes) - 1, *(size // 2 for size in sizes), 0})
    for limit in limits:
        lines = nursery.run("limited", tmp_path, 1 if same_name else 2, limit)
        (told,) = [line for line in lines if line.startswith(("refused", "survived"))]
        assert told.startswith("refused cannot write "), told
        assert "ulimit" in told
        assert sorted(path.name for path in tmp_path.iterdir()) == [name_of(1), LAST]
        assert whole(tmp_path / LAST) == 1
    lines = nursery.run("limited", tmp_path, 2, max(sizes) + 1)
    assert "survived" in lines
    assert whole(tmp_path / LAST) == 2
