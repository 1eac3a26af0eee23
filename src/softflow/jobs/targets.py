"""Where a command may write: never into the data it reads, nor into a store of episodes."""

from __future__ import annotations

from pathlib import Path

from softflow.errors import ConfigError
from softflow.utils.files import entries_of, is_there, real_path, require_regular

WRITTEN_BY_A_RUN = (
    *("online", "arriving", "evaluations", "checkpoints", "diagnostics"),
    *("videos", "tensorboard"),
)
"""What a run adds to, replaces and removes in its folder."""
PARTS_OF_A_STORE = {"store.json", "episodes", "labels", "set_aside", "writer.lock", "lost+found"}
"""What may be there where a store shall be made; hidden files as well."""


def require_run_folder(run: Path, dataset: Path) -> None:
    """Raise unless a run on a dataset may have this folder.

    Raises:
        ConfigError: it is a file, a store or within one, lies among what another run writes, or
            the run would write into the dataset.
    """
    require_outside_stores(run, "--run")
    place, data = real_path(run), real_path(dataset)
    for outer in place.parents:
        if place.relative_to(outer).parts[0] in WRITTEN_BY_A_RUN and _holds_a_run(outer):
            raise ConfigError(
                f"--run {run} lies among what the run {outer} writes; choose a folder beside it"
            )
    if data.is_relative_to(place):
        inside = data.relative_to(place).parts
        if not inside or inside[0] in WRITTEN_BY_A_RUN:
            raise ConfigError(
                f"--run {run} would write into the dataset {dataset}; choose another --run, or "
                "copy the episodes into a store of their own (softflow data merge)"
            )


def _holds_a_run(folder: Path) -> bool:
    return is_there(folder / "config.json") and is_there(folder / "checkpoints")


def require_outside_stores(folder: Path, option: str, named: Path | None = None) -> None:
    """Raise unless results may go into a folder, which need not be there.

    Args:
        folder: where they go.
        option: of the command line that says so.
        named: what that option names, if not the folder itself.

    Raises:
        ConfigError: it, or one around it, is a file or an episode store.
    """
    real = real_path(folder)
    for place in (real, *real.parents):
        if is_there(place / "store.json"):
            raise ConfigError(
                f"{option} {named or folder} lies in the episode store {place}, which holds "
                "episodes only; choose a folder beside it"
            )
        if place.exists() and not place.is_dir():
            raise ConfigError(
                f"{option} {named or folder}: {place} is a file; choose another folder"
            )


def require_store_folder(folder: Path, option: str) -> None:
    """Raise unless a command may fill an episode store there: one that is there, or a new one.

    Raises:
        ConfigError: it lies in another store, or holds something else.
    """
    require_outside_stores(folder.parent, option, folder)
    if is_there(folder / "store.json") or not real_path(folder).is_dir():
        return
    others = {e.name for e in entries_of(folder) if not e.name.startswith(".")} - PARTS_OF_A_STORE
    if others:
        raise ConfigError(
            f"{option} {folder} holds other files ({', '.join(sorted(others)[:3])}); a new store "
            "needs a folder of its own"
        )


def require_result_file(file: Path, option: str, begins: bytes) -> None:
    """Raise unless a command may write its result there; what it wrote before it may replace.

    Args:
        file: the page or table, there or not.
        option: of the command line that names it.
        begins: how the content of every such result begins.

    Raises:
        ConfigError: it lies in an episode store, or would replace another file.
        StoreError: that is no regular file, or cannot be read.
    """
    require_outside_stores(file.parent, option, file)
    require_regular(file)
    if not is_there(file):
        return
    with file.open("rb") as there:
        content = there.read(len(begins))
    if content and content != begins:
        raise ConfigError(
            f"{option} {file} is there already, and is no result of this command; choose another "
            "name, or delete it"
        )
