"""An episode store that a user named, or what to do with what is there instead."""

from __future__ import annotations

from pathlib import Path

from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError
from softflow.utils.files import is_there


def open_store(path: Path) -> EpisodeStore:
    """Open an episode store for reading.

    Raises:
        StoreError: it is damaged, or something else lies there: data of another format, a run;
            then with the command that makes a store of it.
    """
    try:
        return EpisodeStore.open(path)
    except StoreError as error:
        if hint := _instead(path):
            raise StoreError(f"'{path}' is not an episode store: {hint}") from error
        raise


def _instead(path: Path) -> str:
    """What lies there, and the command for it; "" where nothing tells, or it is a store."""
    if not is_there(path) or is_there(path / "store.json"):
        return ""
    if is_there(path / "checkpoints") and is_there(path / "config.json"):
        stores = [name for name in ("online", "demonstrations") if is_there(path / name)]
        said = f"; its episodes are in {path / stores[0]}" if stores else ""
        return f"it is a run (softflow report {path}){said}"
    try:
        from softflow.formats.recognising import format_of
    except ModuleNotFoundError:  # a base installation reads no foreign formats
        return ""
    if not (found := format_of(path)):
        return ""
    name = path.stem if path.is_file() else path.name
    return (
        f"it looks like {found} data; make one of it: softflow data import {found} {path} --out "
        f"data/{name}"
    )
