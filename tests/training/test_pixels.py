"""From pixels to decisions: what is computed once, what stands still, what a checkpoint needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filmed_world import CAMERA, DRAWN, ENV_ID, filmed_config, filmed_spec, write_filmed
from learner_updates import unchanged, weights
from point_world import LocalPool
from safetensors.torch import save_file
from torch import Tensor, nn
from training_processes import train

from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import compute_statistics
from softflow.errors import ConfigError
from softflow.models import memory
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import write_checkpoint
from softflow.models.images.backbone import ImageBackbone, ImageConfig
from softflow.models.value_distribution import ValueSupport
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.config import DataConfig
from softflow.training.learner import Learner
from softflow.training.persistence import (
    learner_parts,
    load_selector,
    model_inputs,
    read_run_facts,
    restore_learner,
)
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.training.training_data import TrainingData
from softflow.training.updates.augmentation import AugmentationConfig
from softflow.utils.metrics import read_metrics
from softflow.utils.progress import SilentProgress

FROZEN = replace(DRAWN, finetune="frozen")
CONFIG = filmed_config()
Update = Callable[[Learner, ChunkBatch], object]


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_filmed(tmp_path_factory.mktemp("data") / "filmed", [True, True, False, True])


@pytest.fixture(scope="module")
def batch(filmed: Path) -> ChunkBatch:
    dataset = ChunkDataset(EpisodeStore.open(filmed), CONFIG.model.chunk)
    rows = np.random.default_rng(0).choice(dataset.num_windows, 8, replace=False)
    return dataset.gather(rows)


def learner_of(
    filmed: Path, image: ImageConfig = DRAWN, *, fresh: bool = True, **changes: object
) -> Learner:
    config = filmed_config(image, **changes)
    statistics = compute_statistics(EpisodeStore.open(filmed))
    inputs = model_inputs(config.model, filmed_spec(), statistics)
    learner = Learner(config, inputs, ValueSupport(-0.2, 1.2), fresh=fresh)
    learner.set_up(config.offline_rl)
    return learner


def imitation(learner: Learner, batch: ChunkBatch) -> object:
    return learner.imitation_update(batch)


def warmup(learner: Learner, batch: ChunkBatch) -> object:
    return learner.critic_update(batch, CONFIG.critic_warmup)


def critic(learner: Learner, batch: ChunkBatch) -> object:
    return learner.critic_update(batch, CONFIG.offline_rl)


def actor(learner: Learner, batch: ChunkBatch) -> object:
    return learner.actor_update(batch, CONFIG.offline_rl, 0.1)


def statistics_of(network: nn.Module) -> dict[str, Tensor]:
    """BatchNorm's buffers, batches counted too."""
    return {
        name: value.clone()
        for name, value in network.state_dict().items()
        if "running_" in name or "num_batches" in name
    }


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    assert before, "there is BatchNorm"
    return any(not torch.equal(value, after[name]) for name, value in before.items())


# ---- BatchNorm ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (imitation, (True, False, False)),
        (warmup, (False, True, True)),
        (critic, (False, False, False)),
        (actor, (False, False, False)),
    ],
    ids=["imitation", "warm-up", "critic in RL", "actor in RL"],
)
def test_batch_norm_learns_in_the_first_stage_of_its_network(
    filmed: Path, batch: ChunkBatch, update: Update, expected: tuple[bool, ...]
) -> None:
    learner = learner_of(filmed)
    networks = (learner.policy, learner.critic, learner.target_critic)
    before = [statistics_of(network) for network in networks]
    update(learner, batch)
    after = [statistics_of(network) for network in networks]
    assert tuple(map(moved, before, after)) == expected


def test_the_target_follows_the_statistics_and_nothing_else_moves_them(
    filmed: Path, batch: ChunkBatch
) -> None:
    """target <- (1 - tau) target + tau critic, for running means and variances as for weights."""
    learner = learner_of(filmed)
    before = statistics_of(learner.target_critic)
    warmup(learner, batch)
    online = statistics_of(learner.critic)
    for name, value in statistics_of(learner.target_critic).items():
        expected = before[name]
        if "running_" in name:
            expected = expected.lerp(online[name], CONFIG.tau)
        torch.testing.assert_close(value, expected)


def test_rows_of_an_rl_batch_do_not_see_each_other(filmed: Path, batch: ChunkBatch) -> None:
    """In RL a row's loss is the same in any batch: no statistic is taken over it."""
    learner = learner_of(filmed, offline_rl=replace(CONFIG.offline_rl, dropout=0.0))
    actor(learner, batch)
    learner.policy.set_dropout(0.0)
    assert not any(m.training for m in learner.policy.modules() if isinstance(m, nn.BatchNorm2d))
    seen = {CAMERA: batch.observation[CAMERA]}
    tokens = learner.policy.encoder(seen, batch.prefix_actions)
    half = {CAMERA: seen[CAMERA][:3]}
    alone = learner.policy.encoder(half, batch.prefix_actions[:3])
    torch.testing.assert_close(alone, tokens[:3], rtol=1e-4, atol=1e-5)


# ---- frozen backbones --------------------------------------------------------------------------


def backbone_of(network: nn.Module) -> ImageBackbone:
    [found] = [module for module in network.modules() if isinstance(module, ImageBackbone)]
    return found


def test_a_frozen_backbone_is_one_for_all_and_no_optimiser_has_it(
    filmed: Path, batch: ChunkBatch
) -> None:
    learner = learner_of(filmed, FROZEN)
    shared = backbone_of(learner.policy)
    assert backbone_of(learner.critic) is backbone_of(learner.target_critic) is shared
    theirs = {id(p) for p in shared.parameters()}
    for optimizer in (learner.policy_optimizer, learner.critic_optimizer):
        assert not theirs & {id(p) for group in optimizer.param_groups for p in group["params"]}
    before = weights(shared)
    for update in (imitation, warmup, critic, actor):
        update(learner, learner.prepared(batch))
        assert not any(p.requires_grad for p in shared.parameters()), update.__name__
        assert not shared.training
    assert unchanged(shared, before)
    trained = dict(learner.critic.named_parameters())
    assert all(p.requires_grad for name, p in trained.items() if "backbones" not in name)


def test_features_are_computed_once_an_update(
    filmed: Path, batch: ChunkBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policy, critic and target critic read the same; critic and actor update share a batch."""
    learner = learner_of(filmed, FROZEN)
    shared, calls = backbone_of(learner.policy), []
    encode = shared.encode

    def counted(images: Tensor) -> Tensor:
        calls.append(len(images))
        return encode(images)

    monkeypatch.setattr(shared, "encode", counted)
    ready = learner.prepared(batch)
    critic(learner, ready)
    actor(learner, ready)
    assert calls == [16, 16], "2 frames a row: of the observation, and of the next"
    calls.clear()
    imitation(learner, learner.prepared(replace(batch, next_observation={})))
    assert calls == [16]


@pytest.mark.parametrize("update", [imitation, warmup, critic, actor])
def test_prepared_batches_teach_what_pixels_do(
    filmed: Path, batch: ChunkBatch, update: Update
) -> None:
    taught = []
    for prepare in (True, False):
        learner = learner_of(filmed, FROZEN)
        torch.manual_seed(0)
        update(learner, learner.prepared(batch) if prepare else batch)
        taught.append(weights(learner.policy) | weights(learner.target_critic))
    torch.testing.assert_close(taught[0], taught[1], rtol=1e-4, atol=1e-5)


# ---- augmentation ------------------------------------------------------------------------------


def test_a_batch_is_augmented_once_and_only_when_prepared(filmed: Path, batch: ChunkBatch) -> None:
    data = DataConfig(augmentation=AugmentationConfig(shift=4))
    learner = learner_of(filmed, data=data)
    torch.manual_seed(0)
    ready = learner.prepared(batch)
    now, then = ready.observation[CAMERA], ready.next_observation[CAMERA]
    assert now.dtype == torch.uint8
    assert not torch.equal(now, batch.observation[CAMERA])
    assert not torch.equal(then, batch.next_observation[CAMERA])
    same = replace(batch, next_observation=batch.observation)
    again = learner.prepared(same)
    assert not torch.equal(again.observation[CAMERA], again.next_observation[CAMERA])
    plain = learner_of(filmed).prepared(batch)
    assert torch.equal(plain.observation[CAMERA], batch.observation[CAMERA])


def test_frames_beyond_the_memory_are_told(filmed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2^16 rows of twice 2 frames of 32 x 32 pixels: 0.75 GiB."""
    imitation_stage = replace(CONFIG.imitation, batch_size=2**16)
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2**29)
    with pytest.raises(ConfigError, match=r"camera frames of a batch \(65536 rows .* 1 cameras\)"):
        TrainingData(filmed, filmed_config(imitation=imitation_stage))


# ---- checkpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize("image", [FROZEN, DRAWN])
def test_a_checkpoint_needs_no_file_of_weights(
    filmed: Path, batch: ChunkBatch, tmp_path: Path, image: ImageConfig
) -> None:
    file = tmp_path / "pretrained.safetensors"
    save_file(backbone_of(learner_of(filmed, image).policy).network.state_dict(), file)
    image = replace(image, weights=str(file))
    learner = learner_of(filmed, image)
    for update in (imitation, warmup, actor):
        update(learner, batch)
    position = {"stage": "offline_rl", "update_step": 1}
    parts = learner_parts(learner, filmed_spec(), position)
    path = write_checkpoint(tmp_path / "checkpoints", "one", parts)
    file.unlink()
    with pytest.raises(ConfigError, match="there is no file of weights"):
        learner_of(filmed, image)
    other = learner_of(filmed, image, fresh=False)
    restore_learner(other, parts, "here")
    for name in ("policy", "critic", "target_critic"):
        theirs = dict(getattr(learner, name).state_dict())
        torch.testing.assert_close(dict(getattr(other, name).state_dict()), theirs, rtol=0, atol=0)
    selector, _ = load_selector(path, SelectionConfig(4))
    assert selector.critic is not None
    same = backbone_of(selector.policy) is backbone_of(selector.critic)
    assert same == (image.finetune == "frozen")
    seen = {CAMERA: batch.observation[CAMERA], "observation.state": torch.zeros(8, 2, 4)}
    chosen = selector(seen, batch.prefix_actions, torch.Generator().manual_seed(0))
    assert chosen.shape == (8, 4, 2)
    held = [name for name in parts.tensors["algorithm/critic"] if "backbones" in name]
    assert bool(held) == (image.finetune == "full"), "frozen ones are kept once, with the policy"


# ---- a whole run -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_policy_learns_from_pixels_alone_and_acts(tmp_path: Path) -> None:
    """All stages, blind but for the camera."""
    store = write_filmed(tmp_path / "filmed", [index % 7 != 3 for index in range(26)])
    config = filmed_config(
        imitation=replace(CONFIG.imitation, num_updates=150),
        critic_warmup=replace(CONFIG.critic_warmup, num_updates=5),
        offline_rl=replace(CONFIG.offline_rl, num_updates=5),
        online_rl=replace(CONFIG.online_rl, num_updates=5, num_rounds=1),
        eval_episodes=10,
        round_eval_episodes=0,
    )
    run = Run(tmp_path / "run", config, store, LocalPool(), SilentProgress())
    run_stages(run)
    run.close()
    series = {(one.stage, one.name): one for one in read_metrics(run.folder)}
    nll = series["imitation", "nll"].value
    assert nll[-1] < nll[0] - 2
    assert series["imitation", "success_rate"].value[0] > 0
    assert ("online_rl", "q_actor") in series
    assert EpisodeStore.open(run.folder / "online").episode(0).observations[CAMERA].any()


@pytest.mark.slow
def test_the_command_names_a_backbone_and_its_workers_see(filmed: Path, tmp_path: Path) -> None:
    """--encoder and --image choose kinds, and their numbers follow."""
    words = [
        *("--env", ENV_ID, "--encoder", "mixed", "--image=timm", "--data.augmentation.shift", "1"),
        *("--model.encoder.image.name", "test_resnet", "--imitation.num-updates", "2"),
        *("--model.encoder.states", "--model.encoder.cameras", "top"),
        *("--imitation.batch-size", "8", "--eval-episodes", "2", "--stages", "imitation"),
    ]
    run = tmp_path / "run"
    status, said = train(filmed, run, *words, preset_only=True)
    assert status == 0, said
    assert "blind to observation.state" in said
    assert "careful: the image backbone timm starts from random weights" in said
    config, _, _ = read_run_facts(run / "checkpoints/last")
    assert config.model.encoder.keys_among(filmed_spec().observation_shapes) == (CAMERA,)
    assert (run / "evaluations/imitation.json").exists()
