"""Where a command may write: never into the data it reads, nor into a store of episodes."""

from __future__ import annotations

from pathlib import Path

from softflow.errors import ConfigError
from softflow.utils.files import is_there

WRITTEN_BY_A_RUN = ("online", "evaluations", "checkpoints", "diagnostics", "videos", "tensorboard")
"""What a run adds to, replaces and removes in its folder."""


def require_run_folder(run: Path, dataset: Path) -> None:
    """Raise unless a run on a dataset may have this folder.

    Raises:
        ConfigError: it is a file, a store or within one, or the run would write into the dataset.
    """
    require_outside_stores(run, "--run")
    place, data = run.resolve(), dataset.resolve()
    if data.is_relative_to(place):
        inside = data.relative_to(place).parts
        if not inside or inside[0] in WRITTEN_BY_A_RUN:
            raise ConfigError(
                f"--run {run} would write into the dataset {dataset}; choose another --run, or "
                "copy the episodes into a store of their own (softflow data merge)"
            )


def require_outside_stores(folder: Path, option: str) -> None:
    """Raise unless results may go into a folder, which need not be there.

    Raises:
        ConfigError: it, or one around it, is a file or an episode store.
    """
    for place in (folder.resolve(), *folder.resolve().parents):
        if is_there(place / "store.json"):
            raise ConfigError(
                f"{option} {folder} lies in the episode store {place}, which holds episodes only; "
                "choose a folder beside it"
            )
        if place.exists() and not place.is_dir():
            raise ConfigError(f"{option} {folder}: {place} is a file; choose another folder")
