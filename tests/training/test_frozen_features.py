"""Features of frozen backbones from files: the same decisions, kept through a whole run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from filmed_world import CAMERA, DRAWN, filmed_config, filmed_spec, write_filmed
from point_world import LocalPool
from torch import Tensor

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.data.statistics import compute_statistics
from softflow.errors import ConfigError
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import write_checkpoint
from softflow.models.images.backbone import BACKBONES, ImageBackbone, ImageConfig
from softflow.models.images.efficientnet_lite0 import EfficientNetLite0Config
from softflow.models.images.resnet18 import ResNet18Config
from softflow.models.value_distribution import ValueSupport
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training import diagnostics
from softflow.training.cameras.stage_pictures import draw_saliency
from softflow.training.collecting import CollectionOrder, SimulatedExperience
from softflow.training.config import DataConfig, StageName, TrainingConfig
from softflow.training.learner import Learner
from softflow.training.persistence import learner_parts, load_selector, model_inputs
from softflow.training.rollouts import RolloutPool
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.training.updates.augmentation import AugmentationConfig, shifted
from softflow.training.updates.frozen_features import FrozenFeatures, wanted_views
from softflow.utils.progress import ProgressReporter, SilentProgress

FROZEN = replace(DRAWN, finetune="frozen")
CONFIG = filmed_config(FROZEN)
SHIFT = AugmentationConfig(shift=3)


class Told(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    return write_filmed(tmp_path / "filmed", [True, True, False, True])


def learner_of(path: Path, config: TrainingConfig, seed: int = 0) -> Learner:
    inputs = model_inputs(config.model, filmed_spec(), compute_statistics(EpisodeStore.open(path)))
    return Learner(replace(config, seed=seed), inputs, ValueSupport(-0.2, 1.2))


def features_of(
    learner: Learner, config: TrainingConfig, told: Told | None = None
) -> FrozenFeatures:
    return FrozenFeatures(learner.policy.encoder, config, told or Told())


def dataset_of(path: Path) -> ChunkDataset:
    return ChunkDataset(EpisodeStore.open(path), CONFIG.model.chunk)


class Uncounted(SimulatedExperience):
    """What acts sees frames; those are not counted."""

    def __init__(self, pool: RolloutPool, calls: list[int]) -> None:
        super().__init__(pool)
        self.calls = calls

    def collect(self, order: CollectionOrder, progress: ProgressReporter) -> None:
        before = list(self.calls)
        super().collect(order, progress)
        self.calls[:] = before


def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames passed a backbone, call by call."""
    calls: list[int] = []
    features = ImageBackbone.features

    def counted(self: ImageBackbone, frames: Tensor) -> Tensor:
        calls.append(len(frames))
        return features(self, frames)

    monkeypatch.setattr(ImageBackbone, "features", counted)
    return calls


@pytest.mark.parametrize(
    "image", [EfficientNetLite0Config(), ResNet18Config(finetune="frozen"), FROZEN]
)
def test_a_decision_is_the_same_from_features(
    filmed: Path, tmp_path: Path, image: ImageConfig
) -> None:
    config = filmed_config(image, data=DataConfig(cached_views=1))
    learner = learner_of(filmed, config)
    dataset = dataset_of(filmed)
    rows = np.arange(dataset.num_windows)[::2]
    batch = dataset.gather(rows)
    learner.imitation_update(learner.prepared(batch))  # no longer the identity
    parts = learner_parts(learner, filmed_spec(), {"stage": "offline_rl", "update_step": 1})
    path = write_checkpoint(tmp_path / "checkpoints", "one", parts)
    features_of(learner, config).show_in(dataset)
    cached = dataset.gather(rows)
    assert cached.observation[CAMERA].is_floating_point()
    selector, _ = load_selector(path, SelectionConfig(8, rule="value"))
    chosen = [
        selector(seen.observation, seen.prefix_actions, torch.Generator().manual_seed(0))
        for seen in (batch, cached)
    ]
    torch.testing.assert_close(chosen[1], chosen[0], rtol=0, atol=1e-5)
    assert chosen[0].std(dim=0).max() > 1e-3, "what is seen matters"


def test_what_decides_features_is_in_their_name() -> None:
    def identity(image: ImageConfig) -> str:
        torch.manual_seed(0)
        return str(BACKBONES.find(image.kind)((64, 64, 3), image).identity)

    plain = EfficientNetLite0Config()
    assert identity(plain) == identity(plain) == identity(replace(plain, finetune="full"))
    names = {identity(plain), identity(replace(plain, stride=16)), identity(FROZEN)}
    names |= {identity(replace(plain, resize=(48, 48))), identity(ResNet18Config())}
    assert len(names) == 5
    backbone = BACKBONES.find("timm")((32, 32, 3), FROZEN)
    before = backbone.identity
    with torch.no_grad():
        next(iter(backbone.parameters())).view(-1)[0] += 1e-3
    assert backbone.identity != before


@pytest.mark.slow
def test_a_run_computes_each_frame_once(
    filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through all stages, for offline and online episodes, across a relabelling and a second run.

    Acting sees frames, and so do pictures of where it looks; those are not counted.
    """
    tiny = {"num_updates": 5, "batch_size": 8}
    config = replace(
        CONFIG,
        data=DataConfig(cached_views=1),
        imitation=replace(CONFIG.imitation, **tiny),
        critic_warmup=replace(CONFIG.critic_warmup, **tiny),
        offline_rl=replace(CONFIG.offline_rl, **tiny),
        online_rl=replace(CONFIG.online_rl, **tiny, episodes_per_round=2),
        eval_episodes=0,
        round_eval_episodes=0,
    )
    calls, told = encoded(monkeypatch), Told()

    def uncounted(run: Run, label: StageName) -> list[dict[str, Any]]:
        before = list(calls)
        pictures = draw_saliency(run, label)
        assert sum(calls) > sum(before), "places are hidden in frames"
        calls[:] = before
        return pictures

    monkeypatch.setattr(diagnostics, "draw_saliency", uncounted)

    def frames_of(path: Path) -> int:
        return sum(one.length + 1 for one in EpisodeStore.open(path).summaries())

    def trained(name: str) -> Run:
        calls.clear()
        run = Run(tmp_path / name, config, filmed, LocalPool(), told)
        at_first = sum(calls)
        run.source = Uncounted(run.pool, calls)
        run_stages(run)
        run.close()
        assert sum(calls) - at_first == frames_of(run.folder / "online")
        offline.append(at_first)
        return run

    offline: list[int] = []
    run = trained("run")
    calls.clear()
    without = replace(config, data=DataConfig(cached_views=0))
    Run(tmp_path / "without", without, filmed, LocalPool(), told).close()
    measured = sum(calls)  # frames of nothing, which tell shapes
    assert offline[0] == frames_of(filmed) + measured
    begun, ended = [line for line in told.lines if "features of " in line][:2]
    assert begun.startswith("computing features of up to "), "said before: it may take minutes"
    assert ended.startswith("features of ")
    assert " MB in all" in ended
    assert len(list((run.folder / "online/features").glob("*/*.npy"))) == 4
    EpisodeStore.open(filmed).label(0, Label("anna", (Event(3, "success", 1.0),)))
    trained("again")
    assert offline[1] == 1 + measured, "one frame shows that it is the same program"


def test_updates_read_what_pixels_would_have_given(filmed: Path) -> None:
    learner, dataset = learner_of(filmed, CONFIG), dataset_of(filmed)
    rows = np.arange(dataset.num_windows)
    expected = learner.prepared(dataset.gather(rows))
    features_of(learner, replace(CONFIG, data=DataConfig(cached_views=1))).show_in(dataset)
    found = learner.prepared(dataset.gather(rows))
    for name in ("observation", "next_observation"):
        ours, theirs = getattr(found, name)[CAMERA], getattr(expected, name)[CAMERA]
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_views_are_augmented_alike_for_an_episode(filmed: Path) -> None:
    """View 0 shows frames as they are; in view 1 all of an episode are moved by one shift."""
    config = replace(CONFIG, data=DataConfig(augmentation=SHIFT, cached_views=2))
    learner, dataset = learner_of(filmed, config), dataset_of(filmed)
    frames = dataset.gather(np.arange(5)).observation[CAMERA]
    features_of(learner, config).show_in(dataset)
    assert dataset.num_views == 2
    plain, moved = (
        dataset.gather(np.arange(5), views=np.full((2, 5), view)).observation[CAMERA]
        for view in (0, 1)
    )
    backbone = learner.policy.encoder.observation.frozen_cameras[CAMERA]

    def features(seen: Tensor) -> Tensor:
        return backbone.features(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])

    torch.testing.assert_close(plain, features(frames), rtol=1e-5, atol=1e-5)
    # One row of all frames: they get one shift. Which, is looked for.
    stack = frames.flatten(0, 1)[None]
    found = []
    for seed in range(400):
        torch.manual_seed(seed)
        shown = shifted(stack, 3)[0].unflatten(0, (5, 2))
        found.append(torch.allclose(moved, features(shown), rtol=1e-4, atol=1e-4))
        if found[-1]:
            break
    assert found[-1], "some shift of up to 3 pixels explains all"
    assert not torch.allclose(moved, plain)


def test_numbers_of_views(filmed: Path) -> None:
    """None: what pays. Augmentation is never silently lost."""
    dataset = dataset_of(filmed)
    assert wanted_views(CONFIG, dataset) == 1
    few = {"num_updates": 1, "batch_size": 1}
    short = replace(
        CONFIG,
        imitation=replace(CONFIG.imitation, **few),
        critic_warmup=replace(CONFIG.critic_warmup, **few),
        offline_rl=replace(CONFIG.offline_rl, **few),
        online_rl=replace(CONFIG.online_rl, **few),
    )
    assert wanted_views(short, dataset) == 0
    assert wanted_views(replace(short, data=DataConfig(cached_views=1)), dataset) == 1
    assert wanted_views(replace(CONFIG, data=DataConfig(augmentation=SHIFT)), dataset) == 0
    with pytest.raises(ConfigError, match="augmentation would never be seen"):
        DataConfig(augmentation=SHIFT, cached_views=1)
    with pytest.raises(ConfigError, match="they are all alike"):
        DataConfig(cached_views=2)
    with pytest.raises(ConfigError, match=r"cached_views is -1; it must lie in \[0, 256\]"):
        DataConfig(cached_views=-1)


def test_a_store_that_cannot_be_written(filmed: Path, tmp_path: Path) -> None:
    """Frames pass the backbone as before, and what to do is said; another folder is taken."""
    config = replace(CONFIG, data=DataConfig(cached_views=1))
    learner, dataset, told = learner_of(filmed, config), dataset_of(filmed), Told()
    (filmed / "features").write_text("a file where the folder should be")
    features_of(learner, config, told).show_in(dataset)
    assert dataset.gather(np.arange(3)).observation[CAMERA].dtype == torch.uint8
    assert "cannot write the cache" in told.lines[1]
    assert "--data.cache-folder" in told.lines[1]
    features_of(learner, config, told).show_in(dataset, str(tmp_path / "caches"))
    assert dataset.gather(np.arange(3)).observation[CAMERA].dtype == torch.float32
    assert list((tmp_path / "caches").glob("filmed-*-features/*/*.npy"))


def test_a_disk_is_not_filled_up(filmed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, data=DataConfig(cached_views=1))
    learner, dataset, told = learner_of(filmed, config), dataset_of(filmed), Told()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    features_of(learner, config, told).show_in(dataset)
    assert "GB more, and 0.0 GB are free there" in told.lines[0]
    assert not (filmed / "features").exists()
    assert dataset.gather(np.arange(3)).observation[CAMERA].dtype == torch.uint8


def test_trained_backbones_are_not_cached(filmed: Path) -> None:
    config = filmed_config(DRAWN, data=DataConfig(cached_views=1))
    dataset = dataset_of(filmed)
    features_of(learner_of(filmed, config), config).show_in(dataset)
    assert dataset.gather(np.arange(3)).observation[CAMERA].dtype == torch.uint8
    assert not (filmed / "features").exists()
