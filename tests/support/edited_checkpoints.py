"""Checkpoints that somebody changed and sealed again: their manifest is valid."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from softflow.utils.files import sha256_of


def copied(checkpoint: Path, to: Path) -> Path:
    """A checkpoint as a folder of its own."""
    shutil.copytree(checkpoint.resolve(), to)
    return to


def seal(checkpoint: Path, files: dict[str, str] | None = None) -> None:
    """Write the manifest of whatever lies there, or of these files and digests."""
    manifest = json.loads((checkpoint / "MANIFEST.json").read_text())
    names = [name for name in manifest["files"] if (checkpoint / name).exists()]
    manifest["files"] = files or {name: sha256_of(checkpoint / name) for name in names}
    listed = json.dumps(manifest["files"], sort_keys=True).encode()
    manifest["sha256"] = hashlib.sha256(listed).hexdigest()
    (checkpoint / "MANIFEST.json").write_text(json.dumps(manifest))


def edit(checkpoint: Path, name: str, change: Callable[[Any], Any]) -> None:
    """Replace a JSON document by what `change` makes of it."""
    path = checkpoint / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    seal(checkpoint)
