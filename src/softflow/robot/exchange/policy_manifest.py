"""POLICY.json of a published checkpoint: what it is, and what every file of it must be."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, DataError, StoreError
from softflow.robot.exchange.folder import FORMAT_VERSION, read_document
from softflow.utils.documents import checked
from softflow.utils.sealed_json import write_sealed

POLICY = "POLICY.json"
MANIFEST = "MANIFEST.json"
"""Of the checkpoint itself, as the learner wrote it."""
REQUIRES = "0.1.0"
"""The oldest softflow that acts with checkpoints of this one."""
MAX_POLICY_BYTES = 32 * 2**30
MAX_FILES = 64
_NAME = re.compile(r"(\d)_([a-z_]{1,30})_(\d{8,12})")
_FILE = r"\A([a-z_]{1,60}/)?[A-Za-z_]{1,60}\.(json|safetensors)\Z"
_VERSION = r"\A\d{1,4}\.\d{1,4}\.\d{1,6}\Z"


class FileFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a checkpoint: its bytes, and their SHA-256."""

    bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_POLICY_BYTES)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


@dataclass(frozen=True)
class PolicyManifest:
    """What is known of a published policy before its weights are read.

    Attributes:
        run: that learns it.
        name: of the checkpoint, which says how far the run has come: "3_online_rl_00000500".
        stage: that it comes from.
        requires: the oldest softflow that can act with it.
        spec: what its observations and actions are.
        chunk: lengths of its decisions.
        files: by path inside the folder.
    """

    run: str
    name: str
    stage: str
    requires: str
    spec: DataSpec
    chunk: ChunkSpec
    files: dict[str, FileFacts]

    def write(self, folder: Path) -> None:
        """Write it as the last file of a checkpoint.

        Raises:
            StoreError: the system refuses.
        """
        write_sealed(
            folder / POLICY,
            {
                "format_version": FORMAT_VERSION,
                "run": self.run,
                "name": self.name,
                "stage": self.stage,
                "requires": self.requires,
                "spec": self.spec.to_json(),
                "chunk": asdict(self.chunk),
                "files": msgspec.to_builtins(self.files),
            },
        )


def progress_of(name: str) -> tuple[int, int] | None:
    """How far a run had come at a checkpoint: (stage, update); None for other names."""
    match = _NAME.fullmatch(name)
    return (int(match.group(1)), int(match.group(3))) if match else None


def stage_of(name: str) -> str:
    """The stage in the name of a checkpoint.

    Raises:
        StoreError: it is not called as checkpoints of runs are.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise StoreError(f"'{name}' is not called as checkpoints of runs are; do not rename them")
    return match.group(2)


def read_manifest(folder: Path) -> PolicyManifest:
    """The manifest of a published policy.

    Raises:
        StoreError: it has not arrived yet, is damaged, or of a newer softflow.
    """
    path = folder / POLICY
    fix = "copy the policy again, or wait until it has arrived"
    document = checked(read_document(path), _Document, f"'{path}'", fix)
    if document.name != folder.name:
        raise StoreError(f"'{path}' belongs to {document.name!r:.80}, not to this folder; {fix}")
    if MANIFEST not in document.files:
        raise StoreError(f"'{path}' names no {MANIFEST}, without which no checkpoint is read")
    total = sum(facts.bytes for facts in document.files.values())
    if total > MAX_POLICY_BYTES:
        raise StoreError(f"'{path}' declares {total:,} bytes, beyond {MAX_POLICY_BYTES:,}")
    try:
        spec = DataSpec.from_json(document.spec)
        chunk = msgspec.convert(document.chunk, ChunkSpec)
    except (DataError, ConfigError, msgspec.ValidationError) as error:
        raise StoreError(f"'{path}' is damaged: {error}; {fix}") from error
    facts: dict[str, Any] = msgspec.structs.asdict(document)
    facts |= {"spec": spec, "chunk": chunk}
    return PolicyManifest(**facts)


def is_older(version: str, needed: str) -> bool:
    """Whether a version of softflow, "0.1.0", is older than another."""
    return _numbers(version) < _numbers(needed)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    run: str
    name: Annotated[str, msgspec.Meta(max_length=60)]
    stage: Annotated[str, msgspec.Meta(pattern=r"\A[a-z_]{1,30}\Z")]
    requires: Annotated[str, msgspec.Meta(pattern=_VERSION)]
    spec: dict[str, Any]
    chunk: dict[str, Any]
    files: Annotated[
        dict[Annotated[str, msgspec.Meta(pattern=_FILE)], FileFacts],
        msgspec.Meta(min_length=1, max_length=MAX_FILES),
    ]
