"""Measuring from Python: the deployed rule, and what is refused before anything runs."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
from point_world import ENV_ID, LocalPool

import softflow
from softflow.cli.main import main
from softflow.errors import ConfigError
from softflow.jobs import acting_place


@pytest.mark.slow
def test_a_run_is_measured_by_its_newest_checkpoint(warmed_up: Path, tmp_path: Path) -> None:
    result = softflow.evaluate(warmed_up, episodes=2, workers=1, out=tmp_path / "out", env=ENV_ID)
    assert (result.rule, result.num_candidates, result.stage) == ("value", 3, "critic_warmup")
    assert result.policy_version == (warmed_up / "checkpoints/last").resolve().name
    assert len(result.episodes) == 2
    assert (tmp_path / "out" / f"{result.label}.json").exists()


def test_choosing_by_a_critic_that_has_learned_nothing_is_refused(
    imitated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="critic had no update yet"):
        softflow.evaluate(imitated, rule="value", out=tmp_path / "out")
    command = ["evaluate", str(imitated / "checkpoints/last"), "--out", str(tmp_path / "out")]
    assert main([*command, "--rule", "value"]) == 2
    assert "train the stage critic_warmup first" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_policy_that_was_copied_out_of_its_run_is_measured(
    warmed_up: Path, imitated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting_place, "RolloutPool", lambda workers: LocalPool())
    results = []
    for run in (warmed_up, imitated):
        alone, out = tmp_path / "alone", tmp_path / "out"
        shutil.rmtree(alone, ignore_errors=True)
        shutil.copytree(run / "checkpoints/last/pretrained_model", alone)
        with pytest.raises(ConfigError, match=r"lies in no run .* --out"):
            softflow.evaluate(alone, episodes=1, env=ENV_ID)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            results.append(softflow.evaluate(alone, episodes=1, out=out, env=ENV_ID))
        assert any("deployed with its critic" in str(w.message) for w in told) == (run == warmed_up)
        assert results[-1].rule == "likelihood"
        with pytest.raises(ConfigError, match="critic"):
            softflow.evaluate(alone, rule="value", out=out, env=ENV_ID)
    labels = {result.label for result in results}
    assert len(labels) == 2, "other weights in a folder of the same name are another policy"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"episodes": 0}, "episodes is 0; it must be >= 1"),
        ({"workers": 1000}, r"workers is 1,000; it must be >= 1 and <= 512"),
        ({"seed": -1}, "seed is -1"),
        ({"candidates": -1}, "candidates is -1"),
        ({"env": "else:where"}, "names the environment"),
        ({"networks": {"policy": "mlp_flow"}}, "the policy of .* is 'flow'"),
        ({"stop_to_think": True}, "has prefix_length 1, which it executes while it thinks"),
        ({"rule": "random"}, 'choose "auto", "value" or "likelihood"'),
    ],
)
def test_what_cannot_be_is_refused(
    imitated: Path, tmp_path: Path, option: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        softflow.evaluate(imitated, out=tmp_path / "out", **option)
    assert not (tmp_path / "out").exists()


def test_stages_of_another_name_are_refused(imitated: Path, tmp_path: Path) -> None:
    store = shutil.copytree(imitated.parent / "demonstrations", tmp_path / "data")
    for stages, message in (
        ("imitation", "stages is 'imitation'; give a list of stages"),
        (["imitate"], "stages has 'imitate'"),
        ([], "stages names no stage"),
    ):
        with pytest.raises(ConfigError, match=message):
            softflow.train(store, tmp_path / "run", "small", stages=stages)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
