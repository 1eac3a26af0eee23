"""Checkpoints: safetensors and JSON in a folder, written whole, checksummed, never pickled.

checkpoints/
  2_offline_rl_00000500/
    pretrained_model/   model.safetensors, config.json, statistics.json …, and a MANIFEST.json of
                        its own: enough to act, copied to wherever
    algorithm/          critic.safetensors, target_critic.safetensors
    training_state/     optimisers and position: enough to continue
    MANIFEST.json       format version and SHA-256 of every file
  last -> 2_offline_rl_00000500
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from softflow.errors import CheckpointError, StoreError, brief
from softflow.models.earlier_versions import upgraded_weights
from softflow.models.tensor_file import write_tensors
from softflow.utils.documents import misfit
from softflow.utils.files import read_json, sha256_of, sync_to_disk, write_json

FORMAT_VERSION = 2
MANIFEST = "MANIFEST.json"
PRETRAINED = "pretrained_model"
"""The part of a checkpoint that stands alone."""
LAST = "last"
REPLACED = ".replaced"
_FILE_NAME = re.compile(r"([a-z_]{1,60}/)?[a-z_]{1,60}\.(json|safetensors)")


@dataclass(frozen=True)
class CheckpointParts:
    """The contents of a checkpoint, by path inside the folder, without endings.

    Attributes:
        tensors: "pretrained_model/model" -> named tensors, written as .safetensors.
        documents: "pretrained_model/config" -> JSON value, written as .json.
        where: the folder they were read from, for messages.
    """

    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    where: str = "the checkpoint"

    def weights(self, name: str) -> dict[str, Tensor]:
        """The tensors of a part.

        Raises:
            CheckpointError: it has no such part.
        """
        return self._part(self.tensors, name, ".safetensors")

    def document(self, name: str) -> Any:
        """The value of a document.

        Raises:
            CheckpointError: it has no such document.
        """
        return self._part(self.documents, name, ".json")

    def _part(self, parts: Mapping[str, Any], name: str, ending: str) -> Any:
        if name not in parts:
            raise CheckpointError(
                f"{self.where} has no {name}{ending}, and does not list it either: another program "
                "made it, or for another purpose; give a checkpoint that `softflow train` wrote"
            )
        return parts[name]

    def copied(self, into: CheckpointParts | None = None) -> CheckpointParts:
        """The same with tensors of its own, in the memory of the CPU: the originals may change.

        Args:
            into: an earlier copy that nobody needs any more; its memory is used where it fits,
                because fresh memory costs several times what copying does.
        """
        copies = CheckpointParts(documents=dict(self.documents), where=self.where)
        for key, tensors in self.tensors.items():
            memory = into.tensors.get(key, {}) if into else {}
            copies.tensors[key] = {n: _copy(tensor, memory.get(n)) for n, tensor in tensors.items()}
        return copies


def write_checkpoint(root: Path, name: str, parts: CheckpointParts) -> Path:
    """Write a checkpoint whole and point `last` to it; an interrupted call leaves no trace.

    Raises:
        StoreError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    temp, final = root / f".tmp-{name}", root / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temp, ignore_errors=True)
        files = _write_files(temp, parts)
        _write_manifest(temp, files)
        within = f"{PRETRAINED}/"
        if alone := {n.removeprefix(within): files[n] for n in files if n.startswith(within)}:
            _write_manifest(temp / PRETRAINED, alone)
        _put_in_place(temp, final)
    except OSError as error:
        raise StoreError(
            f"cannot write checkpoint {final}: {error.strerror}; free some space or choose "
            "another run folder, then run the same command again"
        ) from error
    finally:
        shutil.rmtree(temp, ignore_errors=True)
    _point_last_to(root, name)
    _remove_leftovers(root)
    return final


def _write_manifest(folder: Path, files: dict[str, str]) -> None:
    manifest = {"format_version": FORMAT_VERSION, "files": files, "sha256": _digest(files)}
    write_json(folder / MANIFEST, manifest)


def _put_in_place(temp: Path, final: Path) -> None:
    """Give a finished folder its name; at every moment a whole checkpoint has a readable name."""
    if final.exists():
        replaced = final.with_name(final.name + REPLACED)
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    temp.rename(final)
    sync_to_disk(final.parent)


def read_checkpoint(folder: Path, only: tuple[str, ...] = ("",)) -> CheckpointParts:
    """Read a checkpoint after checking its version and the checksum of every file.

    Args:
        folder: the checkpoint, or the link `last`.
        only: path prefixes to read, ("pretrained_model/",) for acting; all by default.

    Raises:
        CheckpointError: not a checkpoint, of a newer format, or damaged; says what to do.
    """
    parts = CheckpointParts(where=str(folder))
    version, files = _read_manifest(folder)
    for relative, digest in files.items():
        if not relative.startswith(only):
            continue
        path = folder / relative
        if not path.is_file() or sha256_of(path) != digest:
            raise CheckpointError(_damaged(folder, f"{relative} is missing or altered"))
        key = str(Path(relative).with_suffix(""))
        try:
            if path.suffix == ".json":
                parts.documents[key] = read_json(path)
            else:
                parts.tensors[key] = upgraded_weights(load_file(path), version)
        except (SafetensorError, StoreError, ValueError, KeyError, MemoryError) as error:
            raise CheckpointError(_damaged(folder, f"{relative}: {brief(error)}")) from error
    return parts


def stands_alone(folder: Path) -> bool:
    """Whether it is a `pretrained_model/` without the checkpoint that it was in."""
    return not (folder / PRETRAINED).is_dir()


def read_acting(folder: Path, *more: str) -> CheckpointParts:
    """Read what acts: the policy of a checkpoint with `more` parts of it, or one that stands alone.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    if stands_alone(folder):
        return read_pretrained(folder)
    return read_checkpoint(folder, (f"{PRETRAINED}/", *more))


def read_pretrained(folder: Path, only: tuple[str, ...] = ("",)) -> CheckpointParts:
    """Read a `pretrained_model/` folder that stands alone, its parts named as in a checkpoint.

    Args:
        folder: where it lies; only: as in `read_checkpoint`, names within this folder.

    Raises:
        CheckpointError: as `read_checkpoint`.
    """
    alone = read_checkpoint(folder, only)
    return CheckpointParts(
        {f"{PRETRAINED}/{name}": value for name, value in alone.tensors.items()},
        {f"{PRETRAINED}/{name}": value for name, value in alone.documents.items()},
        alone.where,
    )


def load_weights(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    where: str,
    elsewhere: frozenset[str] = frozenset(),
) -> None:
    """Copy named tensors into a module of exactly the same names and shapes.

    Args:
        module: takes them; tensors: by name; where: they come from, for messages.
        elsewhere: names of the module that another part holds, because modules share them.

    Raises:
        CheckpointError: names the first tensors that do not fit, with both shapes.
    """
    own = {name: value for name, value in module.state_dict().items() if name not in elsewhere}
    problems = [f"{name} is missing" for name in own if name not in tensors]
    problems += [f"{name} is unknown here" for name in tensors if name not in own]
    problems += [
        f"{name} has shape {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in tensors and own[name].shape != tensors[name].shape
    ]
    problems += [
        f"{name} holds {tensors[name].dtype}, expected {own[name].dtype}"
        for name in own
        if name in tensors and own[name].dtype != tensors[name].dtype
    ]
    if problems:
        raise CheckpointError(
            f"{where} was made for other dimensions than this configuration: "
            + "; ".join(problems[:3])
            + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
            + ". Use the configuration saved beside it, or start a new run."
        )
    module.load_state_dict(tensors, strict=not elsewhere)


def weights_identity(folder: Path) -> str:
    """A digest of all weights in a checkpoint; equal for equal weights, whatever else differs.

    Raises:
        CheckpointError: not a checkpoint, or a damaged one.
    """
    weights = ("",) if stands_alone(folder) else (f"{PRETRAINED}/", "algorithm/")
    _, files = _read_manifest(folder)
    chosen = {k: v for k, v in files.items() if k.startswith(weights) and k.endswith("tensors")}
    return _digest(chosen)


def last_checkpoint(root: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None before the first one."""
    link = root / LAST
    if link.exists():
        return link.resolve()
    folders = sorted(path.parent for path in root.glob(f"[!.]*/{MANIFEST}"))
    return folders[-1] if folders else None


def prune_checkpoints(root: Path, keep: int, protected: frozenset[str] = frozenset()) -> None:
    """Delete all but the newest `keep` checkpoints, the last one and the protected names."""
    last = last_checkpoint(root)
    names = sorted({path.parent.name for path in root.glob(f"[!.]*/{MANIFEST}")} - {LAST})
    kept = set(names[max(0, len(names) - keep) :]) | protected | {last.name if last else ""}
    for name in names:
        if name not in kept:
            shutil.rmtree(root / name)


def _copy(tensor: Tensor, into: Tensor | None) -> Tensor:
    if into is not None and (into.shape, into.dtype) == (tensor.shape, tensor.dtype):
        return into.copy_(tensor.detach())
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _write_files(folder: Path, parts: CheckpointParts) -> dict[str, str]:
    payloads = {f"{key}.safetensors": value for key, value in parts.tensors.items()}
    digests: dict[str, str] = {}
    for relative in [*payloads, *(f"{key}.json" for key in parts.documents)]:
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        if relative in payloads:
            write_tensors(path, payloads[relative])
        else:
            write_json(path, parts.documents[relative.removesuffix(".json")])
        digests[relative] = sha256_of(path)
    return digests


def _read_manifest(folder: Path) -> tuple[int, dict[str, str]]:
    """Its format version, and the digest of every file."""
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(
            f"{folder} is not a checkpoint (it has no {MANIFEST}); give a folder inside "
            "RUN/checkpoints, for example RUN/checkpoints/last"
        )
    try:
        value = read_json(folder / MANIFEST)
    except StoreError as error:
        raise CheckpointError(_damaged(folder, f"{MANIFEST}: {error}")) from error
    version = value.get("format_version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} has checkpoint format {version}, this softflow reads up to "
            f"{FORMAT_VERSION}; upgrade softflow (pip install -U softflow)"
        )
    try:
        manifest = msgspec.convert(value, _Manifest)
    except (msgspec.ValidationError, OverflowError) as error:
        raise CheckpointError(_damaged(folder, f"{MANIFEST}: {misfit(error, value)}")) from error
    if manifest.sha256 != _digest(manifest.files):
        raise CheckpointError(_damaged(folder, f"{MANIFEST} is altered"))
    for name in manifest.files:
        _require_inside(folder, name)
    return manifest.format_version, manifest.files


class _Manifest(msgspec.Struct, forbid_unknown_fields=True):
    format_version: Annotated[int, msgspec.Meta(ge=1)]
    files: dict[str, str]
    sha256: str


def _require_inside(folder: Path, name: str) -> None:
    """Raise unless a manifest names a file of its own folder, by a name that softflow gives."""
    if not _FILE_NAME.fullmatch(name):
        raise CheckpointError(
            f"{folder / MANIFEST} names the file {name!r:.120}, which no checkpoint of softflow "
            "has; nothing outside of a checkpoint's folder is read. Do not use it."
        )
    if not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise CheckpointError(
            f"'{folder / name}' is a link that leads out of the checkpoint, and is not followed; "
            "copy the file to its place"
        )


def _digest(files: dict[str, str]) -> str:
    """SHA-256 of a list of files and their digests."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _damaged(folder: Path, what: str) -> str:
    return (
        f"checkpoint {folder} is damaged: {what}. Delete that folder (and the link "
        f"{folder.parent / LAST} if it points there) and run the same command again: it goes on "
        "from the checkpoint before it."
    )


def _remove_leftovers(root: Path) -> None:
    """What interrupted calls left behind; called when the newest checkpoint is in its place."""
    for path in [*root.glob(".tmp-*"), *root.glob(f"*{REPLACED}")]:
        shutil.rmtree(path, ignore_errors=True)


def _point_last_to(root: Path, name: str) -> None:
    temp = root / f".tmp-{LAST}"
    temp.unlink(missing_ok=True)
    temp.symlink_to(name)
    if (root / LAST).is_dir() and not (root / LAST).is_symlink():
        # A copy of the run that followed links (cp -rL, a zip file) made a folder of it.
        (root / LAST).rename(root / f"{LAST}{REPLACED}")
    temp.replace(root / LAST)
    sync_to_disk(root)
