"""The user renamed the module of an environment: no store, no run and no checkpoint is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grown_runs import Trainer, grown, short_config
from other_worlds import LONGER_ID, RENAMED_ID
from point_world import ENV_ID, point_spec

import softflow
from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError

FEW: dict[str, Any] = {"episodes": 2, "workers": 1}


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    return Trainer(tmp_path, monkeypatch)  # whose patches reach `evaluate` too


def rename(store: Path, env_id: str = RENAMED_ID) -> None:
    words = ["data", "bounds", str(store), "--env-id", env_id, "--replace-env"]
    assert main(words) == 0


def test_a_run_goes_on_under_the_new_name(trainer: Trainer) -> None:
    config = short_config(eval_episodes=2, round_eval_episodes=0)
    stages = ("imitation", "critic_warmup", "online_rl")
    run = trainer.run("run", config, stages)
    with pytest.raises(ConfigError, match=r"names the environment .*--replace-env") as refused:
        trainer.run("run", config, stages, env=RENAMED_ID)
    assert f"softflow data bounds {trainer.data} --env-id {RENAMED_ID}" in str(refused.value)
    rename(trainer.data)
    config = grown(config, "online_rl", num_rounds=3)
    trainer.run("run", config, stages, env=RENAMED_ID)
    online = EpisodeStore.open(run / "online")
    assert (len(online), online.spec.env_id) == (9, RENAMED_ID)
    history = json.loads((run / "history.json").read_text())
    changes = [one["what"] for entry in history["continuations"] for one in entry["changes"]]
    assert "data_spec.env_id" in changes, "the history says so"
    result = softflow.evaluate(run, env=RENAMED_ID, **FEW)
    assert "-in-" not in result.label


def test_a_checkpoint_is_measured_under_the_new_name(trainer: Trainer) -> None:
    run = trainer.run("run")
    first = softflow.evaluate(run, env=ENV_ID, **FEW)
    with pytest.raises(ConfigError, match="add --replace-env"):
        softflow.evaluate(run, env=RENAMED_ID, **FEW)
    again = softflow.evaluate(run, env=RENAMED_ID, replace_env=True, **FEW)
    assert again.label == f"{first.label}-in-other-worlds-RenamedWorld"
    assert again.episodes == first.episodes
    with pytest.raises(DataError, match=r"\(4,\) and \(5,\)"):
        softflow.evaluate(run, env=LONGER_ID, replace_env=True, **FEW)


def test_a_checkpoint_of_data_without_an_environment_is_measured_in_one_that_fits(
    trainer: Trainer, tmp_path: Path
) -> None:
    data, known = tmp_path / "unknown", EpisodeStore.open(trainer.data)
    with EpisodeStore.create(data, replace(point_spec(), env_id="")) as store:
        for index in range(len(known)):
            store.append(known.episode(index))
    run = trainer.run("run", data=data, env="")
    with pytest.raises(ConfigError, match="names no environment"):
        softflow.evaluate(run, **FEW)
    assert len(softflow.evaluate(run, env=ENV_ID, **FEW).episodes) == 2
