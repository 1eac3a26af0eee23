"""Tasks with several rewards an episode, and tasks that count: recorded, trained on, measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from event_worlds import (
    TAPE_ID,
    TAPE_PROFILE,
    TURNING_ID,
    TURNING_PROFILE,
    TapeWorld,
    TurningWorld,
    write_tape_demonstrations,
)
from point_world import LocalPool, point_spec, tiny_config
from report_run import Page
from torch import Tensor

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.measures import EpisodeFacts, measure_episodes
from softflow.data.task_profile import SUCCESS_PROFILE
from softflow.envs import registry
from softflow.envs.contract import RobotEnv, data_spec
from softflow.envs.registry import register_env
from softflow.errors import EnvironmentContractError
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.pages.run_report import write_report
from softflow.training.config import STAGES
from softflow.training.evaluation import EvaluationPlan, evaluate
from softflow.training.rollouts import RolloutPool, run_episode
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.metrics import read_metrics
from softflow.utils.progress import SilentProgress

RunMaker = Callable[..., Run]
ONE_STEP = ChunkSpec(chunk_length=1, execution_horizon=1)


def play(env: RobotEnv, actions: list[tuple[float, float]], seed: int = 0) -> Episode:
    """An episode with these actions, the last one repeated."""
    step = -1

    def selector(observation: dict[str, Tensor], prefix: Tensor, generator: object) -> Tensor:
        nonlocal step
        step = min(step + 1, len(actions) - 1)
        return torch.tensor(actions[step])[None, None]

    return run_episode(env, cast("ChunkSelector", selector), ONE_STEP, seed, {}).episode


def test_a_rollout_records_what_happened_and_when() -> None:
    # An eighth of a turn a step, from just above 0: every second step completes a quarter.
    episode = play(TurningWorld(), [(1.0, 0.0)] * 4 + [(0.0, 1.0)])
    turned = [[1, "turned"], [3, "turned"]]
    assert episode.metadata == {"seed": 0, "events": [*turned, [8, "dropped"]]}
    assert episode.rewards.tolist() == [0, 1, 0, 1, 0, 0, 0, 0, 0]
    assert (episode.terminated, episode.truncated, episode.success) == (True, False, False)
    still = play(TurningWorld(), [(0.0, 0.0)])
    assert still.metadata["events"] == []
    assert (still.terminated, still.truncated, still.length) == (False, True, 24)


def test_a_drop_takes_a_success_back() -> None:
    class Dropping(TapeWorld):
        def _happening(self) -> list[str]:
            return [["retrieved"], ["cut"], ["cut"], ["dropped"]][self._steps - 1]

    episode = play(Dropping(), [(0.0, 0.0)])
    assert episode.rewards.tolist() == [0.5, 1.0, 1.0, -0.25]
    assert (episode.terminated, episode.success) == (True, False)


def test_an_event_that_is_not_declared_stops_the_episode() -> None:
    class Wrong(TurningWorld):
        def step(self, action: np.ndarray) -> Any:
            *rest, info = super().step(action)
            return (*rest, info | {"events": ["turnd"]})

    with pytest.raises(
        EnvironmentContractError, match=r"control step 0 .*seed 0.*'turnd'.*did you mean 'turned'"
    ):
        play(Wrong(), [(0.0, 0.0)])


# ---- through the four stages ----------------------------------------------------------------


@pytest.fixture(scope="module")
def tape_demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    outcomes = [number % 5 != 3 for number in range(28)]
    return write_tape_demonstrations(tmp_path_factory.mktemp("tape") / "demos", outcomes)


@pytest.fixture(scope="module")
def tape_run(tape_demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all four stages, with its report."""
    config = tiny_config()
    folder = tmp_path_factory.mktemp("tape") / "run"
    # Long enough to come near the tape now and then.
    config = replace(config, imitation=replace(config.imitation, num_updates=200, dropout=0.0))
    run = Run(folder, config, tape_demonstrations, LocalPool(), SilentProgress())
    run_stages(run)
    run.close()
    write_report(folder)
    return folder


def measures(folder: Path, label: str) -> dict[str, dict[str, Any]]:
    result = json.loads((folder / "evaluations" / f"{label}.json").read_text())
    return {measure["name"]: measure for measure in result["measures"]}


def test_the_demonstrations_earn_several_rewards(tape_demonstrations: Path) -> None:
    store = EpisodeStore.open(tape_demonstrations)
    earned = [np.count_nonzero(store.episode(i).rewards > 0) for i in range(len(store))]
    assert max(earned) == 3
    assert {summary.success for summary in store.summaries()} == {True, False}


@pytest.mark.slow
def test_every_stage_is_measured_as_the_task_declares(tape_run: Path) -> None:
    names = [measure.name for measure in TAPE_PROFILE.measures]
    for label in (*STAGES, "online_rl_round_01"):
        found = measures(tape_run, label)
        assert list(found) == names
        result = json.loads((tape_run / "evaluations" / f"{label}.json").read_text())
        success = found["success_rate"]
        assert success["value"] == result["success_rate"]
        assert (success["low"], success["high"]) == (
            result["interval_low"],
            result["interval_high"],
        )


@pytest.mark.slow
def test_the_measures_follow_from_the_stored_episodes_alone(tape_run: Path) -> None:
    for label in STAGES:
        store = EpisodeStore.open(tape_run / "evaluations" / label)
        facts = [EpisodeFacts.of(summary) for summary in store.summaries()]
        again = measure_episodes(TAPE_PROFILE, facts, store.spec.control_hz)
        assert [found.to_json() for found in again] == list(measures(tape_run, label).values())
        for index, summary in enumerate(store.summaries()):
            rewards = np.zeros(summary.length, np.float32)
            for step, name in summary.metadata["events"]:
                rewards[step] += TAPE_PROFILE.reward([name])
            assert store.episode(index).rewards.tolist() == rewards.tolist()


def test_the_policy_met_several_events_in_an_episode(tape_run: Path) -> None:
    """Else the tests above would be about nothing."""
    store = EpisodeStore.open(tape_run / "evaluations" / "imitation")
    assert max(len(summary.metadata["events"]) for summary in store.summaries()) >= 2


def test_metrics_csv_holds_every_measure_with_its_interval(tape_run: Path) -> None:
    at_imitation = {s.name: s.value[-1] for s in read_metrics(tape_run) if s.stage == "imitation"}
    found = measures(tape_run, "imitation")
    assert at_imitation["success_rate"] == pytest.approx(found["success_rate"]["value"])
    cuts = found["cuts"]
    for name, end in (("", "value"), ("_low", "low"), ("_high", "high")):
        assert at_imitation[f"measures/cuts{name}"] == pytest.approx(cuts[end])


def test_the_report_shows_every_measure(tape_run: Path) -> None:
    page = Page.read(tape_run)
    found = measures(tape_run, "online_rl")
    rate = f"{100 * found['success_rate']['value']:.0f} %"
    assert f"the policy succeeds in {rate}" in page.text
    for title in ("Success", "Retrieved rate", "Cuts", "Dropped rate"):
        assert f"{title} after each stage" in page.text
        assert f"{title} against robot steps" in page.text
    assert f"{found['cuts']['value']:.3g} cuts" in page.text
    assert "cut × 2" in page.text or "retrieved, cut" in page.text
    assert "measures/" not in page.text
    assert "Not evaluated" not in page.text


# ---- a task that counts ---------------------------------------------------------------------


class Listening(SilentProgress):
    """Remembers what was said, and how a piece of work stood last."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.status = ""

    def say(self, line: str) -> None:
        self.lines.append(line)

    def advance(self, done: int, status: str = "") -> None:
        self.status = status


@pytest.fixture
def turning(demonstrations: Path, tmp_path: Path) -> tuple[dict[str, Any], Listening, Path]:
    """An untrained policy measured in the turning task: the JSON, what was said, the folder."""
    run = Run(tmp_path / "run", tiny_config(), demonstrations, None, SilentProgress())
    checkpoint, listening = run.save(), Listening()
    run.close()
    plan = EvaluationPlan(
        label="imitation",
        stage="imitation",
        checkpoint=checkpoint,
        selection=SelectionConfig(2, 1.0, "likelihood"),
        spec=replace(point_spec(), env_id=TURNING_ID),
        num_episodes=6,
        seed=0,
        update_step=0,
        online_episodes=0,
        robot_steps=0,
    )
    evaluate(LocalPool(), tmp_path, plan, listening)
    return json.loads((tmp_path / "imitation.json").read_text()), listening, tmp_path


@pytest.mark.slow
def test_a_count_is_measured_per_minute_and_before_the_drop(
    turning: tuple[dict[str, Any], Listening, Path],
) -> None:
    result, _, folder = turning
    store = EpisodeStore.open(folder / "imitation")
    turns = 0.25 * sum(s.return_ for s in store.summaries())
    minutes = sum(s.length for s in store.summaries()) / 10.0 / 60.0
    drops = sum(s.terminated for s in store.summaries())
    assert turns > 0
    assert drops > 0
    rate, before, quarters = result["measures"]
    assert rate["value"] == pytest.approx(turns / minutes)
    assert rate["low"] <= rate["value"] <= rate["high"]
    assert before["value"] == pytest.approx(turns / drops)
    assert quarters["value"] == pytest.approx(4 * turns / 6)
    assert (rate["name"], rate["unit"], rate["kind"]) == (
        "turns_per_minute",
        "turns/min",
        "per_minute",
    )
    counted = [episode["events"].get("turned", 0) for episode in result["episodes"]]
    assert counted == [episode["return"] for episode in result["episodes"]]
    assert (result["success_rate"], result["interval_low"]) == (0.0, 0.0)


@pytest.mark.slow
def test_the_console_leads_with_the_count(
    turning: tuple[dict[str, Any], Listening, Path],
) -> None:
    result, listening, _ = turning
    rate = result["measures"][0]
    assert listening.lines[0] == (
        f"imitation: turns per minute {rate['value']:.2f} turns/min "
        f"(95 % interval {rate['low']:.2f}-{rate['high']:.2f})"
    )
    assert len(listening.lines) == 3
    assert "success" not in " ".join(listening.lines)
    assert listening.status == f"turns per minute {rate['value']:.2f}"


# ---- runs and workers -----------------------------------------------------------------------


def test_a_result_of_an_earlier_version_is_reported_as_before(
    make_run: RunMaker, tape_demonstrations: Path
) -> None:
    run = make_run(tiny_config(), dataset=tape_demonstrations)
    older = {"success_rate": 0.5, "interval_low": 0.25, "interval_high": 0.75, "num_episodes": 4}
    (run.folder / "evaluations").mkdir()
    (run.folder / "evaluations" / "imitation.json").write_text(json.dumps(older))
    run.evaluate("imitation", "imitation", 4)
    found = {series.name: series.value.tolist() for series in read_metrics(run.folder)}
    assert found == {"success_rate": [0.5], "interval_low": [0.25], "interval_high": [0.75]}


@pytest.mark.slow
def test_real_workers_tell_the_profile_of_what_was_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    register_env("turning", "event_worlds:make_turning")
    with RolloutPool(1) as pool:
        assert pool.environment_profile("turning-task3", None) == TURNING_PROFILE
        assert pool.environment_profile(TAPE_ID, None) == TAPE_PROFILE
        assert pool.environment_profile("point_world:PointWorld", None) == SUCCESS_PROFILE
        assert pool.environment_spec("turning", None) == data_spec(TurningWorld(), "turning")
