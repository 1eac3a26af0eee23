"""Checkpoints by a thread: what was there when asked for, one at a time, no error lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from softflow.errors import StoreError
from softflow.models.checkpoint import (
    CheckpointParts,
    last_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from softflow.models.checkpoint_writer import CheckpointWriter

KEY = "pretrained_model/model"


def parts(value: float, shape: tuple[int, ...] = (3, 4), **more: torch.Tensor) -> CheckpointParts:
    return CheckpointParts({KEY: {"weight": torch.full(shape, value), **more}}, {"value": value})


def value_of(folder: Path | None) -> float:
    assert folder is not None
    read = read_checkpoint(folder)
    value = read.documents["value"]
    assert (read.tensors[KEY]["weight"] == value).all()
    return value


@pytest.fixture
def writer() -> Iterator[CheckpointWriter]:
    opened = CheckpointWriter()
    yield opened
    opened.close()


class Gate:
    """Writes checkpoints, each only when it is let through."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.open = threading.Event()
        self.inside = self.most_inside = 0

    def write(self, name: str, copied: CheckpointParts) -> None:
        self.inside += 1
        self.most_inside = max(self.inside, self.most_inside)
        assert self.open.wait(20)
        write_checkpoint(self.root, name, copied)
        self.inside -= 1


def test_it_holds_what_was_there_when_it_was_asked_for(
    tmp_path: Path, writer: CheckpointWriter
) -> None:
    gate, changing = Gate(tmp_path), parts(1.0)
    writer.start(changing, partial(gate.write, "1"))
    assert writer.busy
    changing.tensors[KEY]["weight"].fill_(-5)
    changing.documents["value"] = -5
    gate.open.set()
    writer.wait()
    assert not writer.busy
    assert value_of(last_checkpoint(tmp_path)) == 1.0


def test_one_at_a_time_in_the_order_asked(tmp_path: Path, writer: CheckpointWriter) -> None:
    gate = Gate(tmp_path)
    threading.Timer(0.1, gate.open.set).start()
    for number in range(5):
        writer.start(parts(float(number)), partial(gate.write, str(number)))
        if number:
            assert value_of(tmp_path / str(number - 1)) == number - 1
    writer.wait()
    assert gate.most_inside == 1
    assert value_of(last_checkpoint(tmp_path)) == 4


def test_memory_is_used_again_only_where_it_fits(tmp_path: Path, writer: CheckpointWriter) -> None:
    """Optimisers get their moments, and a stage begins with others."""
    extra = torch.arange(6, dtype=torch.float64)
    transposed = torch.arange(6.0).view(2, 3).T
    several = [
        parts(1.0),
        parts(2.0, (5,)),
        parts(3.0, (5,), extra=extra),
        parts(4.0, (5,), extra=extra.float(), transposed=transposed),
        parts(5.0, (5,), transposed=transposed + 1),
    ]
    for number, asked in enumerate(several):
        writer.start(asked, partial(write_checkpoint, tmp_path, str(number)))
        writer.wait()
        read = read_checkpoint(tmp_path / str(number)).tensors[KEY]
        assert read.keys() == asked.tensors[KEY].keys()
        for name, tensor in asked.tensors[KEY].items():
            assert read[name].dtype == tensor.dtype
            assert torch.equal(read[name], tensor)


def test_a_copy_into_an_earlier_one_takes_no_new_memory() -> None:
    first = parts(1.0).copied()
    again = parts(2.0).copied(into=first)
    assert again.tensors[KEY]["weight"].data_ptr() == first.tensors[KEY]["weight"].data_ptr()
    assert (again.tensors[KEY]["weight"] == 2).all()


@pytest.mark.parametrize("surfaces_at", ["start", "wait", "close"])
def test_an_error_of_the_thread_surfaces_once(tmp_path: Path, surfaces_at: str) -> None:
    writer = CheckpointWriter()
    (tmp_path / "file").write_text("in the way")
    writer.start(parts(1.0), partial(write_checkpoint, tmp_path / "file" / "checkpoints", "1"))
    while writer.busy:
        time.sleep(0.001)
    second = (parts(2.0), partial(write_checkpoint, tmp_path / "second", "2"))
    with pytest.raises(StoreError, match="cannot write checkpoint"):
        getattr(writer, surfaces_at)(*(second if surfaces_at == "start" else ()))
    assert not (tmp_path / "second").exists()
    if surfaces_at != "close":
        writer.start(parts(3.0), partial(write_checkpoint, tmp_path / "good", "3"))
    writer.close()
    writer.close()
    if surfaces_at != "close":
        assert value_of(tmp_path / "good" / "3") == 3.0
