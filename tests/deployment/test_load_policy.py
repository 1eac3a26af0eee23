"""A policy through the door: the same actions as in rollouts, and no calm answer to nonsense."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from edited_checkpoints import copied, edit
from filmed_world import CAMERA, FilmedWorld, filmed_config, filmed_spec, write_filmed
from point_world import PointWorld

import softflow
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import compute_statistics
from softflow.deployment.deployed_policy import DeployedPolicy
from softflow.errors import CheckpointError, ConfigError, NumericalError, ObservationError
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import write_checkpoint
from softflow.models.value_distribution import ValueSupport
from softflow.training.learner import Learner
from softflow.training.persistence import learner_parts, load_selector, model_inputs
from softflow.training.rollouts import run_episode

V0_1 = Path(__file__).parents[1] / "training/fixtures/v0_1/run/checkpoints/last"


def newest(run: Path) -> Path:
    return (run / "checkpoints/last").resolve()


def rollout(checkpoint: Path, selection: SelectionConfig, env: Any, seed: int) -> np.ndarray:
    selector, chunk = load_selector(checkpoint, selection)
    return run_episode(env, selector, chunk, seed, {}).episode.actions


def through_the_door(policy: DeployedPolicy, env: Any, seed: int) -> np.ndarray:
    policy.reset(seed)
    observation, _ = env.reset(seed=seed)
    actions, over = [], False
    while not over:
        actions.append(policy.act(observation))
        observation, _, terminated, truncated, _ = env.step(actions[-1].copy())
        over = terminated or truncated
    return np.stack(actions)


def start(seed: int = 0) -> dict[str, np.ndarray]:
    return PointWorld().reset(seed=seed)[0]


# ---- the same as in rollouts --------------------------------------------------------------------


@pytest.mark.parametrize("which", ["imitated", "warmed_up"])
def test_an_episode_has_the_actions_of_a_rollout(
    which: str, request: pytest.FixtureRequest
) -> None:
    run: Path = request.getfixturevalue(which)
    policy = softflow.load_policy(run)
    expected = {
        "imitated": SelectionConfig(4, 0.7, "likelihood"),
        "warmed_up": SelectionConfig(3, 0.7, "value"),
    }[which]
    assert policy.selection == expected
    for seed in (3, 4):
        ours = through_the_door(policy, PointWorld(), seed)
        assert np.array_equal(ours, rollout(newest(run), expected, PointWorld(), seed))


@pytest.mark.parametrize("rule", ["likelihood", "value"])
def test_so_it_is_by_another_rule(warmed_up: Path, rule: Any) -> None:
    policy = softflow.load_policy(newest(warmed_up), rule=rule)
    assert policy.selection.rule == rule
    ours = through_the_door(policy, PointWorld(), 5)
    assert np.array_equal(ours, rollout(newest(warmed_up), policy.selection, PointWorld(), 5))


def test_so_it_is_through_a_camera(tmp_path: Path) -> None:
    store = write_filmed(tmp_path / "filmed", [True, False])
    config = filmed_config()
    inputs = model_inputs(config.model, filmed_spec(), compute_statistics(EpisodeStore.open(store)))
    learner = Learner(config, inputs, ValueSupport(-0.2, 1.2))
    position = {"stage": "imitation", "update_step": 0}
    path = write_checkpoint(tmp_path, "0", learner_parts(learner, filmed_spec(), position))
    policy = softflow.load_policy(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = through_the_door(policy, FilmedWorld(), 1)
    assert np.array_equal(ours, rollout(path, policy.selection, FilmedWorld(), 1))
    env = FilmedWorld()
    seen = env.reset(seed=1)[0]
    policy.reset(1)
    assert np.array_equal(policy.act({CAMERA: seen[CAMERA]}), ours[0]), "it reads no state"
    with pytest.raises(ObservationError, match="channels come first"):
        policy.act({CAMERA: np.moveaxis(seen[CAMERA], -1, 0)})
    with pytest.raises(ObservationError, match="uint8"):
        policy.act({CAMERA: seen[CAMERA] / np.float32(255)})
    with pytest.warns(UserWarning, match="black"):
        policy.act({CAMERA: (seen[CAMERA] / 255).astype(np.uint8)})


def test_a_policy_of_0_1_acts_as_in_rollouts() -> None:
    policy = softflow.load_policy(V0_1)
    assert policy.selection.rule == "value"
    ours = through_the_door(policy, PointWorld(), 2)
    assert np.array_equal(ours, rollout(V0_1, policy.selection, PointWorld(), 2))
    assert softflow.load_policy(V0_1 / "pretrained_model").selection == policy.selection


def test_the_caller_may_write_to_its_arrays(warmed_up: Path) -> None:
    policy, env = softflow.load_policy(warmed_up), PointWorld()
    expected = through_the_door(policy, env, 7)
    policy.reset(7)
    buffer = env.reset(seed=7)[0]
    for action in expected:
        given = policy.act(buffer)
        assert np.array_equal(given, action)
        buffer[STATE_KEY][:] = env.step(given.copy())[0][STATE_KEY]
        given[:] = 99


# ---- randomness, episodes -----------------------------------------------------------------------


def test_a_seed_makes_it_reproducible(imitated: Path) -> None:
    def episodes(policy: DeployedPolicy, seeds: list[int | None]) -> list[np.ndarray]:
        found = []
        for seed in seeds:
            policy.reset(seed)
            found.append(np.stack([policy.act(start()) for _ in range(6)]))
        return found

    first, second = episodes(softflow.load_policy(imitated, seed=1), [None, None])
    assert not np.array_equal(first, second), "the second goes on with the random numbers"
    again = episodes(softflow.load_policy(imitated, seed=1), [None, None])
    assert np.array_equal(again, [first, second])
    assert not np.array_equal(episodes(softflow.load_policy(imitated, seed=2), [None])[0], first)
    assert np.array_equal(episodes(softflow.load_policy(imitated, seed=2), [1])[0], first)
    with pytest.raises(ConfigError, match="seed is -1"):
        softflow.load_policy(imitated, seed=-1)


def test_reset_forgets_the_episode_before(warmed_up: Path) -> None:
    """Nothing of its observations, committed or planned actions is left."""
    policy = softflow.load_policy(warmed_up)
    expected = through_the_door(policy, PointWorld(), 3)
    policy.reset(8)
    for _ in range(5):  # in the middle of a chunk
        policy.act(start(9))
    assert np.array_equal(through_the_door(policy, PointWorld(), 3), expected)


def test_acting_without_reset_is_refused(warmed_up: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy.reset\(\) at the start of every episode"):
        softflow.load_policy(warmed_up).act(start())


def test_a_refused_observation_leaves_no_trace(warmed_up: Path) -> None:
    policy = softflow.load_policy(warmed_up)
    policy.reset(3)
    first = [policy.act(start(step)) for step in range(5)]
    policy.reset(3)
    for step, action in enumerate(first):
        with pytest.raises(ObservationError):
            policy.act({STATE_KEY: np.full(4, np.nan, np.float32)})
        assert np.array_equal(policy.act(start(step)), action)


# ---- plan and log_prob --------------------------------------------------------------------------


def test_plan_is_the_decision_that_act_executes(warmed_up: Path) -> None:
    policy = softflow.load_policy(warmed_up)
    length, prefix = policy.chunk.chunk_length, policy.chunk.prefix_length
    policy.reset(4)
    chunk = policy.plan(start())
    assert (chunk.shape, chunk.dtype) == ((length, 2), np.float32)
    acted = [policy.act(start()) for _ in range(policy.chunk.execution_horizon)]
    assert np.array_equal(acted[prefix:], chunk[: len(acted) - prefix])
    assert np.array_equal(acted[:prefix], np.zeros((prefix, 2))), "it holds still while deciding"
    policy.reset(4)
    both = {STATE_KEY: np.stack([start()[STATE_KEY]] * 2)}
    assert np.array_equal(policy.plan(both, np.zeros((1, 2))), chunk)
    assert not np.array_equal(policy.plan(start(), np.full((1, 2), 0.9)), chunk)


def test_planning_does_not_change_what_is_done(warmed_up: Path) -> None:
    policy = softflow.load_policy(warmed_up)
    expected = through_the_door(policy, PointWorld(), 3)
    policy.reset(3)
    policy.plan(start())
    observation = PointWorld().reset(seed=3)[0]
    assert np.array_equal(policy.act(observation), expected[0])


def test_log_prob_is_what_the_likeliest_is_chosen_by(imitated: Path) -> None:
    """Of 40 chunks drawn one by one, the same decision among 40 candidates takes the likeliest."""
    selection = SelectionConfig(40, 0.7, "likelihood")
    policy = softflow.load_policy(imitated)
    selector, _ = load_selector(newest(imitated), selection)
    seen = {STATE_KEY: torch.from_numpy(np.stack([start()[STATE_KEY]] * 2))[None]}
    prefix = torch.zeros(1, 1, 2)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        condition = selector.policy.condition(seen, selector.policy.normalize_actions(prefix, seen))
        candidates = selector.policy.sample(40, 0.7, condition, 1, generator)
        chunks = selector.policy.denormalize_actions(candidates[0], seen).numpy()
    chosen = selector(seen, prefix, torch.Generator().manual_seed(0))[0].numpy()
    likelihoods = [policy.log_prob(start(), chunk) for chunk in chunks]
    # What leaves the data's range is cut there, and has another likelihood.
    inside = [i for i, c in enumerate(candidates[0]) if c.abs().max() < policy_limit(selector)]
    assert len(inside) > 10
    best = max(inside, key=lambda i: likelihoods[i])
    assert policy.log_prob(start(), chosen) >= likelihoods[best] - 1e-3
    with pytest.raises(ObservationError, match=r"chunk has shape \(3, 2\); give \(4, 2\)"):
        policy.log_prob(start(), chunks[0][:3])


def policy_limit(selector: Any) -> float:
    return selector.policy.action_limit


# ---- which checkpoint ---------------------------------------------------------------------------


def test_every_way_to_name_it(warmed_up: Path, tmp_path: Path) -> None:
    ways = [warmed_up, str(warmed_up), newest(warmed_up), newest(warmed_up) / "pretrained_model"]
    chunks = []
    for way in ways:
        policy = softflow.load_policy(way)
        assert policy.path == newest(warmed_up)
        chunks.append(policy.plan(start()))
    assert all(np.array_equal(chunk, chunks[0]) for chunk in chunks)
    with pytest.raises(CheckpointError, match=r"neither a run folder .* RUN/checkpoints/last"):
        softflow.load_policy(tmp_path)
    for file in ("MANIFEST.json", "pretrained_model/config.json"):
        where = newest(warmed_up) / file
        with pytest.raises(
            CheckpointError, match=f"a file of one; give its folder, .*{where.parent.name}"
        ):
            softflow.load_policy(where)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "one").symlink_to(warmed_up)
    with pytest.raises(CheckpointError, match=r"holds runs; give one of them, such as .*one"):
        softflow.load_policy(tmp_path / "runs")


def test_the_best_by_evaluation(warmed_up: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(warmed_up, run, symlinks=True)
    for label, rate in (("imitation", 0.5), ("critic_warmup", 0.25)):
        path = run / "evaluations" / f"{label}.json"
        result = json.loads(path.read_text())
        del result["measures"]
        path.write_text(json.dumps(result | {"success_rate": rate}))
    assert "critic_warmup" in softflow.load_policy(run).path.name
    assert "imitation" in softflow.load_policy(run, which="best").path.name
    shutil.rmtree(run / "evaluations")
    with pytest.raises(ConfigError, match=r"no checkpoint of .* was evaluated"):
        softflow.load_policy(run, which="best")
    imitation = next(p.name for p in (run / "checkpoints").iterdir() if "imitation" in p.name)
    told = {"best": {"update_step": 12, "checkpoint": imitation}}
    (run / "held_out.json").write_text(json.dumps(told))
    assert softflow.load_policy(run, which="best").path.name == imitation
    with pytest.raises(ConfigError, match='choose "newest" or "best"'):
        softflow.load_policy(run, which="last")  # type: ignore[arg-type]


def test_the_pretrained_model_stands_alone(warmed_up: Path, tmp_path: Path) -> None:
    alone = tmp_path / "my_policy"
    shutil.copytree(newest(warmed_up) / "pretrained_model", alone)
    with pytest.warns(UserWarning, match="deployed with its critic"):
        policy = softflow.load_policy(alone)
    assert policy.selection == SelectionConfig(3, 0.7, "likelihood")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        softflow.load_policy(alone, rule="likelihood")
    with pytest.raises(ConfigError, match="give the whole checkpoint"):
        softflow.load_policy(alone, rule="value")
    whole = softflow.load_policy(warmed_up, rule="likelihood")
    assert np.array_equal(policy.plan(start()), whole.plan(start()))


def test_one_that_was_altered_is_refused(imitated: Path, tmp_path: Path) -> None:
    alone = tmp_path / "my_policy"
    shutil.copytree(newest(imitated) / "pretrained_model", alone)
    statistics = alone / "statistics.json"
    statistics.write_text(statistics.read_text().replace("1", "2", 1))
    with pytest.raises(CheckpointError, match=r"statistics.json is missing or altered"):
        softflow.load_policy(alone)


def test_without_a_trained_critic_value_is_refused(imitated: Path) -> None:
    with pytest.raises(ConfigError, match=r"had no update yet.*critic_warmup first"):
        softflow.load_policy(imitated, rule="value")
    with pytest.raises(ConfigError, match='choose "auto", "value" or "likelihood"'):
        softflow.load_policy(imitated, rule="best")  # type: ignore[arg-type]


def test_progress_of_another_form_is_refused(imitated: Path, tmp_path: Path) -> None:
    damaged = copied(newest(imitated), tmp_path / "damaged")
    edit(damaged, "pretrained_model/progress.json", lambda value: value | {"stage": "dreaming"})
    with pytest.raises(CheckpointError, match="dreaming"):
        softflow.load_policy(damaged)


def test_a_policy_that_is_broken_says_so(imitated: Path) -> None:
    policy = softflow.load_policy(imitated)
    with torch.no_grad():
        for parameter in policy._selector.policy.parameters():
            parameter.fill_(torch.nan)
    policy.reset()
    with pytest.raises(NumericalError, match="non-finite action at control step 0 of an episode"):
        policy.act(start())


def test_degrees_get_no_calm_answer(warmed_up: Path) -> None:
    state = start()[STATE_KEY] * 57.3
    policy = softflow.load_policy(warmed_up)
    policy.reset(0)
    with pytest.warns(
        UserWarning, match=r"observation.state\[\d\] is .*in the training data.*"
    ) as told:
        policy.act({STATE_KEY: state})
    assert told[0].filename == __file__, "where it was called, not inside of softflow"
    strict = softflow.load_policy(warmed_up, refuse_far=True)
    strict.reset(0)
    with pytest.raises(ObservationError, match="degrees"):
        strict.act({STATE_KEY: state})
    strict.act(start())


def test_a_chunk_that_is_none_is_not_the_sensor_s_fault(imitated: Path) -> None:
    policy = softflow.load_policy(imitated)
    chunk = policy.plan(start())
    with pytest.raises(ObservationError, match=r"chunk\[0, 0\] is nan; an action is a finite"):
        policy.log_prob(start(), np.full_like(chunk, np.nan))
    with pytest.warns(UserWarning, match=r"chunk\[\d\] is .*in the training data") as told:
        policy.log_prob(start(), chunk + 90)
    assert told[0].filename == __file__
