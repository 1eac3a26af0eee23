"""The robot's side of policies: the newest one that is whole, copied before it acts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.errors import StoreError
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.outside_files import copied, names_in
from softflow.robot.exchange.policy_manifest import (
    PolicyManifest,
    is_older,
    progress_of,
    read_manifest,
)
from softflow.robot.exchange.told_once import ToldOnce
from softflow.utils.machine import softflow_version

KEEP_COPIES = 2
_TEMP = ".tmp-"


@dataclass(frozen=True)
class ReceivedPolicy:
    """A policy on the robot's own disk.

    Attributes:
        checkpoint: its folder, every byte of it checked.
        manifest: what it is.
    """

    checkpoint: Path
    manifest: PolicyManifest


class PolicyReceiver:
    """Follows the policies of one run, forwards only.

    Attributes:
        current: the one taken last; None before the first.

    Args:
        folder: the exchange.
        copies: a folder of the robot's own, for its copies; a robot that starts again goes on
            from the newest there.
        spec: what the robot sees and does.
        chunk: lengths of a decision that the robot is set up for; None takes those of the policy.
        say: where refusals are told, each once.
    """

    def __init__(
        self,
        folder: ExchangeFolder,
        copies: Path,
        spec: DataSpec,
        chunk: ChunkSpec | None,
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._copies = folder, copies
        self._spec, self._chunk = spec, chunk
        self._told = ToldOnce(say)
        self._rejected: set[str] = set()
        self._before: ReceivedPolicy | None = None
        self.current: ReceivedPolicy | None = None
        self._sweep()
        self.current = self._newest_copy()

    def newer(self) -> ReceivedPolicy | None:
        """The newest policy that is whole, fits the robot, and is newer than the current one.

        To be asked between episodes. Whatever is wrong with the exchange is told once, and the
        current policy stays.
        """
        try:
            names = names_in(self._folder.policies)
        except StoreError as error:
            self._told("folder", f"{error}; the policy stays as it is")
            return None
        self._told.over("folder")
        there = sorted(filter(progress_of, names), key=_progress, reverse=True)
        self._tell_older(there)
        for name in there:
            if self.current and _progress(name) <= _progress(self.current.manifest.name):
                break
            if name not in self._rejected and (received := self._received(name)):
                self._before, self.current = self.current, received
                self._prune()
                return received
        return None

    def _tell_older(self, there: list[str]) -> None:
        """A learner that lost its newest checkpoints begins behind the robot."""
        if self.current is None or not there:
            return
        own = self.current.manifest.name
        if _progress(there[0]) < _progress(own):
            self._told("older", f"the newest policy there, {there[0]}, is older than {own}")

    def reject(self, why: str) -> ReceivedPolicy | None:
        """The current policy cannot act after all: go back to the one before it, and stay there.

        Returns:
            That one; None if there is none.
        """
        if self.current is not None:
            name = self.current.manifest.name
            self._rejected.add(name)
            self._told(name, f"policy {name} is not used: {why}")
            shutil.rmtree(self.current.checkpoint, ignore_errors=True)
        self.current, self._before = self._before, None
        return self.current

    def _received(self, name: str) -> ReceivedPolicy | None:
        """A copy of a published policy, or None and a line why not."""
        try:
            manifest = read_manifest(self._folder.policies / name)
            self._require_fit(manifest)
            checkpoint = self._copy(manifest)
        except (StoreError, OSError) as error:
            self._told(name, f"policy {name} is not taken, the present one stays: {error}")
            return None
        return ReceivedPolicy(checkpoint, manifest)

    def _require_fit(self, manifest: PolicyManifest) -> None:
        """Raise unless the robot can act with a policy.

        Raises:
            StoreError: it belongs to another run, needs a newer softflow, or other observations,
                actions or lengths.
        """
        if self.current and manifest.run != self.current.manifest.run:
            raise StoreError("it belongs to another run; start the robot anew to follow that one")
        if is_older(softflow_version(), manifest.requires):
            raise StoreError(
                f"it needs softflow {manifest.requires}, this is {softflow_version()}; upgrade it "
                "here (pip install --upgrade softflow)"
            )
        lines = manifest.spec.differences(self._spec)
        if self._chunk is not None and manifest.chunk != self._chunk:
            lines.append(f"decisions: {manifest.chunk} and {self._chunk}")
        if lines:
            raise StoreError(
                f"it was made for another robot (its values first: {'; '.join(lines[:4])})"
            )

    def _copy(self, manifest: PolicyManifest) -> Path:
        """The local copy, each file hashed on the way."""
        final, temp = self._copies / manifest.name, self._copies / f"{_TEMP}{manifest.name}"
        source = self._folder.policies / manifest.name
        shutil.rmtree(temp, ignore_errors=True)
        try:
            for name, facts in manifest.files.items():
                (temp / name).parent.mkdir(parents=True, exist_ok=True)
                if copied(source / name, temp / name, facts.bytes) != facts.sha256:
                    raise StoreError(f"'{source / name}' is torn or altered; waiting for the rest")
            manifest.write(temp)
            shutil.rmtree(final, ignore_errors=True)
            temp.rename(final)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
        return final

    def _newest_copy(self) -> ReceivedPolicy | None:
        """What an earlier process of this robot took last; its loader checks the bytes again."""
        for name in sorted(filter(progress_of, names_in(self._copies)), key=_progress)[::-1]:
            try:
                manifest = read_manifest(self._copies / name)
                self._require_fit(manifest)
            except StoreError as error:
                self._told(name, f"the copy '{self._copies / name}' is not used: {error}")
                continue
            return ReceivedPolicy(self._copies / name, manifest)
        return None

    def _sweep(self) -> None:
        """Remove what a process of this robot was copying when it was killed."""
        for name in names_in(self._copies):
            if name.startswith(_TEMP):
                shutil.rmtree(self._copies / name, ignore_errors=True)

    def _prune(self) -> None:
        """Of the robot's copies the newest stay."""
        names = sorted(filter(progress_of, names_in(self._copies)), key=_progress)
        for name in names[:-KEEP_COPIES]:
            shutil.rmtree(self._copies / name, ignore_errors=True)


def _progress(name: str) -> tuple[int, int]:
    return progress_of(name) or (-1, -1)
