"""`softflow train --from` in earnest: through cameras, by several processes, for several seeds."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from filmed_world import DRAWN, filmed_config, write_filmed
from filmed_world import ENV_ID as FILMED
from grown_runs import OUTCOMES, Trainer, grown, short_config
from point_world import ENV_ID, write_demonstrations
from runs_compared import as_overrides
from training_processes import SCRIPT, train

from softflow.errors import ConfigError
from softflow.training.config import TrainingConfig
from softflow.training.continuing.history import Origin, read_history
from softflow.training.persistence import CRITIC, POLICY, STATISTICS

SUPPORT = Path(__file__).resolve().parents[2] / "support"


def files_of(run: Path) -> dict[str, str]:
    """Digests of the files of the newest checkpoint."""
    return json.loads((run / "checkpoints/last/MANIFEST.json").read_text())["files"]


def origin_of(run: Path) -> Origin:
    origin = read_history(run).origin
    assert origin is not None
    return origin


# ---- through cameras ----------------------------------------------------------------------------


def looking(finetune: str) -> TrainingConfig:
    config = filmed_config(replace(DRAWN, finetune=finetune), eval_episodes=0)
    for stage in ("imitation", "critic_warmup", "offline_rl"):
        config = grown(config, stage, num_updates=3, learning_rate_decay=0.0)  # type: ignore[arg-type]
    return config


@pytest.mark.parametrize("finetune", ["full", "frozen"])
def test_networks_that_look_come_along_with_their_eyes(trainer: Trainer, finetune: str) -> None:
    """Same data: the bits of a run that went on by itself, BatchNorm's averages among them."""
    data = write_filmed(trainer.folder / "filmed", [True, True, False])
    config, train_on = looking(finetune), partial(trainer.run, data=data, env=FILMED)
    first = train_on("first", config, ("imitation",))
    run = train_on("rl", config, ("critic_warmup",), start=str(first))
    train_on("first", config, ("imitation", "critic_warmup"))
    for name in (f"{POLICY}.safetensors", f"{CRITIC}.safetensors", f"{STATISTICS}.json"):
        assert files_of(run)[name] == files_of(first)[name]


def test_another_eye_does_not_start_there(trainer: Trainer) -> None:
    data = write_filmed(trainer.folder / "filmed", [True, True])
    first = trainer.run("first", looking("full"), data=data, env=FILMED)
    other = trainer.folder / "other"
    write_filmed(other, [True])
    run = trainer.run("tuned", looking("full"), data=other, env=FILMED, start=str(first))
    weights = f"{POLICY}.safetensors"
    assert files_of(run)[weights] != files_of(first)[weights]
    with pytest.raises(ConfigError, match=r"model.encoder.image.finetune: there 'full'"):
        trainer.run("frozen", looking("frozen"), data=other, env=FILMED, start=str(first))
    assert not (trainer.folder / "frozen").exists()


# ---- by several processes, for several seeds -----------------------------------------------------


@pytest.fixture
def first(trainer: Trainer) -> Path:
    """A run that has imitated, on the point world."""
    return trainer.run("first")


def words(data: Path, run: Path, *more: str) -> list[str]:
    start = ["train", "small", "--dataset", str(data), "--run", str(run), "--env", ENV_ID]
    return [*start, *as_overrides(short_config()), "--stages", "imitation", *more]


@pytest.mark.slow
def test_several_processes_start_from_the_same_networks(trainer: Trainer, first: Path) -> None:
    run = trainer.folder / "tuned"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    launcher.append("--")  # it would take --run for its own
    done = subprocess.run(
        [sys.executable, *launcher, SCRIPT, *words(trainer.data, run, "--from", str(first))],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"starting from '{first}': policy of imitation, update 6") == 1
    origin = origin_of(run)
    assert (origin.checkpoint, origin.update_step) == ("0_imitation_00000006", 6)
    assert files_of(run)[f"{STATISTICS}.json"] == files_of(first)[f"{STATISTICS}.json"]
    assert files_of(run)[f"{POLICY}.safetensors"] != files_of(first)[f"{POLICY}.safetensors"]


@pytest.mark.slow
def test_seeds_start_from_the_same_networks_and_go_on_without_them(
    trainer: Trainer, first: Path, tmp_path: Path
) -> None:
    data, run = write_demonstrations(tmp_path / "new", OUTCOMES), tmp_path / "seeds"
    environment = {"PYTHONPATH": f"{SUPPORT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "softflow", *words(data, run, "--from", str(first))]
    command += ["--seeds", "2", "--jobs", "2"]
    for _ in range(2):  # the second time they are done
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        first.rename(tmp_path / "elsewhere") if first.exists() else None
    seeds = [run / "seed0", run / "seed1"]
    assert len({origin_of(seed).sha256 for seed in seeds}) == 1
    assert files_of(seeds[0]) != files_of(seeds[1])
    assert (run / "comparison.html").exists()


@pytest.mark.slow
def test_seeds_that_cannot_start_are_refused_at_once(trainer: Trainer, first: Path) -> None:
    run = trainer.folder / "seeds"
    options = ("--from", str(first), "--seeds", "2", "--model.policy.dim", "32")
    status, said = train(trainer.data, run, *options)
    assert status == 2
    assert "model.policy.dim: there 16, now 32" in said
    assert not run.exists()
