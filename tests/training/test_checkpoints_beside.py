"""Periodic checkpoints are written while updates go on: same numbers, nothing lost or hidden."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from point_world import tiny_config
from runs_compared import differences, everything_that_lasts

from softflow.errors import NumericalError, StoreError
from softflow.models.checkpoint import last_checkpoint, read_checkpoint, write_checkpoint
from softflow.training.config import DataConfig, TrainingConfig
from softflow.training.learner import Learner
from softflow.training.run import Run
from softflow.training.stages import imitation, run_stages

RunMaker = Callable[..., Run]
NEVER_S, ALWAYS_S = 1e9, 0.0


def short(interval_s: float, held_out: float | None = 0.0) -> TrainingConfig:
    """Imitation alone, in 12 updates; by default without a best one, whose checkpoint is kept."""
    data = DataConfig(held_out=held_out)
    config = tiny_config(eval_episodes=0, checkpoint_interval_s=interval_s, data=data)
    return replace(config, imitation=replace(config.imitation, num_updates=12))


def train(run: Run) -> None:
    """The stage, without the diagnostics at its end."""
    imitation(run)
    run.save()


class SlowDisk:
    """Really writes checkpoints, but those beside training only when they are let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.begun: list[str] = []
        monkeypatch.setattr("softflow.training.run_folder.write_checkpoint", self._write)

    def _write(self, root: Path, name: str, *rest: Any) -> Path:
        self.begun.append(name)
        if threading.current_thread() is not threading.main_thread():
            assert self.open.wait(30)
        return write_checkpoint(root, name, *rest)


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk(monkeypatch)
    yield disk
    disk.open.set()


def at_update(
    number: int, action: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> list[int]:
    """Do something before the update of this number; returns the numbers of updates, growing."""
    seen: list[int] = []
    original = Learner.imitation_update

    def update(learner: Learner, *rest: Any) -> Any:
        seen.append(len(seen))
        if seen[-1] == number:
            action()
        return original(learner, *rest)

    monkeypatch.setattr(Learner, "imitation_update", update)
    return seen


def position_of(checkpoint: Path | None) -> int:
    """The update that a checkpoint is of, having read and compared all of it."""
    assert checkpoint is not None
    return read_checkpoint(checkpoint).documents["training_state/position"]["update_step"]


@pytest.mark.slow
def test_the_result_does_not_depend_on_when_checkpoints_are_written(make_run: RunMaker) -> None:
    for name, interval_s in (("never", NEVER_S), ("always", ALWAYS_S)):
        run = make_run(short(interval_s, held_out=None), name)
        train(run)
        run.close()
        parent = run.folder.parent
    never, always = (everything_that_lasts(parent / name) for name in ("never", "always"))
    assert differences(never, always) == []


def test_updates_go_on_while_one_checkpoint_is_written(
    make_run: RunMaker, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not two at once, and the next is of a later moment."""
    seen = at_update(8, slow_disk.open.set, monkeypatch)
    run = make_run(short(ALWAYS_S))
    train(run)
    assert len(seen) == 12
    assert slow_disk.begun[0] == "0_imitation_00000001"
    assert slow_disk.begun[1] > "0_imitation_00000008"
    assert position_of(last_checkpoint(run.folder / "checkpoints")) == 12


@pytest.mark.slow
def test_the_checkpoint_is_of_the_moment_when_it_was_begun(
    make_run: RunMaker, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C nine updates later; the run goes on from there to the same end."""

    def interrupt() -> None:
        threading.Timer(0.1, slow_disk.open.set).start()
        raise KeyboardInterrupt

    config = short(ALWAYS_S)
    with monkeypatch.context() as patch:
        at_update(10, interrupt, patch)
        run = make_run(config)
        with pytest.raises(KeyboardInterrupt):
            train(run)
        assert last_checkpoint(run.folder / "checkpoints") is None, "still on its way"
        run.close()
    assert position_of(last_checkpoint(run.folder / "checkpoints")) == 1, "close waits for it"
    again = make_run(config)
    assert again.position.update_step == 1
    train(again)
    again.close()
    whole = make_run(config, "whole")
    train(whole)
    whole.close()
    ours, theirs = everything_that_lasts(again.folder), everything_that_lasts(whole.folder)
    assert differences(ours, theirs) == []


def test_what_is_read_next_is_on_the_disk(make_run: RunMaker, slow_disk: SlowDisk) -> None:
    run = make_run(short(NEVER_S))
    run.save(wait=False)
    assert run.files.writing
    run.position.update_step = 7
    threading.Timer(0.1, slow_disk.open.set).start()
    assert position_of(run.save()) == 7
    assert not run.files.writing
    assert slow_disk.begun == ["0_imitation_00000000", "0_imitation_00000007"]
    assert position_of(last_checkpoint(run.folder / "checkpoints")) == 7


@contextmanager
def no_file_above(num_bytes: int) -> Iterator[None]:
    """The system refuses larger files, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_the_run_and_leaves_the_checkpoint_before(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(short(ALWAYS_S))
    run.save()
    seen = at_update(-1, lambda: None, monkeypatch)
    with no_file_above(20_000), pytest.raises(StoreError, match=r"cannot write .*ulimit"):
        train(run)
    assert len(seen) < 12, "it stopped at the next save"
    run.close()
    assert position_of(last_checkpoint(run.folder / "checkpoints")) == 0
    assert not list((run.folder / "checkpoints").glob(".tmp-*"))


def test_an_error_nobody_asked_for_is_raised_at_the_end(make_run: RunMaker) -> None:
    """After Ctrl-C, say: the run is not closed as if all were well, but it is closed."""
    run = make_run(short(NEVER_S))
    with no_file_above(20_000):
        run.save(wait=False)
        with pytest.raises(StoreError, match="ulimit"):
            run.close()
    make_run(short(NEVER_S))  # the lock is free


def test_a_nan_is_dumped_after_the_checkpoint_before_is_there(
    make_run: RunMaker, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge() -> None:
        threading.Timer(0.1, slow_disk.open.set).start()
        raise NumericalError("the policy loss is nan")

    at_update(9, diverge, monkeypatch)
    run = make_run(short(ALWAYS_S))
    with pytest.raises(NumericalError, match="update 9 of imitation"):
        run_stages(run, ["imitation"])
    assert position_of(last_checkpoint(run.folder / "checkpoints")) == 1
    assert position_of(run.folder / "nan_dump" / "imitation_00000009") == 9
