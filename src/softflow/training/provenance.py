"""What a run is: config.json and versions.json, and whether a command may go on with it."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, StoreError
from softflow.models.checkpoint import last_checkpoint
from softflow.training.config import StageName, TrainingConfig
from softflow.training.persistence import config_from_json, config_to_json
from softflow.training.training_data import successful_episodes
from softflow.utils.console import say
from softflow.utils.files import read_object, write_json

FREE_TO_CHANGE = frozenset(
    {
        "stages",
        "unread_observations",
        "num_workers",
        "device",
        "checkpoint_interval_s",
        "eval_episodes",
        "round_eval_episodes",
        "data.prefetch_workers",
    }
)
"""Settings that may differ when a run is continued: they do not change what it learns."""


def learned_from(run: Path) -> dict[str, Any]:
    """config.json of a run that has a checkpoint; empty before, when nothing can be lost."""
    if last_checkpoint(run / "checkpoints") is None:
        return {}
    path = run / "config.json"
    return read_object(path) if path.exists() else {}


def write_identity(
    run: Path,
    dataset_path: Path,
    dataset: EpisodeStore,
    stages: Sequence[StageName],
    config: TrainingConfig,
) -> None:
    """config.json and versions.json of a run folder; refuses another configuration.

    Raises:
        ConfigError: the folder holds a run of another configuration; names the differences.
    """
    now = {
        "dataset": str(dataset_path),
        "data_spec": dataset.spec.to_json(),
        "dataset_episodes": len(dataset),
        "dataset_steps": sum(summary.length for summary in dataset.summaries()),
        "dataset_successes": len(successful_episodes(dataset)),
        "stages": list(stages),
        "unread_observations": unread_observations(config, dataset.spec),
        **config_to_json(config),
    }
    there = learned_from(run)
    if there:
        there = _with_new_settings(there, str(run / "config.json"))
        there.setdefault("dataset_successes", now["dataset_successes"])
    if differences := _differences(there, now) if there else []:
        raise ConfigError(
            f"{run} holds a run of another configuration:\n  "
            + "\n  ".join(differences)
            + "\nChoose another --run folder, or the same settings to continue this one."
        )
    for name in ("eval_episodes", "round_eval_episodes"):
        before = there.get(name, now[name])
        if before != now[name]:
            say(
                f"{name} is now {now[name]}, before {before}: what is measured already "
                "stays; `softflow evaluate` measures a checkpoint again"
            )
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the run folder {run}: {error.strerror}; choose another --run"
        ) from error
    write_json(run / "config.json", now)
    _write_versions(run / "versions.json", keep=bool(there))


def unread_observations(config: TrainingConfig, spec: DataSpec) -> list[str]:
    """What of the data the networks do not look at."""
    return [key for key in spec.observation_shapes if key not in config.model.encoder.keys]


def _with_new_settings(there: dict[str, Any], where: str) -> dict[str, Any]:
    """config.json of an earlier softflow with the settings that came since, at their defaults.

    A new setting's default does what was done before there was one.

    Raises:
        CheckpointError: it holds a setting that is gone; names it.
    """
    names = [item.name for item in fields(TrainingConfig)]
    known = {name: there[name] for name in names if name in there}
    return there | config_to_json(config_from_json(TrainingConfig, known, where))


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
    packages = ("softflow", "torch", "numpy", "ogbench", "mujoco", "gymnasium", "zarr")
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
