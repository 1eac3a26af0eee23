"""Where a trained policy lies, and what of it there is to read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from softflow.data.measures import measures_of
from softflow.errors import CheckpointError, ConfigError, DataError
from softflow.models.checkpoint import (
    MANIFEST,
    PRETRAINED,
    CheckpointParts,
    last_checkpoint,
    read_checkpoint,
    read_pretrained,
)
from softflow.training.files.progress import Progress, progress_of, read_progress
from softflow.training.persistence import CRITIC, SUPPORT
from softflow.utils.files import read_object, real_path

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
        raise CheckpointError(
            f"'{path}' holds no policy: it is neither a run folder with checkpoints, nor a "
            f"checkpoint, nor the {PRETRAINED}/ of one (each has a {MANIFEST}); give for example "
            "RUN or RUN/checkpoints/last"
        )
    return found if which == "newest" else _best_evaluated(place)


def _best_evaluated(run: Path) -> Path:
    """The checkpoint with the best first measure in evaluations/; of equals the later one."""
    there = {file.parent.name: file.parent for file in run.glob(f"checkpoints/[!.]*/{MANIFEST}")}
    found: list[tuple[float, str]] = []
    for file in sorted((run / "evaluations").glob("*.json")):
        result = read_object(file)
        try:
            name, value = str(result.get("policy_version")), measures_of(result)[0].value
        except DataError as error:
            raise CheckpointError(f"'{file}' is damaged: {error}; delete it") from error
        if value is not None and name in there:  # that of a round is replaced by later ones
            found.append((value, name))
    if not found:
        raise ConfigError(
            f"no checkpoint of '{run}' was evaluated, so none is known to be best; take the newest "
            '(which="newest"), or measure one: softflow evaluate CHECKPOINT'
        )
    return there[max(found)[1]]


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
