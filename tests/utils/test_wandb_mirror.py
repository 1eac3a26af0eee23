"""Weights & Biases gets what metrics.csv has, once, and training does not notice."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from softflow.cli.main import main
from softflow.errors import ConfigError
from softflow.utils import wandb_mirror
from softflow.utils.metrics import MetricLogger
from softflow.utils.wandb_mirror import STATE, WandbMirror, require_wandb

is_installed = importlib.util.find_spec("wandb") is not None
needs_wandb = pytest.mark.skipif(not is_installed, reason="wandb is not installed: softflow[wandb]")


class Recorded:
    """A run at W&B that keeps what it is sent."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def log(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """What wandb would have been sent, where the package itself is not what is tested."""
    recorded = Recorded()

    def opened(mirror: WandbMirror) -> Recorded:
        mirror._id = mirror._id or "abcd1234"
        mirror._there = recorded
        return recorded

    monkeypatch.setattr(wandb_mirror, "require_wandb", lambda: None)
    monkeypatch.setattr(WandbMirror, "_opened", opened)
    return recorded


def log(run: Path, *updates: int) -> None:
    with MetricLogger(run) as logger:
        for update in updates:
            logger.log({"nll": update / 10, "norm": 1.0}, stage="imitation", update_step=update)


def test_every_row_is_sent_once_also_after_a_rewind(tmp_path: Path, there: Recorded) -> None:
    run = tmp_path / "run"
    with WandbMirror(run, 0.01):
        log(run, 0, 25)
    assert [values["imitation/nll"] for _, values in there.rows] == [0.0, 2.5]
    assert there.rows[1][1]["update_step"] == 25
    assert json.loads((run / STATE).read_text()) == {"id": "abcd1234", "rows": 4}
    with MetricLogger(run) as logger:  # a crash: update 25 is learned again
        logger.rewind(2)
    with WandbMirror(run, 0.01):
        log(run, 25, 50)
    assert [values["imitation/nll"] for _, values in there.rows] == [0.0, 2.5, 5.0]
    steps = [step for step, _ in there.rows]
    assert steps == sorted(set(steps))
    assert there.finished == 2


def test_nothing_is_asked_of_wandb_for_a_run_that_does_not_begin(
    tmp_path: Path, there: Recorded
) -> None:
    with WandbMirror(tmp_path / "run", 0.01):
        pass
    assert there.rows == []
    assert not (tmp_path / "run").exists()


def test_a_fault_of_wandb_stops_nothing(
    tmp_path: Path, there: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(Recorded, "log", refuses)
    run = tmp_path / "run"
    with pytest.warns(UserWarning, match="no network"), WandbMirror(run, 0.01):
        log(run, 0)
    assert not (run / STATE).exists(), "the next command sends it"


@pytest.mark.skipif(is_installed, reason="wandb is installed")
def test_without_the_package_it_says_so_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=r"softflow\[wandb\]"):
        require_wandb()
    words = ["train", "small", "--dataset", "x", "--run", str(tmp_path / "run")]
    assert main([*words, "--logger", "wandb"]) == 2
    assert "needs the package 'wandb'" in capsys.readouterr().err


@needs_wandb
@pytest.mark.slow
def test_offline_mode_writes_a_run_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, find_in: Callable[[Path, str], bool]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"seed": 3}))
    for update in (0, 25):
        with WandbMirror(run, 0.05):
            log(run, update)
    folders = sorted((run / "wandb").glob("offline-run-*"))
    assert len(folders) == 2, "one for each command, of one run"
    identity = json.loads((run / STATE).read_text())["id"]
    assert all(folder.name.endswith(identity) for folder in folders)
    assert find_in(folders[0], "imitation/nll")
    assert find_in(folders[1], "imitation/nll")


@pytest.fixture
def find_in() -> Callable[[Path, str], bool]:
    """Whether a text stands in one of the files that wandb wrote."""

    def find(folder: Path, text: str) -> bool:
        return any(text.encode() in file.read_bytes() for file in folder.glob("run-*.wandb"))

    return find
