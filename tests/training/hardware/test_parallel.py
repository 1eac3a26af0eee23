"""Two processes train one run: the result of one process, also if one of them dies midway."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from point_world import tiny_config
from runs_compared import as_overrides, metric_rows
from safetensors.torch import load_file
from torch import nn
from training_processes import SCRIPT, words_of_train

from softflow.cli.main import main
from softflow.errors import ConfigError
from softflow.training.config import TrainingConfig
from softflow.training.hardware.own_rows import OwnRows, update_seed
from softflow.training.hardware.ranks import Ranks
from softflow.training.updates.modes import running_statistics, training_mode

TOLERANCE = 1e-4
"""Of a weight after all four stages: sums of rows are rounded otherwise, AdamW divides by them."""


def nothing_random() -> TrainingConfig:
    """Each process draws for itself, so that nothing is drawn: no noise, dropout or latents."""
    config = tiny_config(noise_std=0.0, sampling_std=0.0, eval_episodes=0, round_eval_episodes=0)
    stages = ("imitation", "critic_warmup", "offline_rl", "online_rl")
    still = {name: replace(getattr(config, name), dropout=0.0, num_updates=12) for name in stages}
    model = replace(config.model, critic=replace(config.model.critic, dropout=0.0))
    return replace(config, model=model, **still)


def together(words: list[str], die_at: str = "", dying_rank: int = 1) -> list[tuple[int, str]]:
    """Both processes of a command, started by hand; status and last words of each."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    started = []
    for rank in range(2):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        end = {"DIE_AT": die_at} if die_at and rank == dying_rank else {}
        process = subprocess.Popen(
            [sys.executable, SCRIPT, *words],
            env=os.environ | place | meet | end,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
    said = [process.communicate(timeout=300) for process in started]
    return [(p.returncode, out + err) for p, (out, err) in zip(started, said, strict=True)]


def networks(run: Path) -> dict[str, torch.Tensor]:
    """All weights of the last checkpoint."""
    files = sorted((run / "checkpoints/last").rglob("*.safetensors"))
    return {f"{f.stem}.{k}": v for f in files for k, v in load_file(f).items()}


@pytest.mark.slow
def test_two_processes_learn_what_one_does(demonstrations: Path, tmp_path: Path) -> None:
    sizes = as_overrides(nothing_random())
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert main(words_of_train(demonstrations, alone, *sizes)) == 0
    words = words_of_train(demonstrations, shared, *sizes, "--checkpoint-interval-s", "0")
    (first, said), (second, _) = together(words, die_at="actor_update 7 0ms")
    assert second == -9
    assert first == 2, said
    assert "another of the 2 processes of this run has ended" in said
    [(first, said), (second, also_said)] = together(words)
    assert (first, second) == (0, 0), said + also_said
    assert "continuing from offline_rl" in said
    assert "collect" in said
    assert "collect" not in also_said, "the second process acts for itself"
    ours, theirs = networks(shared), networks(alone)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE)
    assert not all(torch.equal(ours[name], theirs[name]) for name in ours), "nothing was shared"
    columns = slice(0, 3)  # the same metrics at the same updates
    assert [row[columns] for row in metric_rows(shared)] == [
        row[columns] for row in metric_rows(alone)
    ]


class Whole:
    """A sampler whose batch is that of `make_batch`."""

    data_version = 0

    def __init__(self, whole: Any) -> None:
        self.whole = whole

    def batch(self, update_step: int) -> Any:
        return self.whole


def test_the_rows_of_all_processes_are_the_batch(make_batch: Any) -> None:
    whole = make_batch(rows=12)
    parts = [OwnRows(Whole(whole), slice(rank, None, 3)).batch(0) for rank in range(3)]
    windows = torch.stack([part.window for part in parts], dim=1).flatten()
    assert torch.equal(windows, whole.window)
    assert all(part.observation["observation.state"].shape[0] == 4 for part in parts)
    assert OwnRows(Whole(whole), Ranks().rows).batch(0) is whole


def test_each_process_has_randomness_of_its_own() -> None:
    seeds = {update_seed(0, "imitation", update, rank) for update in range(5) for rank in range(4)}
    assert len(seeds) == 20


def test_batches_that_cannot_be_shared_are_refused() -> None:
    ranks = Ranks()
    ranks.require_even({"imitation": 7})
    ranks.count = 2
    with pytest.raises(ConfigError, match=r"imitation.batch_size is 7, which 2 processes"):
        ranks.require_even({"imitation": 7})


@pytest.fixture
def two_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")


@pytest.mark.usefixtures("two_launched")
def test_one_gpu_for_all_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match=r"cuda:1 is one device for all 2 processes"),
        Ranks.joined("cuda:1"),
    ):
        pass


@pytest.mark.usefixtures("two_launched")
def test_other_commands_are_for_one_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "`softflow report` was started as 2 processes" in capsys.readouterr().err


def test_batch_norm_learns_the_mean_of_all_processes() -> None:
    """Averaged are the statistics that a forward pass has changed, and no others."""
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))
    training_mode(network, learns_statistics=True)
    assert len(running_statistics(network, learning_now=True)) == 4
    training_mode(network, learns_statistics=False)
    assert running_statistics(network, learning_now=True) == []
    assert len(running_statistics(network)) == 4
