"""Which runs a command may go on with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filmed_world import DRAWN, filmed_config, write_filmed
from point_world import tiny_config, write_demonstrations
from safetensors.torch import save_file

from softflow.data.episode_store import EpisodeStore
from softflow.errors import CheckpointError, ConfigError
from softflow.training.config import TrainingConfig
from softflow.training.continuing.changes import differences, flattened
from softflow.training.continuing.history import Change
from softflow.training.provenance import (
    identity_of,
    learned_from,
    require_continues,
    write_identity,
)
from softflow.training.run import Run
from softflow.utils.files import sha256_of, write_json
from softflow.utils.progress import SilentProgress

CONFIG = tiny_config(eval_episodes=0)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    return EpisodeStore.open(write_demonstrations(tmp_path / "demos", (True, True, False)))


def begin(folder: Path, store: EpisodeStore, config: TrainingConfig = CONFIG) -> Path:
    """A run that has a checkpoint."""
    run = Run(folder, config, store.path, None, SilentProgress())
    write_identity(folder, identity_of(store.path, store, ["imitation"], config))
    run.save()
    run.close()
    return folder / "config.json"


def go_on(folder: Path, store: EpisodeStore, config: TrainingConfig = CONFIG) -> None:
    now = identity_of(store.path, store, ["imitation"], config)
    require_continues(folder, now, store)
    write_identity(folder, now)


def test_a_run_from_before_a_setting_existed_goes_on(store: EpisodeStore, tmp_path: Path) -> None:
    file = begin(tmp_path / "run", store)
    config = json.loads(file.read_text())
    del config["data"], config["dataset_successes"], config["model"]["actions"]
    write_json(file, config)
    go_on(tmp_path / "run", store)
    assert json.loads(file.read_text())["data"] == {
        "weights": {},
        "weights_field": "source",
        "prefetch_workers": 0,
        "augmentation": {"shift": 0, "colour_jitter": 0.0},
        "cached_views": None,
        "cache_folder": "",
        "held_out": None,
    }
    write_json(file, config)
    other = replace(CONFIG, discount=0.9)
    with pytest.raises(ConfigError, match=r"discount: there 0.997, now 0.9"):
        go_on(tmp_path / "run", store, other)


def test_a_setting_that_is_gone_is_named(store: EpisodeStore, tmp_path: Path) -> None:
    file = begin(tmp_path / "run", store)
    config = json.loads(file.read_text())
    config["model"]["wheels"] = 4
    write_json(file, config)
    with pytest.raises(CheckpointError, match="wheels"):
        go_on(tmp_path / "run", store)


def test_the_number_of_threads_is_free(store: EpisodeStore, tmp_path: Path) -> None:
    begin(tmp_path / "run", store)
    free = replace(CONFIG, data=replace(CONFIG.data, prefetch_workers=3), num_workers=2)
    go_on(tmp_path / "run", store, free)
    now = identity_of(store.path, store, ["imitation"], free)
    there = learned_from(tmp_path / "run")
    assert differences(flattened(there), flattened(now)) == []


def test_a_source_of_a_free_name_is_not_free() -> None:
    before, after = (
        flattened({"data": {"weights": {"teleop": 1.0, "device": weight}}, "device": "cpu"})
        for weight in (0.0, 2.0)
    )
    assert differences(before, after) == [Change("data.weights.device", 0.0, 2.0)]


def test_weights_of_images_are_known_by_content_and_needed_once(tmp_path: Path) -> None:
    """The file may move or go; another content is another run."""
    import timm

    store = EpisodeStore.open(write_filmed(tmp_path / "filmed", (True, True, False)))
    file, folder = tmp_path / "w.safetensors", tmp_path / "run"
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), file)

    def starting_from(path: Path) -> TrainingConfig:
        return filmed_config(replace(DRAWN, weights=str(path)), eval_episodes=0)

    written = begin(folder, store, starting_from(file))
    digest = sha256_of(file)
    assert json.loads(written.read_text())["image_weights_sha256"] == digest
    go_on(folder, store, starting_from(file.rename(tmp_path / "moved.safetensors")))
    (tmp_path / "moved.safetensors").unlink()
    go_on(folder, store, starting_from(file))
    assert json.loads(written.read_text())["image_weights_sha256"] == digest
    Run(folder, starting_from(file), store.path, None, SilentProgress()).close()
    save_file({"other": torch.zeros(1)}, file)
    with pytest.raises(ConfigError, match=f"image_weights_sha256: there '{digest}', now"):
        go_on(folder, store, starting_from(file))
