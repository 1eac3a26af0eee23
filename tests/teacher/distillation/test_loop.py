"""A student is distilled, stopped, continued; the stages of a run go on from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError
from softflow.jobs.train import train
from softflow.models.checkpoint import last_checkpoint
from softflow.presets import preset
from softflow.teacher import training as teacher_training
from softflow.teacher.acting import Teacher
from softflow.teacher.config import SMOKE
from softflow.teacher.distillation.config import SMOKE_DISTILLATION, DistillConfig
from softflow.teacher.distillation.loop import EPISODES, Distillation
from softflow.teacher.training import TeacherTraining
from softflow.training.config import TrainingConfig
from softflow.training.persistence import read_run_facts
from softflow.utils.metrics import read_metrics
from softflow.utils.progress import SilentProgress


def _student_config() -> TrainingConfig:
    small = preset("cube-small")
    return replace(small, imitation=replace(small.imitation, batch_size=16))


def _distill(run: Path, teacher: Path, iterations: int) -> None:
    config = replace(SMOKE_DISTILLATION, iterations=iterations)
    Distillation(
        run,
        Teacher.load(teacher),
        config,
        _student_config(),
        "orca-cube-twin",
        0,
        SilentProgress(),
    ).run()


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distillation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_training, "EVALUATED_S", 0.5)
        patch.setattr(teacher_training, "EVALUATED_HANDS", 4)
        config = replace(SMOKE, cube=replace(SMOKE.cube, episode_s=1.0))
        TeacherTraining(folder / "teacher", config, 0, SilentProgress(), "cpu").run()
    _distill(folder / "student", folder / "teacher", 2)
    return folder / "student"


def test_it_leaves_a_policy_episodes_and_curves(student: Path) -> None:
    checkpoint = last_checkpoint(student / "checkpoints")
    assert checkpoint is not None
    config, spec, position = read_run_facts(checkpoint)
    assert (position["stage"], position["update_step"]) == ("imitation", 4)
    assert spec.env_id == "orca-cube-twin"
    assert config.model.chunk.history_length == 4
    store = EpisodeStore.open(student / EPISODES)
    assert len(store) >= SMOKE_DISTILLATION.first_episodes
    episode = store.episode(0)
    assert episode.metadata["source"] == "distillation"
    assert episode.metadata["teacher_share"] == 1.0
    curves = {series.name: series for series in read_metrics(student)}
    assert {"student/turns", "teacher/turns", "teacher_share", "episodes"} <= set(curves)
    assert list(curves["teacher_share"].value) == pytest.approx([1.0, 0.999])


def test_it_goes_on_where_it_stopped(student: Path) -> None:
    _distill(student, student.parent / "teacher", 3)
    checkpoint = last_checkpoint(student / "checkpoints")
    assert checkpoint is not None
    assert read_run_facts(checkpoint)[2]["update_step"] == 6
    shares = next(s for s in read_metrics(student) if s.name == "teacher_share")
    assert list(shares.value) == pytest.approx([1.0, 0.999, 0.999**2])


@pytest.mark.slow
def test_the_next_stage_goes_on_from_it_unchanged(student: Path, tmp_path: Path) -> None:
    config = _student_config()
    short = replace(config.critic_warmup, num_updates=2, batch_size=8)
    train(
        student / EPISODES,
        tmp_path / "run",
        replace(config, critic_warmup=short, eval_episodes=0),
        stages=("critic_warmup",),
        start=student,
    )
    names = {series.name for series in read_metrics(tmp_path / "run")}
    assert "critic_loss" in names


def test_the_schedule_is_the_papers() -> None:
    config = DistillConfig()
    assert config.teacher_share(0) == 1.0
    assert config.teacher_share(1) == pytest.approx(0.999)
    assert config.teacher_share(200) == pytest.approx(0.8186, abs=1e-4)
    assert (config.iterations, config.steps) == (200, 128)
    with pytest.raises(ConfigError, match="decay"):
        DistillConfig(decay=0.0)
