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
from softflow.data.fingerprints import changes, fingerprints
from softflow.errors import ConfigError, DataError, StoreError
from softflow.models.checkpoint import last_checkpoint
from softflow.models.images.backbone import ImageConfig
from softflow.training.config import StageName, TrainingConfig
from softflow.training.persistence import config_from_json, config_to_json, read_run_facts
from softflow.training.training_data import successful_episodes
from softflow.utils.console import say
from softflow.utils.files import is_there, read_object, sha256_of, write_json

FREE_TO_CHANGE = frozenset(
    {
        "stages",
        "unread_observations",
        "num_workers",
        "device",
        "rollout_device",
        "precision",
        "compile",
        "checkpoint_interval_s",
        "eval_episodes",
        "round_eval_episodes",
        "data.prefetch_workers",
        "data.cache_folder",
        "model.encoder.image.weights",
        "model.encoder.image.recompute",
    }
)
"""Settings that may differ when a run is continued: they do not change what it learns."""
IMAGE_WEIGHTS = "image_weights_sha256"
"""What the image backbone started from; where the file lies does not matter, nor whether still."""


OFFLINE, ONLINE = "offline_data", "online_data"
"""Facts of a checkpoint: the fingerprints of the episodes that it learned from."""

RESTORE = (
    "\nGoing on would learn from both. Restore the data (`softflow data relabel STORE --undo "
    "ANNOTATOR --write` takes labels back), or start a new run with another --run folder."
)


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


def changed_data(
    run: Path,
    offline: EpisodeStore,
    online: EpisodeStore | None,
    known: Sequence[str] | None = None,
) -> list[str]:
    """What has changed in the episodes that the last checkpoint learned from; a line each.

    Runs of softflow 0.1 do not know what they have learned from: the data of now count.

    Args:
        run: the run folder.
        offline, online: its data as they are now.
        known: the fingerprints of the offline ones; None: they are taken here.

    Raises:
        CheckpointError: the checkpoint is damaged.
        StoreError: an episode cannot be read.
    """
    checkpoint = last_checkpoint(run / "checkpoints")
    if checkpoint is None:
        return []
    _, _, position = read_run_facts(checkpoint)
    lines: list[str] = []
    if OFFLINE in position:
        now = fingerprints(offline, range(len(offline))) if known is None else known
        lines += [f"{offline.path}: {line}" for line in changes(position[OFFLINE], now)]
    if online is not None and ONLINE in position:
        learned = position[ONLINE]
        now = fingerprints(online, range(min(len(online), len(learned))))
        lines += [f"{online.path}: {line}" for line in changes(learned, now)]
    return lines


def require_same_data(
    run: Path, offline: EpisodeStore, known: Sequence[str], online: EpisodeStore
) -> None:
    """Raise if a run would go on with other episodes, or other labels, than it learned from.

    Args:
        run, offline, online, known: as in `changed_data`.

    Raises:
        DataError: it would; names what changed.
    """
    if lines := changed_data(run, offline, online, known):
        raise DataError(f"{run} has learned from other data:\n  " + "\n  ".join(lines) + RESTORE)


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


def _with_earlier_weights(now: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is, with the hash that it remembers where the file of weights is gone."""
    return {**{name: there[name] for name in (IMAGE_WEIGHTS,) if name in there}, **now}


def require_continues(run: Path, now: Mapping[str, Any], dataset: EpisodeStore) -> None:
    """Raise unless a command may start or continue a run here; writes nothing.

    Args:
        run: the run folder, there or not.
        now: `identity_of` the command.
        dataset: its data.

    Raises:
        ConfigError: the folder holds a run of another configuration, or of data that have changed
            since; names the differences.
        CheckpointError, StoreError: what it holds is damaged, or of another version.
    """
    there = learned_from(run)
    if there and is_there(run / "config.json"):
        _require_known_settings(run / "config.json")
    # What an earlier softflow did not write, or went with config.json, is taken as it is now.
    now = _with_earlier_weights(now, there)
    differences = _differences(_in_these_bounds({**now, **there}, dataset), now) if there else []
    online = EpisodeStore.open(run / "online") if is_there(run / "online") else None
    if online is not None and not goes_on_as(online.spec, dataset.spec):
        differences += [f"online episodes: {d}" for d in online.spec.differences(dataset.spec)]
    changed = changed_data(run, dataset, online)
    if differences or changed:
        raise ConfigError(
            f"{run} holds a run of another {'configuration' if differences else 'data'}:\n  "
            + "\n  ".join(differences + changed)
            + (RESTORE if changed else "")
            + "\nChoose another --run folder, or the same settings to continue this one."
        )


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
    for name in ("eval_episodes", "round_eval_episodes"):
        before = there.get(name, now[name])
        if before != now[name]:
            say(
                f"{name} is now {now[name]}, before {before}: what is measured already "
                "stays; `softflow evaluate` measures a checkpoint again"
            )
    write_json(run / "config.json", _with_earlier_weights(now, there))
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


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Lines naming each setting that differs; lists and tuples compare as JSON does."""
    if where in FREE_TO_CHANGE:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            line
            for key in {**old, **new}
            for line in _differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
        ]
    old, new = (list(value) if isinstance(value, tuple) else value for value in (old, new))
    return [] if old == new else [f"{where}: there {old!r}, now {new!r}"]


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
