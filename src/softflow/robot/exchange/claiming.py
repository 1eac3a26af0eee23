"""The learner's side of the folder itself: it belongs to one run, and is never made twice."""

from __future__ import annotations

import os
import secrets
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, StoreError
from softflow.robot.exchange.folder import (
    FOLDERS,
    FORMAT_VERSION,
    RUN_NAME,
    ExchangeFolder,
    Identity,
)
from softflow.utils.documents import checked
from softflow.utils.files import is_there
from softflow.utils.sealed_json import read_sealed, write_sealed

_FIX = "restore it from a copy"


class Claim:
    """A run's hold on an exchange.

    RUN/exchange.json keeps the name of the run, drawn once, and the folders that it has made an
    exchange of. One of these without its exchange.json is away: the place where a disk is mounted
    is a folder too, and what is written into it is lost to sight when the disk comes back.

    Attributes:
        identity: of the run.
        folder: the exchange.

    Args:
        run: the run folder.
        exchange: the shared folder.
        spec: what episodes hold.
        chunk: lengths of a decision.

    Raises:
        StoreError: RUN/exchange.json is damaged, or cannot be written.
    """

    def __init__(self, run: Path, exchange: Path, spec: DataSpec, chunk: ChunkSpec) -> None:
        self._file, self.folder = run / "exchange.json", ExchangeFolder(exchange)
        self._memory = self._remembered()
        self.identity = Identity(self._memory.run, spec, chunk)

    def require(self) -> None:
        """Make the folder the exchange of this run, or see that it is.

        Raises:
            ConfigError: it is the exchange of another run.
            StoreError: it is away, or cannot be read or written.
        """
        folder = self.folder
        if is_there(folder.identity_file):
            there = folder.identity()
            if there.run != self.identity.run:
                raise ConfigError(
                    f"'{folder.path}' is the exchange of another run; a robot would not know whose "
                    "policy it gets. Choose another --exchange folder"
                )
            if there != self.identity:  # a run may go on with wider bounds of its actions
                self._make()
        elif self._place in self._memory.folders:
            raise StoreError(
                f"'{folder.path}' was the exchange of this run, and its exchange.json is gone: "
                "mount the folder again, or choose another one if it was emptied on purpose"
            )
        else:
            self._make()
        self._remember()

    @property
    def _place(self) -> str:
        return os.path.abspath(self.folder.path)  # noqa: PTH100 (links may lead nowhere just now)

    def _make(self) -> None:
        try:
            for name in FOLDERS:
                (self.folder.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make the exchange '{self.folder.path}': {error.strerror}; mount it, or "
                "choose another folder"
            ) from error
        document = {
            "format_version": FORMAT_VERSION,
            "run": self.identity.run,
            "spec": self.identity.spec.to_json(),
            "chunk": asdict(self.identity.chunk),
        }
        write_sealed(self.folder.identity_file, document)

    def _remembered(self) -> _Memory:
        if not is_there(self._file):
            memory = _Memory(secrets.token_hex(16))
            write_sealed(self._file, msgspec.to_builtins(memory))
            return memory
        value, _ = read_sealed(self._file)
        return checked(value, _Memory, f"'{self._file}'", _FIX)

    def _remember(self) -> None:
        if self._place not in self._memory.folders:
            self._memory.folders.append(self._place)
            write_sealed(self._file, msgspec.to_builtins(self._memory))


class _Memory(msgspec.Struct, forbid_unknown_fields=True):
    run: Annotated[str, msgspec.Meta(pattern=RUN_NAME)]
    folders: list[str] = msgspec.field(default_factory=list)
