"""What a run is: config.json and versions.json, and whether a command may go on with it."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from softflow.data.action_space import goes_on_as
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError, StoreError
from softflow.models.checkpoint import last_checkpoint
from softflow.models.images.backbone import ImageConfig
from softflow.training.config import StageName, TrainingConfig
from softflow.training.continuing.changes import (
    FREE_TO_CHANGE,
    cannot_mean_anything,
    differences,
    flattened,
    in_words,
)
from softflow.training.continuing.history import read_history
from softflow.training.continuing.learned_data import (
    OFFLINE,
    RESTORE,
    ChangedData,
    changed_data,
    position_in,
)
from softflow.training.held_out.split import held_out_episodes, successful_episodes
from softflow.training.persistence import config_from_json, config_to_json, read_run_facts
from softflow.utils.files import is_there, read_object, sha256_of, write_json

IMAGE_WEIGHTS = "image_weights_sha256"
"""What the image backbone started from; where the file lies does not matter, nor whether still."""


def learned_from(run: Path) -> dict[str, Any]:
    """What a run that has a checkpoint is, in the form of config.json; empty before.

    What decides the result is in the checkpoint as well: a config.json that was removed or edited
    hides nothing.

    Raises:
        CheckpointError: the checkpoint is damaged, or holds a setting that is gone.
        StoreError: config.json is damaged.
    """
    checkpoint = last_checkpoint(run / "checkpoints")
    if checkpoint is None:
        return {}
    path = run / "config.json"
    there = read_object(path) if is_there(path) else {}
    config, spec, position = read_run_facts(checkpoint)
    learned = {"data_spec": spec.to_json(), **config_to_json(config)}
    if OFFLINE in position and "dataset_episodes" not in there:
        learned["dataset_episodes"] = len(position[OFFLINE])
    return there | {
        name: value
        for name, value in learned.items()
        if not (name in FREE_TO_CHANGE and name in there)
    }


def identity_of(
    dataset_path: Path,
    dataset: EpisodeStore,
    stages: Sequence[StageName],
    config: TrainingConfig,
) -> dict[str, Any]:
    """What config.json says of a run."""
    return {
        "dataset": str(dataset_path),
        "data_spec": dataset.spec.to_json(),
        "dataset_episodes": len(dataset),
        "dataset_steps": sum(summary.length for summary in dataset.summaries()),
        "dataset_successes": len(successful_episodes(dataset)),
        "held_out_episodes": held_out_episodes(dataset, config.data.held_out, config.seed),
        "stages": list(stages),
        "unread_observations": unread_observations(config, dataset.spec),
        **_image_weights(config),
        **config_to_json(config),
    }


def _image_weights(config: TrainingConfig) -> dict[str, Any]:
    """The content hash of the weights that the image backbone starts from, if they are here."""
    image = getattr(config.model.encoder, "image", None)
    if not isinstance(image, ImageConfig):
        return {}
    with suppress(ConfigError):  # a new run will say so, one that is continued needs them no more
        path = image.weights_file
        if path and (file := Path(path).expanduser()).is_file():
            return {IMAGE_WEIGHTS: sha256_of(file)}
    return {}


def with_earlier_weights(now: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is, with the hash that it remembers where the file of weights is gone."""
    return {**{name: there[name] for name in (IMAGE_WEIGHTS,) if name in there}, **now}


def require_continues(run: Path, now: Mapping[str, Any], dataset: EpisodeStore) -> None:
    """Raise unless a command may start or continue a run here; writes nothing.

    More updates, other numbers for what is still to come, and more episodes or labels are welcome;
    `softflow.training.continuing` says which.

    Args:
        run: the run folder, there or not.
        now: `identity_of` the command.
        dataset: its data.

    Raises:
        ConfigError: the folder holds a run that cannot go on so; names each reason.
        CheckpointError, StoreError: what it holds is damaged, or of another version.
    """
    there = learned_from(run)
    if there and is_there(run / "config.json"):
        _require_known_settings(run / "config.json")
    if there:
        read_history(run)
    online = EpisodeStore.open(run / "online") if is_there(run / "online") else None
    changed = changed_data(run, dataset, online)
    refused = _refused(run, there, with_earlier_weights(now, there), changed, dataset)
    if online is not None and not goes_on_as(online.spec, dataset.spec):
        refused += [f"online episodes: {d}" for d in online.spec.differences(dataset.spec)]
    if refused or changed.lost:
        raise ConfigError(
            f"{run} holds a run of another {'configuration' if refused else 'data'}:\n  "
            + "\n  ".join(refused + changed.lost)
            + (RESTORE if changed.lost else "")
            + "\nChoose another --run folder (with --from its networks are where that one starts), "
            "or the same settings to continue this one."
        )


def _refused(
    run: Path,
    there: Mapping[str, Any],
    now: Mapping[str, Any],
    changed: ChangedData,
    dataset: EpisodeStore,
) -> list[str]:
    """The settings that keep a run from going on, and why.

    What an earlier softflow did not write, or went with config.json, is taken as it is now.
    """
    position = position_in(run)
    if not there or position is None:
        return []
    flat = flattened(now)
    found = differences(flattened(_in_these_bounds({**now, **there}, dataset)), flat)
    whys = [(one, cannot_mean_anything(one, position, changed.is_known, flat)) for one in found]
    return [f"{in_words(one)} ({why})" for one, why in whys if why]


def _in_these_bounds(there: dict[str, Any], dataset: EpisodeStore) -> dict[str, Any]:
    """What a run is, with the data's spec of now where only its bounds were widened since."""
    try:
        before = DataSpec.from_json(there["data_spec"])
    except DataError:  # of another version: the differences say so
        return there
    now = dataset.spec
    return there | {"data_spec": now.to_json()} if goes_on_as(before, now) else there


def write_identity(run: Path, now: Mapping[str, Any]) -> None:
    """config.json and versions.json of a run folder that this process has locked.

    Raises:
        StoreError: the disk refuses.
    """
    there = learned_from(run)
    write_json(run / "config.json", with_earlier_weights(now, there))
    _write_versions(run / "versions.json", keep=bool(there))


def unread_observations(config: TrainingConfig, spec: DataSpec) -> list[str]:
    """What of the data the networks do not look at."""
    read = config.model.encoder.keys_among(spec.observation_shapes)
    return [key for key in spec.observation_shapes if key not in read]


def _require_known_settings(path: Path) -> None:
    """Raise if config.json of an earlier softflow holds a setting that is gone.

    Raises:
        CheckpointError: it does; names it.
    """
    there = read_object(path)
    names = [item.name for item in fields(TrainingConfig)]
    known = {name: there[name] for name in names if name in there}
    config_from_json(TrainingConfig, known, str(path))


def _write_versions(path: Path, keep: bool) -> None:
    """What runs from now on; with `keep`, what ran before stays under "earlier"."""
    now = _versions()
    old = read_object(path) if keep and path.exists() else dict(now)
    earlier = old.pop("earlier", [])
    if not isinstance(earlier, list):
        raise StoreError(f"'{path}' is damaged: its earlier versions are no list; delete it")
    if old != now:
        earlier.append(old)
    write_json(path, now | ({"earlier": earlier} if earlier else {}))


def _versions() -> dict[str, Any]:
    """What the numbers of a run depend on besides configuration and data."""
    networks = ("torch", "torchvision", "timm")
    packages = ("softflow", *networks, "numpy", "ogbench", "mujoco", "gymnasium", "zarr")
    return {
        "command": shlex.join(["softflow", *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch_threads": torch.get_num_threads(),
    } | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
