"""What lies where in the folder that learner and robot share, and whose it is.

    exchange.json                     sealed: the run that learns here, and what episodes hold
    order.json                        sealed: which policy acts, how many episodes are wanted
    policies/3_online_rl_00000500/    a checkpoint, and POLICY.json with the hash of every file
    episodes/arm-000012-<hash>.zarr.zip
    commands/000000000003-<id>.json

The learner writes the first three, each robot its episodes, people commands. Every file is written
under another name, flushed and renamed, which rsync does as well; no file changes afterwards but
the two documents on top, which are replaced whole. See docs/exchange.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, DataError, StoreError
from softflow.robot.exchange.outside_files import size_of
from softflow.utils.documents import checked, require_no_newer
from softflow.utils.files import is_there
from softflow.utils.sealed_json import read_sealed

FORMAT_VERSION = 1
MAX_DOCUMENT_BYTES = 4 * 2**20
FOLDERS = ("policies", "episodes", "commands")
RUN_NAME = r"\A[0-9a-f]{32}\Z"
_FIX = "it is written by `softflow learn`; copy it again, or wait until it has arrived"


@dataclass(frozen=True)
class Identity:
    """Whose exchange it is.

    Attributes:
        run: 32 hexadecimal digits, drawn once for every run.
        spec: what its episodes hold.
        chunk: lengths of a decision.
    """

    run: str
    spec: DataSpec
    chunk: ChunkSpec


class ExchangeFolder:
    """Paths in a shared folder, and its identity.

    Args:
        path: the folder; it need not be there yet, or at the moment.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.policies, self.episodes, self.commands = (path / name for name in FOLDERS)
        self.identity_file = path / "exchange.json"
        self.order_file = path / "order.json"

    def identity(self) -> Identity:
        """Whose exchange it is.

        Raises:
            StoreError: it is not mounted, no learner has been here yet, or the file is damaged or
                of a newer softflow.
        """
        if not is_there(self.identity_file):
            raise StoreError(
                f"'{self.path}' has no exchange.json: the folder is not mounted, or no "
                "`softflow learn` has been there yet"
            )
        where = f"'{self.identity_file}'"
        document = checked(read_document(self.identity_file), _Document, where, _FIX)
        try:
            spec = DataSpec.from_json(document.spec)
            chunk = msgspec.convert(document.chunk, ChunkSpec)
        except (DataError, ConfigError, msgspec.ValidationError) as error:
            raise StoreError(f"{where} is damaged: {error}; {_FIX}") from error
        return Identity(document.run, spec, chunk)


def read_document(path: Path, most: int = MAX_DOCUMENT_BYTES) -> dict[str, Any]:
    """A sealed document of an exchange, without its seal and its format version.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        StoreError: it is not there, no file, too long, damaged, unsealed, or of a newer softflow.
    """
    size = size_of(path)
    if size < 0:
        raise StoreError(f"'{path}' is not there, or is no file")
    if size > most:
        raise StoreError(f"'{path}' has {size:,} bytes; at most {most:,} are read")
    value, sealed = read_sealed(path)
    if not sealed:
        raise StoreError(f"'{path}' has no checksum; nothing in an exchange is written by hand")
    version = value.pop("format_version", None)
    require_no_newer(version, FORMAT_VERSION, path)
    if type(version) is not int or version != FORMAT_VERSION:
        raise StoreError(f"'{path}' is damaged: its format_version is {version!r:.60}")
    return value


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    run: Annotated[str, msgspec.Meta(pattern=RUN_NAME)]
    spec: dict[str, Any]
    chunk: dict[str, Any]
