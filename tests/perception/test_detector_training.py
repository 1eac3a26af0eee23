"""Training goes on from wherever it was killed, and refuses what is not its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softflow.cli.main import main
from softflow.errors import CheckpointError, ConfigError
from softflow.models.checkpoint import CheckpointParts, read_checkpoint, write_checkpoint
from softflow.perception.detectors.augmentation import Augmentation
from softflow.perception.detectors.checkpoints import load_detector
from softflow.perception.detectors.heatmaps import HeatmapConfig
from softflow.perception.detectors.presets import DetectorTraining, config_of, preset
from softflow.perception.detectors.training import DetectorTrainer, schedule
from softflow.perception.renders import Renders
from softflow.perception.scene.backgrounds import ProceduralBackgrounds
from softflow.utils.progress import SilentProgress

CPU = torch.device("cpu")
PLAN = DetectorTraining(
    HeatmapConfig(width=8), updates=6, batch_size=2, learning_rate=1e-3, checkpoint_every=2
)


def trainer(plan: DetectorTraining, renders: Path, run: Path) -> DetectorTrainer:
    return DetectorTrainer(plan, Renders(renders), ProceduralBackgrounds(), run, CPU)


def test_a_run_that_was_stopped_ends_with_the_same_weights(
    renders_folder: Path, tmp_path: Path
) -> None:
    # Backgrounds of a pool depend on what was drawn before: a resumed run has other ones.
    plan = replace(PLAN, augmentation=Augmentation(background=0.0))
    trainer(plan, renders_folder, tmp_path / "whole").train(SilentProgress())
    first = trainer(plan, renders_folder, tmp_path / "parts")
    first._save(0)
    for _ in range(3):
        first._update()
    first._save(0)
    second = trainer(plan, renders_folder, tmp_path / "parts")
    assert second.done == 3
    second.train(SilentProgress())
    one, two = (read_checkpoint(tmp_path / n / "checkpoints" / "last") for n in ("whole", "parts"))
    for part, tensors in one.tensors.items():
        for name, tensor in tensors.items():
            torch.testing.assert_close(tensor, two.tensors[part][name], rtol=0, atol=0)


def test_a_killed_command_goes_on(renders_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["cube-pose", "train", "small", "--renders", str(renders_folder), "--run", str(run)]
    words += ["--batch-size", "1", "--checkpoint-every", "1", "--device", "cpu", "--updates"]
    code = "import sys; from softflow.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", code, *words, "100000"])
    deadline_s = time.monotonic() + 300
    while not (run / "checkpoints" / "last").exists() and time.monotonic() < deadline_s:
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = load_detector(run, CPU).updates
    assert done >= 1
    assert main([*words, str(done + 2)]) == 0
    assert load_detector(run, CPU).updates == done + 2


def test_another_plan_or_cube_needs_another_folder(renders_folder: Path, tmp_path: Path) -> None:
    trainer(replace(PLAN, updates=2), renders_folder, tmp_path / "run").train(SilentProgress())
    for other in (replace(PLAN, learning_rate=0.5), replace(PLAN, network=HeatmapConfig(width=16))):
        with pytest.raises(CheckpointError, match=r"another (learning_rate|network)"):
            trainer(other, renders_folder, tmp_path / "run")
    assert trainer(replace(PLAN, updates=8), renders_folder, tmp_path / "run").done == 2


def test_weights_of_another_architecture_are_refused(renders_folder: Path, tmp_path: Path) -> None:
    trainer(replace(PLAN, updates=2), renders_folder, tmp_path / "run").train(SilentProgress())
    other = trainer(
        replace(PLAN, updates=1, network=HeatmapConfig(width=16)), renders_folder, tmp_path / "b"
    )
    other.train(SilentProgress())
    weights = "pretrained_model/model.safetensors"
    one, two = (tmp_path / n / "checkpoints/last" for n in ("run", "b"))
    shutil.copy(two / weights, one / weights)
    with pytest.raises(CheckpointError, match="altered"):
        load_detector(tmp_path / "run", CPU)
    with pytest.raises(CheckpointError, match="this softflow has heatmaps, mask_rcnn"):
        config_of("yolo", {}, "there")
    with pytest.raises(CheckpointError, match=r"does not hold a heatmaps.*depth"):
        config_of("heatmaps", {"depth": 3}, "there")
    from softflow.models.checkpoint import load_weights
    from softflow.perception.detectors.presets import make_network

    with pytest.raises(CheckpointError, match="other dimensions"):
        load_weights(
            make_network(PLAN.network), read_checkpoint(two).weights("pretrained_model/model"), "b"
        )


def test_a_checkpoint_of_something_else_is_no_detector(tmp_path: Path) -> None:
    policy = CheckpointParts({"pretrained_model/model": {"weight": torch.zeros(1)}}, {})
    write_checkpoint(tmp_path / "checkpoints", "0_imitation", policy)
    with pytest.raises(CheckpointError, match=r"no detector of a cube.*cube-pose train"):
        load_detector(tmp_path, CPU)


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load_detector(tmp_path, CPU)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [schedule(i, 1000) for i in range(1000)]
    assert rates[0] == pytest.approx(1 / 20)
    assert max(rates) == rates[20] == 1
    assert rates[510] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] < 1e-5


def test_bad_numbers() -> None:
    with pytest.raises(ConfigError, match="--updates is 0"):
        replace(preset("small"), updates=0)
    with pytest.raises(ConfigError, match="--learning-rate is 3"):
        replace(preset("small"), learning_rate=3.0)
