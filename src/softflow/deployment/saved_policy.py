"""Where a trained policy lies, and what of it there is to read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from softflow.errors import CheckpointError, ConfigError
from softflow.models.checkpoint import (
    MANIFEST,
    PRETRAINED,
    CheckpointParts,
    last_checkpoint,
    read_checkpoint,
    read_pretrained,
)
from softflow.training.files.evaluated import best_evaluated
from softflow.training.files.progress import Progress, progress_of, read_progress
from softflow.training.persistence import CRITIC, SUPPORT
from softflow.utils.files import is_there, real_path

Which = Literal["newest", "best"]
"""Of a run's checkpoints: the newest, or the one that its evaluations say is best."""


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
    return (
        "it is neither a run folder with checkpoints, nor a checkpoint, nor the "
        f"{PRETRAINED}/ of one (each has a {MANIFEST}); give for example RUN or "
        "RUN/checkpoints/last"
    )


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
    """The best of a run's checkpoints, as its evaluations say."""
    found = best_evaluated(run)
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
    if not (place / PRETRAINED).is_dir():
        alone = read_pretrained(place)
        return alone, progress_of(alone)
    progress = read_progress(place)
    critic = (CRITIC, SUPPORT) if progress.critic_is_trained else ()
    return read_checkpoint(place, (f"{PRETRAINED}/", *critic)), progress
