"""A teacher is trained, stopped, continued, measured; what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from softflow.cli.main import main
from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.grasp_search import find_grasps
from softflow.envs.orca_cube.grasps import DEFAULT_CACHE, read_grasps, write_grasps
from softflow.envs.orca_cube.hand_model import load_hand
from softflow.envs.orca_cube.scene import build_scene
from softflow.envs.orca_cube.settings import CubeSettings
from softflow.errors import CheckpointError, ConfigError, StoreError
from softflow.teacher import training
from softflow.teacher.acting import Teacher
from softflow.teacher.config import PRESETS, SMOKE
from softflow.teacher.hand_choice import described_hand
from softflow.teacher.hand_view import view_of
from softflow.teacher.ppo import PpoLearner
from softflow.teacher.rewards import table_iii_reward
from softflow.teacher.teacher_files import BEST, read_facts
from softflow.teacher.training import TeacherTraining, evaluation_hands, training_hands
from softflow.utils import imports
from softflow.utils.metrics import read_metrics
from softflow.utils.progress import SilentProgress


@pytest.fixture(autouse=True)
def _short_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    _shorten(monkeypatch)


def _shorten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(training, "EVALUATED_S", 0.5)
    patch.setattr(training, "EVALUATED_HANDS", 4)


def _train(run: Path, iterations: int = 2) -> None:
    config = replace(SMOKE, ppo=replace(SMOKE.ppo, iterations=iterations))
    TeacherTraining(run, config, 0, SilentProgress(), "cpu").run()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("teacher")
    with pytest.MonkeyPatch.context() as patch:
        _shorten(patch)
        _train(run)
    return run


def test_a_training_leaves_a_teacher_its_curves_and_its_scores(trained: Path) -> None:
    facts = read_facts(trained)
    assert facts.iteration == 2
    assert len(facts.gaits) == 1
    assert [int(e["iteration"]) for e in facts.evaluations] == [0, 1, 2]
    names = {series.name for series in read_metrics(trained)}
    assert {"reward", "turns_per_minute", "surrogate", "value"} <= names
    score = Teacher.load(trained).evaluate(4, 0.5, 1)
    assert score.hands == 4
    assert 0 <= score.drop_rate <= 1


def test_it_goes_on_where_it_stopped(trained: Path) -> None:
    _train(trained, iterations=3)
    facts = read_facts(trained)
    assert facts.iteration == 3
    rewards = next(s for s in read_metrics(trained) if s.name == "reward")
    assert list(rewards.update_step) == [1, 2, 3]


def test_other_numbers_do_not_go_on_in_the_same_folder(trained: Path) -> None:
    with pytest.raises(ConfigError, match="another residual"):
        TeacherTraining(trained, replace(SMOKE, residual=0.5), 0, SilentProgress(), "cpu")
    with pytest.raises(ConfigError, match="another seed"):
        TeacherTraining(trained, SMOKE, 1, SilentProgress(), "cpu")


def test_a_restored_learner_acts_and_learns_as_the_one_it_was() -> None:
    learners = [PpoLearner(training_hands(SMOKE, [], 4, 0), SMOKE.ppo) for _ in range(2)]
    learners[0].iterate()
    tensors = {name: tensor.clone() for name, tensor in learners[0].tensors().items()}
    learners[1].restore(tensors, "memory")
    again = learners[1].tensors()
    assert set(again) == set(tensors)
    assert all((again[name] == tensors[name]).all() for name in tensors)
    wider = PpoLearner(training_hands(SMOKE, [], 4, 0), replace(SMOKE.ppo, hidden=(8,)))
    with pytest.raises(CheckpointError, match="another size"):
        wider.restore(tensors, "memory")


def test_the_papers_reward_without_a_gait() -> None:
    config = replace(SMOKE, reward="table_iii", gait=None, residual=1.0)
    hands = training_hands(config, [], 4, 0)
    assert hands.num_actions == 17
    assert np.isfinite(PpoLearner(hands, config.ppo).iterate()["reward"])
    hands.reset(np.arange(4))
    before, held = view_of(hands.hand), hands.hand.to_actions(hands.hand.targets)
    step = hands.step(held)
    assert step.executed == pytest.approx(held)
    assert not step.hand.done.any()
    assert step.reward == pytest.approx(table_iii_reward(before, view_of(hands.hand)))


def test_learning_episodes_may_be_shorter_than_the_tasks() -> None:
    config = replace(SMOKE, learning_episode_s=0.2, gait=None, residual=1.0)
    hands = training_hands(config, [], 4, 0)
    held = hands.hand.to_actions(hands.hand.targets)
    ended = [hands.step(held).hand.timed_out for _ in range(4)]
    assert [bool(done.all()) for done in ended] == [False, False, False, True]
    whole = evaluation_hands(config, [], 0, 4, 30.0)
    assert whole.hand.settings.episode_s == 31.0
    for limit in (0.0, 40.0):
        with pytest.raises(ConfigError, match="learning_episode_s"):
            replace(SMOKE, learning_episode_s=limit)


def test_broken_physics_neither_pays_nor_costs() -> None:
    hands = training_hands(SMOKE, [], 4, 0)
    hands.hand.physics.joint_vel[2] = 1e8
    step = hands.step(np.zeros((4, hands.num_actions)))
    assert list(step.hand.broken) == [False, False, True, False]
    assert step.reward[2] == 0.0
    assert np.isfinite(step.observation).all()
    assert hands.hand.steps[2] == 0


def test_a_teacher_of_other_observations_or_another_hand_is_refused(trained: Path) -> None:
    teacher = Teacher.load(trained)
    with pytest.raises(ConfigError, match="observes"):
        teacher.corrections(np.zeros((2, 7), np.float32))
    other = Teacher(replace(teacher.facts, fingerprint="0123456789ab"), None)
    with pytest.raises(ConfigError, match="is of the hand 0123456789ab"):
        other.hands(BatchedHand(CubeSettings(), 1))


def test_a_hand_of_ones_own_with_its_grasps_is_trained_and_named_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another cube's home is another hand: its grasps lie in the run, its name runs code."""
    code = """from dataclasses import replace
from softflow.envs.orca_cube.hand_model import ORCA_RIGHT
LOWER = replace(ORCA_RIGHT, palm_height_m=0.34, cube_home_m=(0.05, 0.195, 0.287))
"""
    name = "low_hand_of_a_test:LOWER"
    (tmp_path / "low_hand_of_a_test.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    words = ["teacher", "train", "smoke", "--run", "low", "--hand", name]
    assert main(words) == 2
    assert "softflow teacher grasps --hand low_hand_of_a_test:LOWER" in capsys.readouterr().err
    imports.trust(name)
    scene = build_scene(load_hand(described_hand(name)), CubeSettings())
    write_grasps(Path("low.npz"), find_grasps(scene, 20, 0, batch=32))
    assert main([*words, "--grasps", "low.npz"]) == 0
    (tmp_path / "low.npz").unlink()
    facts = read_facts(Path("low"))
    assert facts.hand == name
    assert facts.fingerprint != read_grasps(DEFAULT_CACHE).fingerprint
    evaluated = ["teacher", "evaluate", "low", "--hands", "4", "--seconds", "0.5"]
    imports._trusted.discard(name)
    assert main(evaluated) == 2
    assert f"--hand {name}" in capsys.readouterr().err
    assert main([*evaluated, "--hand", name]) == 0
    with pytest.raises(ConfigError, match="another hand"):
        TeacherTraining(Path("low"), SMOKE, 0, SilentProgress(), "cpu")


def test_missing_and_damaged_teachers_are_told(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="softflow teacher train"):
        Teacher.load(tmp_path)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "teacher.json").write_bytes((trained / "teacher.json").read_bytes())
    (copy / BEST).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Teacher.load(copy)


def test_presets_are_the_papers_and_ours() -> None:
    paper, ours = PRESETS["paper"].ppo, PRESETS["two-cores"].ppo
    assert (paper.num_envs, paper.iterations, paper.hidden) == (8192, 10_000, (512, 512, 256, 128))
    assert (paper.learning_rate, paper.entropy_coef, paper.init_std) == (1e-4, 1e-4, 1.0)
    assert ours.num_envs * ours.steps_per_env * ours.iterations > 0.9e6
    assert PRESETS["paper"].gait is None


def test_the_command_evaluates_and_explains_itself(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["teacher", "evaluate", str(trained), "--hands", "2", "--seconds", "0.5"]) == 0
    assert "turns/min" in capsys.readouterr().out
    assert main(["teacher"]) == 0
    assert "grasps" in capsys.readouterr().out
    assert main(["teacher", "train", "nothing"]) == 2
    assert "choose one of paper" in capsys.readouterr().err
