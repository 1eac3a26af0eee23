"""After a mistake the same command goes on; what it will not do again, it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from point_world import (
    LocalPool,
    demonstration,
    point_spec,
    tiny_config,
    write_demonstrations,
)
from rich.console import Console
from runs_compared import as_overrides

from softflow.cli.main import main
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.training.config import TrainingConfig
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.metrics import read_metrics
from softflow.utils.progress import ConsoleProgress, SilentProgress

RunMaker = Callable[..., Run]
CAMERA = "observation.images.front"


def words(dataset: Path, run: Path) -> list[str]:
    """Train imitation without any simulator."""
    command = ["train", "small", "--dataset", str(dataset), "--run", str(run), *as_overrides()]
    return [*command, "--stages", "imitation", "--eval-episodes", "0"]


class Diary(SilentProgress):
    """Keeps what was said, and how far every piece of work came."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.work: list[tuple[str, int, int]] = []
        self.statuses: list[str] = []

    def begin(self, title: str, total: int, done: int = 0) -> None:
        self.work.append((title, total, done))

    def advance(self, done: int, status: str = "") -> None:
        self.work[-1] = (*self.work[-1][:2], done)
        self.statuses.append(status)

    def say(self, line: str) -> None:
        self.lines.append(line)


def told(tmp_path: Path, demonstrations: Path, config: TrainingConfig, *stages: Any) -> Diary:
    """What a run of these stages says."""
    diary = Diary()
    run = Run(tmp_path / "run", config, demonstrations, LocalPool(), diary)
    run_stages(run, stages)
    run.close()
    return diary


# ---- after a mistake ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("first", [(), (False, False)], ids=["empty", "no success"])
def test_the_same_command_works_once_the_data_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: tuple[bool, ...]
) -> None:
    dataset = write_demonstrations(tmp_path / "demos", first)
    assert main(words(dataset, tmp_path / "run")) == 2
    assert str(dataset) in capsys.readouterr().err
    with EpisodeStore.open_or_create(dataset, point_spec()) as store:
        for seed in range(3):
            store.append(demonstration(10 + seed, towards_goal=True))
    assert main(words(dataset, tmp_path / "run")) == 0


def test_a_demo_of_fewer_demonstrations_is_refused_before_it_collects_any(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tiny_config())
    run.save()
    (run.folder / "config.json").write_text(json.dumps({"dataset_episodes": 120}))
    assert main(["demo", "--run", str(run.folder), "--demonstrations", "100"]) == 2
    assert "--demonstrations 120" in capsys.readouterr().err
    assert not (run.folder / "demonstrations").exists()


@pytest.mark.slow
def test_other_evaluation_episodes_are_allowed_but_said(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(demonstrations, tmp_path / "run")
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--round-eval-episodes", "7"]) == 0
    assert "round_eval_episodes is now 7, before 2" in capsys.readouterr().out


@pytest.mark.slow
def test_the_versions_of_every_part_of_a_run_are_kept(demonstrations: Path, tmp_path: Path) -> None:
    path = tmp_path / "run" / "versions.json"
    assert main(words(demonstrations, tmp_path / "run")) == 0
    first = json.loads(path.read_text())
    assert "earlier" not in first
    path.write_text(json.dumps(first | {"torch": "2.11.0"}))
    for _ in range(2):
        assert main(words(demonstrations, tmp_path / "run")) == 0
    now = json.loads(path.read_text())
    assert now.pop("earlier") == [first | {"torch": "2.11.0"}]
    assert now == first


def test_a_file_where_results_should_go(
    make_run: RunMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = make_run(tiny_config()).save()
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "results"
    assert main(["evaluate", str(checkpoint), "--out", str(out)]) == 2
    assert str(out) in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_its_environment(
    make_run: RunMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For instance one from before the state was enlarged."""
    episode = demonstration(2, towards_goal=True)
    state = np.ascontiguousarray(episode.observations[STATE_KEY][:, :3])
    spec = replace(point_spec(), observation_shapes={STATE_KEY: (3,)})
    with EpisodeStore.create(tmp_path / "demos", spec) as store:
        store.append(replace(episode, observations={STATE_KEY: state}))
    checkpoint = make_run(tiny_config(), dataset=tmp_path / "demos").save()
    assert main(["evaluate", str(checkpoint), "--episodes", "1", "--workers", "1"]) == 2
    message = capsys.readouterr().err
    assert STATE_KEY in message
    assert "(3,) and (4,)" in message


# ---- what is said -------------------------------------------------------------------------------


@pytest.mark.slow
def test_stages_that_will_not_run_again_are_named(demonstrations: Path, tmp_path: Path) -> None:
    config = tiny_config(eval_episodes=0)
    first = told(tmp_path, demonstrations, config, "critic_warmup")
    assert any("critic_warmup starts without imitation" in line for line in first.lines)
    second = told(tmp_path, demonstrations, config, "imitation", "critic_warmup", "offline_rl")
    assert "behind this run, not run again: imitation" in second.lines
    assert not any("starts without" in line for line in second.lines)


@pytest.mark.slow
def test_stages_in_their_order_need_no_words(demonstrations: Path, tmp_path: Path) -> None:
    config = tiny_config(eval_episodes=0)
    for stage in ("imitation", "critic_warmup"):
        diary = told(tmp_path, demonstrations, config, stage)
        assert not any("starts without" in line or "behind" in line for line in diary.lines)


@pytest.mark.slow
def test_progress_reaches_the_end_and_shows_loss_and_success(
    demonstrations: Path, tmp_path: Path
) -> None:
    diary = told(tmp_path, demonstrations, tiny_config(), "imitation", "critic_warmup")
    assert ("imitation", 60, 60) in diary.work
    assert ("critic warmup", 30, 30) in diary.work
    assert any("critic_loss" in status and "success" in status for status in diary.statuses)


@pytest.mark.slow
def test_a_log_file_gets_the_last_line_of_every_stage(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ConsoleProgress(Console(width=20)) as progress:
        config = tiny_config(eval_episodes=0)
        run = Run(tmp_path / "run", config, demonstrations, None, progress)
        run_stages(run, ["imitation"])
        run.close()
    closing = [line for line in capsys.readouterr().out.splitlines() if "60/60  nll" in line]
    assert closing, "a line is written at the end"
    assert closing[0].startswith("imitation: ")
    assert closing[0].endswith("(0 s left)"), "in one piece"


def test_cameras_are_kept_in_the_data_but_not_read(tmp_path: Path) -> None:
    """Told to the user, and not decoded for nothing."""
    episode = demonstration(2, towards_goal=True)
    images = np.zeros((episode.length + 1, 8, 8, 3), np.uint8)
    spec = replace(point_spec(), observation_shapes={STATE_KEY: (4,), CAMERA: (8, 8, 3)})
    dataset = tmp_path / "demos"
    write_with_camera(dataset, spec, episode, images)
    diary = Diary()
    run = Run(tmp_path / "run", tiny_config(eval_episodes=0), dataset, None, diary)
    assert any(CAMERA in line for line in diary.lines)
    assert run.data.offline.gather(np.arange(3)).observation.keys() == {STATE_KEY}
    run.close()


def write_with_camera(path: Path, spec: DataSpec, episode: Episode, images: np.ndarray) -> None:
    with EpisodeStore.create(path, spec) as store:
        store.append(replace(episode, observations=episode.observations | {CAMERA: images}))


@pytest.mark.slow
def test_what_a_stage_was_measured_by_is_in_the_metrics_once(
    demonstrations: Path, tmp_path: Path
) -> None:
    """Also when the run was killed between the measurement and the next checkpoint."""
    config = tiny_config()
    run = Run(tmp_path / "run", config, demonstrations, LocalPool(), SilentProgress())
    run_stages(run, ["imitation"])
    rate = json.loads((run.folder / "evaluations/imitation.json").read_text())["success_rate"]
    run.files.logger.rewind(0)
    run.evaluate("imitation", "imitation", 3)
    run.evaluate("imitation", "imitation", 3)
    run.close()
    found = [s for s in read_metrics(run.folder) if s.name == "success_rate"]
    assert [(s.stage, s.update_step.tolist(), s.value.tolist()) for s in found] == [
        ("imitation", [60], [pytest.approx(rate)])
    ]


# ---- another machine ----------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use")
def test_a_run_on_a_gpu(demonstrations: Path, tmp_path: Path) -> None:
    config = tiny_config(device="cuda")
    told(tmp_path, demonstrations, config, "imitation", "critic_warmup", "offline_rl", "online_rl")
    assert (tmp_path / "run" / "evaluations" / "online_rl.json").exists()
