"""Same seed, same result: in any process, with any number of workers, killed or not."""

from __future__ import annotations

import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from point_world import LocalPool, tiny_config
from runs_compared import differences, everything_that_lasts
from training_processes import start, train
from warm_python import wait_until_gone

from softflow.training.config import DataConfig, TrainingConfig
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.progress import SilentProgress

WEIGHTS = ("--data.weights", "teleop=3", "policy=1")
KILLS = (
    # (what it is doing, call number from … to, file system change from … to, or milliseconds)
    ("imitation", "imitation_update", (3, 30), "ms"),
    ("imitation: checkpoint", "save", (1, 2), 60),
    ("imitation: evaluation", "evaluated", (1, 3), 6),
    ("imitation: diagnostics and video", "diagnose", (1, 1), 40),
    ("warm-up", "critic_update", (2, 20), "ms"),
    ("warm-up: checkpoint", "save", (1, 3), 60),
    ("offline", "actor_update", (2, 20), "ms"),
    ("offline: checkpoint", "save", (1, 3), 60),
    ("online: collection", "collected", (1, 3), 6),
    ("online: updates", "actor_update", (1, 10), "ms"),
    ("online: checkpoint", "save", (1, 3), 60),
    ("online: end", "diagnose", (1, 1), 40),
    ("report", "write_report", (1, 1), 2),
)


@pytest.fixture(scope="module")
def undisturbed(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All that lasts of a run that was never stopped, its episodes played in this process."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = tiny_config(data=DataConfig({"teleop": 3, "policy": 1}))
    run = Run(folder, config, demonstrations, LocalPool(), SilentProgress())
    run_stages(run)
    run.close()
    return everything_that_lasts(folder)


@pytest.mark.slow
def test_the_undisturbed_run_is_worth_comparing(undisturbed: dict[str, Any]) -> None:
    names = {(row[0], row[3]) for row in undisturbed["metrics"][1:]}
    assert {stage for stage, _ in names} == {
        "imitation",
        "critic_warmup",
        "offline_rl",
        "online_rl",
    }
    assert len(undisturbed["online"]) == 6
    assert undisturbed["last"] == "3_online_rl_00000030"
    outcomes = {e[4] for key, value in undisturbed.items() if "episodes" in key for e in value}
    assert outcomes == {True, False}, "both outcomes should occur"


@pytest.mark.slow
def test_workers_in_other_processes_change_nothing(
    demonstrations: Path, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    process = start(demonstrations, tmp_path / "run", *WEIGHTS, "--num-workers", "2")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    wait_until_gone(lambda running: running.session == process.pid)
    assert differences(everything_that_lasts(tmp_path / "run"), undisturbed) == []
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_killed_again_and_again_it_ends_the_same(
    demonstrations: Path, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """SIGKILL at a random moment in every stage, then the same command once more.

    Sources are weighted, and each time another number of threads prepares the batches.
    """
    draw, run = random.Random(2), tmp_path / "run"
    often = (*WEIGHTS, "--checkpoint-interval-s", "0.2", "--data.prefetch-workers")
    for number, (place, function, calls, moments) in enumerate(KILLS):
        in_time = f"{draw.uniform(0, 25):.1f}ms"
        moment = in_time if moments == "ms" else str(draw.randint(1, int(moments)))
        die_at = f"{function} {draw.randint(*calls)} {moment}"
        threads = str(number % 3)
        status, said = train(demonstrations, run, *often, threads, die_at=die_at)
        assert status == -signal.SIGKILL, f"{place} ({die_at}): status {status}\n{said}"
    status, said = train(demonstrations, run, *often, "0")
    assert status == 0, said
    assert differences(everything_that_lasts(run), undisturbed) == []


def imitated(demonstrations: Path, folder: Path, config: TrainingConfig) -> dict[str, torch.Tensor]:
    run = Run(folder, config, demonstrations, None, SilentProgress())
    run_stages(run, ["imitation", "critic_warmup", "offline_rl"])
    run.close()
    return dict(run.learner.policy.state_dict()) | dict(run.learner.critic.state_dict())


@pytest.mark.slow
def test_the_seed_decides(demonstrations: Path, tmp_path: Path) -> None:
    config = tiny_config(eval_episodes=0)
    config = replace(config, imitation=replace(config.imitation, num_updates=4))
    one, same, other = (
        imitated(demonstrations, tmp_path / str(number), replace(config, seed=seed))
        for number, seed in enumerate((3, 3, 4))
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    moved = [name for name, value in one.items() if not torch.equal(value, other[name])]
    trained = [name for name in one if name.endswith(("weight", "bias"))]
    assert set(trained) <= set(moved)
