"""What does not fit together is refused in words, before anything is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from point_world import LocalPool, demonstration, point_spec, tiny_config, write_demonstrations
from runs_compared import as_overrides
from training_processes import train

from softflow.cli.main import main
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import NumericalError, SoftflowError
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import read_checkpoint
from softflow.training.evaluation import EvaluationPlan, evaluate
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.imports import trust
from softflow.utils.progress import SilentProgress

RunMaker = Callable[..., Run]


def write_store(path: Path, spec: DataSpec, *episodes: Episode) -> Path:
    with EpisodeStore.create(path, spec) as store:
        for episode in episodes:
            store.append(episode)
    return path


def poisoned(episode: Episode, field: str, value: float) -> Episode:
    """Step 3 of the episode holds `value`."""
    if field == "observations":
        state = episode.observations[STATE_KEY].copy()
        state[3, 1] = value
        return replace(episode, observations={STATE_KEY: state})
    array = getattr(episode, field).copy()
    array[3] = value
    return replace(episode, **{field: array})


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store refuses such episodes; these were written by something else."""
    monkeypatch.setattr(Episode, "validate", lambda *_: None)


# ---- data, policy and environment ---------------------------------------------------------------


def other_state() -> tuple[DataSpec, Episode]:
    episode = demonstration(2, towards_goal=True)
    state = episode.observations[STATE_KEY][:, :3].copy()
    spec = replace(point_spec(), observation_shapes={STATE_KEY: (3,)})
    return spec, replace(episode, observations={STATE_KEY: state})


def other_bounds() -> tuple[DataSpec, Episode]:
    spec = replace(point_spec(), action_low=(-2.0,) * 2, action_high=(2.0,) * 2)
    return spec, demonstration(2, towards_goal=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "named"),
    [(other_state, STATE_KEY), (other_bounds, "action_low")],
)
def test_data_that_does_not_fit_its_environment(
    tmp_path: Path, make: Callable[[], tuple[DataSpec, Episode]], named: str
) -> None:
    """Told before the first update, not after an hour of imitation."""
    spec, episode = make()
    run = tmp_path / "run"
    dataset = write_store(tmp_path / "demos", spec, episode)
    status, said = train(dataset, run)
    assert "Traceback" not in said
    assert status == 2
    assert named in said
    metrics = run / "metrics.csv"
    assert not metrics.exists() or metrics.read_text().count("\n") <= 1


@pytest.mark.slow
def test_an_environment_nobody_knows(make_run: RunMaker, tmp_path: Path) -> None:
    trust("point_world:SquareWorld")
    spec = replace(point_spec(), env_id="point_world:SquareWorld")
    dataset = write_store(tmp_path / "demos", spec, demonstration(2, towards_goal=True))
    run = make_run(tiny_config(), dataset=dataset)
    with pytest.raises(SoftflowError, match="has no attribute 'SquareWorld'"):
        run_stages(run)


@pytest.mark.slow
@pytest.mark.parametrize("num_bins", [51, 201])
def test_another_number_of_bins(make_run: RunMaker, num_bins: int) -> None:
    config = tiny_config(eval_episodes=0)
    critic = replace(config.model.critic, num_bins=num_bins)
    run = make_run(replace(config, model=replace(config.model, critic=critic)))
    assert run.learner.critic.output.support.num_bins == num_bins
    run_stages(run, ["critic_warmup"])


# ---- numbers that are none ----------------------------------------------------------------------


@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("field", ["observations", "actions", "rewards"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_dataset_with_nan_or_infinity_says_where(
    make_run: RunMaker, tmp_path: Path, field: str, value: float
) -> None:
    good = [demonstration(seed, towards_goal=True) for seed in range(2)]
    bad = poisoned(demonstration(2, towards_goal=True), field, value)
    dataset = write_store(tmp_path / "demos", point_spec(), *good, bad)
    with pytest.raises(SoftflowError, match=r"episode 2.*step 3.*(nan|inf)"):
        make_run(tiny_config(), dataset=dataset)


def diverging(run: Run) -> None:
    """A weight becomes infinite after the third update of the warm-up."""
    original = run.learner.critic_update

    def update(*arguments: Any) -> Any:
        metrics = original(*arguments)
        if run.position.update_step == 2:
            with torch.no_grad():
                next(run.learner.critic.members.parameters()).fill_(torch.inf)
        return metrics

    run.learner.critic_update = update  # type: ignore[method-assign]


@pytest.mark.slow
def test_a_nan_stops_the_run_with_a_dump_that_can_be_replayed(make_run: RunMaker) -> None:
    run = make_run(tiny_config(eval_episodes=0))
    diverging(run)
    with pytest.raises(NumericalError, match=r"critic loss is nan.* update 3 of critic_warmup"):
        run_stages(run, ["critic_warmup"])
    run.close()
    dump = run.folder / "nan_dump" / "critic_warmup_00000003"
    parts = read_checkpoint(dump)
    weights = run.learner.critic.state_dict()
    for name, value in parts.tensors["algorithm/critic"].items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0, equal_nan=True)
    assert parts.documents["training_state/position"]["update_step"] == 3
    again = make_run(tiny_config(eval_episodes=0))
    assert again.position.update_step < 3, "it goes on from before the accident"
    diverging(again)
    with pytest.raises(NumericalError, match="update 3 of critic_warmup"):
        run_stages(again, ["critic_warmup"])


# ---- results that belong to something else ------------------------------------------------------


@pytest.mark.slow
def test_an_evaluation_is_not_answered_with_episodes_of_another_policy(
    make_run: RunMaker, tmp_path: Path
) -> None:
    """`softflow evaluate A --out results`, then B: the label is the same, the policy is not."""
    first = make_run(tiny_config(), "first").save()
    second = make_run(tiny_config(seed=5), "second").save()

    def measure(checkpoint: Path) -> Any:
        plan = EvaluationPlan(
            label="same-label",
            stage="imitation",
            checkpoint=checkpoint,
            selection=SelectionConfig(2, 0.7, "value"),
            spec=point_spec(),
            num_episodes=2,
            seed=0,
            update_step=0,
            online_episodes=0,
            robot_steps=0,
        )
        return evaluate(LocalPool(), tmp_path, plan, SilentProgress())

    measure(first)
    kept = EpisodeStore.open(tmp_path / "same-label").episode(0).actions
    try:
        measure(second)
    except SoftflowError:
        return  # refused in words: fine
    played = EpisodeStore.open(tmp_path / "same-label").episode(0).actions
    assert kept.tobytes() != played.tobytes(), "the episodes of the first policy were counted"


@pytest.mark.slow
def test_a_dataset_that_shrank_is_refused(tmp_path: Path) -> None:
    """Less than the run has learned from is another run; more of it is told (continuing/)."""
    dataset, run = write_demonstrations(tmp_path / "demos", [True] * 6), tmp_path / "run"
    words = ["train", "small", "--dataset", str(dataset), "--run", str(run), *as_overrides()]
    words += ["--stages", "imitation", "--eval-episodes", "0"]
    assert main(words) == 0
    before = json.loads((run / "checkpoints/last/MANIFEST.json").read_text())
    shutil.rmtree(dataset)
    write_demonstrations(dataset, [True] * 4)
    assert main([*words, "--stages", "imitation", "critic_warmup"]) == 2
    assert json.loads((run / "checkpoints/last/MANIFEST.json").read_text()) == before


@pytest.mark.parametrize(
    "words",
    [
        ("--episodes", "0"),
        ("--episodes", "-1"),
        ("--workers", "0"),
        ("--seed", "-1"),
    ],
)
def test_evaluate_refuses_numbers_that_make_no_sense(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    checkpoint = make_run(tiny_config()).save()
    assert main(["evaluate", str(checkpoint), *words]) == 2
    assert words[0].strip("-") in capsys.readouterr().err


def test_a_run_folder_that_is_a_file(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("something else")
    words = ["train", "small", "--dataset", str(demonstrations), "--run", str(tmp_path / "run")]
    assert main([*words, *as_overrides()]) == 2
    assert str(tmp_path / "run") in capsys.readouterr().err


@pytest.mark.slow
def test_a_device_that_is_not_there(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "small", "--dataset", str(demonstrations), "--run", str(tmp_path / "run")]
    assert main([*words, *as_overrides(), "--device", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err
