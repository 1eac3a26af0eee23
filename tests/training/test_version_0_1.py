"""What softflow 0.1 wrote opens, acts, and goes on from where it stopped."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import pytest
from runs_compared import as_overrides

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import read_checkpoint, write_checkpoint
from softflow.models.policies.flow_policy import FlowPolicy
from softflow.pages.run_report import write_report
from softflow.training.config import TrainingConfig
from softflow.training.persistence import (
    CONFIG,
    config_from_json,
    load_selector,
    read_run_facts,
)

FIXTURE = Path(__file__).parent / "fixtures" / "v0_1"
CHECKPOINT = Path("run/checkpoints/last")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what 0.1 left, and the working folder of its commands."""
    folder = tmp_path / "old"
    shutil.copytree(FIXTURE, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def config_of(folder: Path) -> TrainingConfig:
    document = json.loads((folder / CHECKPOINT / "pretrained_model/config.json").read_text())
    return config_from_json(TrainingConfig, document, "the fixture")


def test_the_store_and_the_policy_open(old: Path) -> None:
    assert len(EpisodeStore.open(old / "demonstrations")) == 22
    config, spec, position = read_run_facts(old / CHECKPOINT)
    assert (config.model.policy.kind, config.model.encoder.kind) == ("flow", "state_mlp")
    assert config.model.critic.kind == "transformer"
    assert (spec.env_id, position["stage"]) == ("point_world:PointWorld", "offline_rl")
    selector, chunk = load_selector(old / CHECKPOINT, SelectionConfig(2))
    assert isinstance(selector.policy, FlowPolicy)
    assert chunk == config.model.chunk


@pytest.mark.slow
def test_the_run_goes_on_from_where_0_1_stopped(old: Path) -> None:
    """Nothing it did is lost, and its policy plays the first episodes as 0.1's did.

    The updates that follow are those of today, and not 0.1's to the bit: the likelihood counts
    only rows with a step inside the episode, and a saturated action may come back.
    """
    words = as_overrides(config_of(old))
    stages = ("imitation", "critic_warmup", "offline_rl", "online_rl")
    command = ["train", "small", "--dataset", "demonstrations", "--run", "run", "--stages", *stages]
    before = rows(old / "run/metrics.csv")
    assert main([*command, *words]) == 0
    ours, theirs = rows(old / "run/metrics.csv"), rows(old / "finished_metrics.csv")
    assert before.items() <= ours.items()
    assert [_moment(key) for key in ours] == [_moment(key) for key in theirs]
    assert all(math.isfinite(value) for value in ours.values())
    assert _first_round(ours) == _first_round(theirs) > 0
    result = json.loads((old / "run/evaluations/online_rl.json").read_text())
    finished = json.loads((old / "finished_online_rl.json").read_text())
    for name in ("update_step", "online_episodes", "num_candidates"):
        assert result[name] == finished[name]
    page = write_report(old / "run").read_text()
    assert "Offline RL" in page


def _moment(key: tuple[str, ...]) -> tuple[str, ...]:
    stage, update_step, _, name = key
    return stage, update_step, name


def _first_round(metrics: dict[tuple[str, ...], float]) -> int:
    """Robot steps of the episodes before the first online update."""
    return next(int(steps) for stage, _, steps, _ in metrics if stage == "online_rl")


def rows(path: Path) -> dict[tuple[str, ...], float]:
    with path.open() as file:
        return {
            (row["stage"], row["update_step"], row["robot_steps"], row["name"]): float(row["value"])
            for row in csv.DictReader(file)
        }


@pytest.mark.slow
def test_its_checkpoint_is_evaluated(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--episodes", "2", "--workers", "1", "--out", "measured"]
    assert main(["evaluate", str(CHECKPOINT), *words]) == 0
    assert "success" in capsys.readouterr().out


def test_written_anew_it_is_of_todays_format(old: Path) -> None:
    parts = read_checkpoint(old / CHECKPOINT)
    names = parts.tensors["pretrained_model/model"]
    assert "encoder.observation.normalizer.mean" in names
    assert not any(name.startswith("encoder.state_mlp") for name in names)
    assert "flow" in parts.documents[CONFIG]["model"], "documents are upgraded where they are read"
    path = write_checkpoint(old / "new", "0", parts)
    assert json.loads((path / "MANIFEST.json").read_text())["format_version"] == 2
    assert load_selector(path, SelectionConfig(2))[0].policy.has_likelihood
