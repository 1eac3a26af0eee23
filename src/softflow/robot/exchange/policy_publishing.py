"""The learner's side of policies: a checkpoint appears in the exchange whole, or not at all."""

from __future__ import annotations

import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from softflow.errors import StoreError
from softflow.robot.exchange.folder import ExchangeFolder, Identity
from softflow.robot.exchange.outside_files import copied, names_in, size_of
from softflow.robot.exchange.policy_manifest import (
    MANIFEST,
    MAX_POLICY_BYTES,
    REQUIRES,
    FileFacts,
    PolicyManifest,
    progress_of,
    read_manifest,
    stage_of,
)
from softflow.utils.files import is_there, sha256_of, sync_to_disk

KEEP_POLICIES = 3
"""A robot that copies one, slowly, while newer ones come still finds it whole."""
TO_ACT = (MANIFEST, "pretrained_model/*.json", "pretrained_model/*.safetensors")
TO_CHOOSE = ("algorithm/critic.safetensors", "algorithm/value_support.json")
_TEMP, _OLD = ".tmp-", ".old-"


def publish(folder: ExchangeFolder, identity: Identity, checkpoint: Path) -> Path:
    """Publish a checkpoint, unless it is there whole already; older ones but `KEEP_POLICIES` go.

    What continues training (optimisers) stays with the learner.

    Args:
        folder: the exchange, which belongs to this run.
        identity: of the run.
        checkpoint: on the learner's disk; it is never overwritten afterwards.

    Returns:
        Its folder in the exchange.

    Raises:
        StoreError: the exchange is away or full; nothing of it is seen by a robot.
    """
    stage, final = stage_of(checkpoint.name), folder.policies / checkpoint.name
    if not _is_there(final, identity.run, checkpoint):
        _sweep(folder.policies)  # what a killed learner left may be what fills the disk
        temp = folder.policies / f"{_TEMP}{checkpoint.name}-{secrets.token_hex(4)}"
        try:
            files = _copy_files(checkpoint, temp)
            manifest = PolicyManifest(
                identity.run,
                checkpoint.name,
                stage,
                REQUIRES,
                identity.spec,
                identity.chunk,
                files,
            )
            manifest.write(temp)
            _put_in_place(temp, final)
        except OSError as error:
            raise StoreError(
                f"cannot publish '{final}': {error.strerror or error}; free some space there, or "
                "mount it again"
            ) from error
        finally:
            shutil.rmtree(temp, ignore_errors=True)
    _prune(folder.policies)
    return final


def _copy_files(checkpoint: Path, temp: Path) -> dict[str, FileFacts]:
    found = [path for pattern in (*TO_ACT, *TO_CHOOSE) for path in checkpoint.glob(pattern)]
    files: dict[str, FileFacts] = {}
    for path in found:
        name = path.relative_to(checkpoint).as_posix()
        (temp / name).parent.mkdir(parents=True, exist_ok=True)
        digest = copied(path, temp / name, MAX_POLICY_BYTES)
        files[name] = FileFacts(size_of(temp / name), digest)
    return files


def _is_there(policy: Path, run: str, checkpoint: Path) -> bool:
    """Whether a checkpoint is published with all its bytes; hashes are for those who copy it.

    Its MANIFEST.json has the hash of every other file, so one of the same name that a run made
    after it had lost a few minutes is told apart.
    """
    try:
        manifest = read_manifest(policy)
    except StoreError:
        return False
    if (manifest.run, manifest.files[MANIFEST].sha256) != (run, sha256_of(checkpoint / MANIFEST)):
        return False
    return all(size_of(policy / name) == facts.bytes for name, facts in manifest.files.items())


def _put_in_place(temp: Path, final: Path) -> None:
    """Give a finished folder its name, in place of a torn one."""
    torn = final.with_name(f"{_OLD}{final.name}-{secrets.token_hex(4)}")
    if is_there(final):
        final.rename(torn)
    temp.rename(final)
    sync_to_disk(final.parent)
    _remove(torn)


def _sweep(policies: Path) -> None:
    """Only one learner writes here, and not at the moment: its temporary folders are left over."""
    for name in names_in(policies):
        if name.startswith((_TEMP, _OLD)):
            _remove(policies / name)


def _prune(policies: Path) -> None:
    """Remove all policies but the newest; nothing that is called otherwise."""
    progress = {name: reached for name in names_in(policies) if (reached := progress_of(name))}
    for name in sorted(progress, key=lambda name: progress[name])[:-KEEP_POLICIES]:
        _remove(policies / name)


def _remove(folder: Path) -> None:
    """Remove a folder; of a link the link alone."""
    with suppress(OSError):
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
