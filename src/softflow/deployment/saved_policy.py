"""Where a trained policy lies, and what of it there is to read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

from softflow.data.data_spec import DataSpec
from softflow.errors import CheckpointError, ConfigError, StoreError
from softflow.models.checkpoint import (
    MANIFEST,
    PRETRAINED,
    CheckpointParts,
    last_checkpoint,
    read_acting,
    read_pretrained,
    stands_alone,
)
from softflow.training.config import TrainingConfig
from softflow.training.files.evaluated import best_evaluated, best_held_out
from softflow.training.files.progress import Progress, progress_of, read_progress
from softflow.training.persistence import CRITIC, SUPPORT, policy_facts, read_run_facts
from softflow.utils.files import entries_of, is_there, real_path

Which = Literal["newest", "best"]
"""Of a run's checkpoints: the newest, or the best: by its evaluations, or where nothing was
evaluated, the one of imitation that fits held-out demonstrations best."""


def find_checkpoint(path: Path, which: Which = "newest") -> Path:
    """The checkpoint, or the `pretrained_model/` that stands alone, that a path means.

    Args:
        path: a run folder, a checkpoint, or the `pretrained_model/` of one, which within a
            checkpoint means the whole. Links are followed now: `last` may move on.
        which: of a run folder.

    Raises:
        CheckpointError: there is none.
        ConfigError: `which` is another word, or "best" in a run without evaluations.
    """
    if which not in ("newest", "best"):
        raise ConfigError(f'which is {which!r}; choose "newest" or "best"')
    place = real_path(path)
    if place.name == PRETRAINED and (place.parent / MANIFEST).is_file():
        return place.parent
    if (place / MANIFEST).is_file():
        return place
    found = last_checkpoint(place / "checkpoints")
    if found is None:
        raise CheckpointError(f"'{path}' holds no policy: {_what_it_is(place)}")
    return found if which == "newest" else _best(place)


def _what_it_is(place: Path) -> str:
    """What lies where no policy is, and what to give instead."""
    if not is_there(place):
        return "there is nothing of that name; check the path"
    if is_there(place / "store.json"):
        return "it is an episode store; train a policy on it first: softflow train --dataset STORE"
    if (place / "last" / MANIFEST).is_file():
        return f"it holds checkpoints; give one of them, such as {place.name}/last, or the run"
    if is_there(place / "config.json") and is_there(place / "metrics.csv"):
        return "the run has no checkpoint yet; go on with it by the same softflow train, and wait"
    if place.is_file() and is_there(place.parent / MANIFEST):
        return f"it is a file of one; give its folder, {place.parent}"
    if runs := _runs_in(place):
        return f"it holds runs; give one of them, such as {runs[0]}"
    return (
        "it is neither a run folder with checkpoints, nor a checkpoint, nor the "
        f"{PRETRAINED}/ of one (each has a {MANIFEST}); give for example RUN or "
        "RUN/checkpoints/last"
    )


def _runs_in(place: Path) -> list[Path]:
    """Folders in this one that hold checkpoints."""
    try:
        return sorted(e for e in entries_of(place) if last_checkpoint(e / "checkpoints"))
    except (StoreError, OSError):
        return []


def named_place(path: str | os.PathLike[str]) -> Path:
    """A path that a program named.

    Raises:
        ConfigError: it is empty, or no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(
            f'the path is a {type(path).__name__}; give the folder of a run, such as "runs/my_task"'
        )
    if not os.fspath(path):
        raise ConfigError('the path is empty; give the folder of a run ("." is the one you are in)')
    return Path(path)


def _best(run: Path) -> Path:
    """The best of a run's checkpoints: by evaluations, else by held-out demonstrations."""
    found = best_evaluated(run) or best_held_out(run)
    if found is None:
        raise ConfigError(
            f"no checkpoint of '{run}' was evaluated, so none is known to be best; take the newest "
            '(which="newest"), or measure one: softflow evaluate CHECKPOINT'
        )
    return found


def read_saved(place: Path) -> tuple[CheckpointParts, Progress]:
    """What is there to act with, and how far it had come; the critic if it is there and trained.

    Raises:
        CheckpointError: it is damaged or of another version.
    """
    if stands_alone(place):
        alone = read_acting(place)
        return alone, progress_of(alone)
    progress = read_progress(place)
    critic = (CRITIC, SUPPORT) if progress.critic_is_trained else ()
    return read_acting(place, *critic), progress


class SavedFacts(NamedTuple):
    """What a policy is and how far it had come; what nobody knows of one that stands alone is 0."""

    config: TrainingConfig
    spec: DataSpec
    progress: Progress
    online_episodes: int
    robot_steps: int


def read_facts(place: Path) -> SavedFacts:
    """The facts of what is there to act with, without its weights.

    Raises:
        CheckpointError: it is damaged or of another version.
    """
    if stands_alone(place):
        parts = read_pretrained(place, ("config", "data_spec", "statistics", "progress"))
        config, spec, _ = policy_facts(parts)
        return SavedFacts(config, spec, progress_of(parts), 0, 0)
    config, spec, position = read_run_facts(place)
    counts = (position["online_episodes"], position["robot_steps"])
    return SavedFacts(config, spec, read_progress(place), *counts)


def run_of(place: Path) -> Path | None:
    """The run that a checkpoint lies in; None for one that was copied elsewhere."""
    return place.parent.parent if place.parent.name == "checkpoints" else None
