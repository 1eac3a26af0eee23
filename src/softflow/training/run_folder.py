"""A run folder: where the learner is, and everything written about it but episodes.

RUN/run.lock                        held while a process trains here
RUN/checkpoints/, metrics.csv       where the learner is
RUN/nan_dump/                       the networks at the moment when numbers went wrong
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from softflow.data.data_spec import DataSpec
from softflow.data.files.writer_lock import WriterLock
from softflow.errors import NumericalError, StoreError
from softflow.models.checkpoint import (
    CheckpointParts,
    last_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from softflow.models.checkpoint_writer import CheckpointWriter
from softflow.training.config import STAGES, StageName, TrainingConfig
from softflow.training.files.evaluated import protected_checkpoints
from softflow.training.files.progress import DEPLOYED
from softflow.training.learner import Learner
from softflow.training.persistence import (
    CONFIG,
    config_from_json,
    config_to_json,
    learner_parts,
    restore_learner,
)
from softflow.utils.metrics import MetricLogger, read_metrics


@dataclass
class Position:
    """How far a run has come: a stage, and the updates of it that are behind."""

    stage: StageName = "imitation"
    update_step: int = 0

    def is_past(self, stage: StageName) -> bool:
        """Whether the run has already gone on to a later stage."""
        return STAGES.index(self.stage) > STAGES.index(stage)

    def has_done(self, stage: StageName, update: int) -> bool:
        """Whether the first `update` updates of a stage are behind."""
        return self.is_past(stage) or (self.stage == stage and self.update_step >= update)

    @property
    def checkpoint_name(self) -> str:
        """Folder of the checkpoint of this very position; names sort as runs advance."""
        return f"{STAGES.index(self.stage)}_{self.stage}_{self.update_step:08d}"

    def enter(self, stage: StageName) -> None:
        """Go on to a stage, at its update 0; no effect inside it."""
        if STAGES.index(self.stage) < STAGES.index(stage):
            self.stage, self.update_step = stage, 0

    def gaps(self, stages: Sequence[StageName], began_after: StageName | None = None) -> list[str]:
        """In words: which of `stages` will not run again, and which start untrained.

        Networks that came from another run had the stages up to `began_after` there.
        """
        lines: list[str] = []
        behind = [stage for stage in STAGES if stage in stages and self.is_past(stage)]
        if behind:
            lines.append(f"behind this run, not run again: {', '.join(behind)}")
        ahead = [STAGES.index(stage) for stage in stages if not self.is_past(stage)]
        begun = STAGES.index(self.stage) + (self.update_step > 0)
        if began_after:
            begun = max(begun, STAGES.index(began_after) + 1)
        if ahead and (skipped := STAGES[begun : min(ahead)]):
            names = ", ".join(skipped)
            lines.append(f"careful: {STAGES[min(ahead)]} starts without {names}")
        return lines


class RunFolder:
    """Checkpoints and metrics of one run; one process at a time.

    A checkpoint keeps the numbers by which its policy acts: those it was measured with are those it
    is deployed with. Others count from the next update on.

    Attributes:
        facts: what `restore` found beside the networks.
        kept: names of checkpoints that are never pruned, beside those that evaluations refer to.

    Args:
        path: the folder; if it holds a checkpoint, `restore` continues from it.
        keep: the newest checkpoints that stay, beside those that evaluations refer to.

    Raises:
        StoreError: another process trains there, or the folder cannot be written to.
    """

    _found: tuple[Position, TrainingConfig] | None = None

    def __init__(self, path: Path, keep: int = 2) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make the run folder {path}: {error.strerror}; choose another --run"
            ) from error
        self.path, self._keep = path, keep
        self.position = Position()
        self.facts: Mapping[str, Any] = {}
        self.kept: frozenset[str] = frozenset()
        self._lock = WriterLock(path, "run.lock", "run")
        try:
            self.logger = MetricLogger(path)
        except BaseException:
            self._lock.release()
            raise
        self._writer = CheckpointWriter()

    def close(self) -> None:
        """Release files, once the last checkpoint is on the disk; the run can be opened again.

        Raises:
            StoreError: that checkpoint could not be written.
        """
        try:
            self._writer.close()
        finally:
            self.logger.close()
            self._lock.release()

    def restore(self, learner: Learner) -> bool:
        """Bring the learner to where the last checkpoint left it; False if there is none.

        Raises:
            CheckpointError: it is damaged, or of other dimensions.
        """
        checkpoint = last_checkpoint(self.path / "checkpoints")
        if checkpoint is None:
            self._rewind(0)
            return False
        parts, where = read_checkpoint(checkpoint), str(checkpoint)
        there = restore_learner(learner, parts, where)
        self.facts = there
        self.position = Position(there["stage"], there["update_step"])
        config = config_from_json(TrainingConfig, parts.document(CONFIG), where)
        self._found = replace(self.position), config
        self._rewind(there["metric_rows"])
        return True

    def config_here(self, config: TrainingConfig) -> TrainingConfig:
        """A configuration in which the policy of this very position acts as it does already."""
        if self._found is None or self._found[0] != self.position:
            return config
        return replace(config, **{name: getattr(self._found[1], name) for name in DEPLOYED})

    def _rewind(self, metric_rows: int) -> None:
        self.logger.rewind(metric_rows)

    def log(self, values: Mapping[str, float], robot_steps: int) -> None:
        """Rows of metrics.csv for this position."""
        self.logger.log(
            values,
            stage=self.position.stage,
            update_step=self.position.update_step,
            robot_steps=robot_steps,
        )

    def record(self, values: Mapping[str, float], robot_steps: int) -> None:
        """As `log`, but once, also if a killed run comes here again."""
        position = self.position
        there = {
            series.name
            for series in read_metrics(self.path)
            if series.stage == position.stage and position.update_step in series.update_step
        }
        self.log({n: value for n, value in values.items() if n not in there}, robot_steps)

    def logged(self, stage: StageName, name: str) -> list[float]:
        """What a metric was in a stage, in the order of the updates."""
        series = read_metrics(self.path)
        return [float(v) for s in series if (s.stage, s.name) == (stage, name) for v in s.value]

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is still on its way to the disk."""
        return self._writer.busy

    def save(
        self, learner: Learner, spec: DataSpec, facts: Mapping[str, Any], *, wait: bool = True
    ) -> Path:
        """Write a checkpoint of this very position, with these facts beside it.

        Args:
            learner, spec, facts: what it holds.
            wait: until it is on the disk, so that it can be read. Otherwise it is written while
                the learner goes on, and until the next `save` or `close` it may not be there.

        Raises:
            StoreError: this one, or the one before, could not be written.
        """
        name = self.position.checkpoint_name
        there = self._facts() | {"metric_rows": self.logger.position(), **facts}
        root = self.path / "checkpoints"
        parts = learner_parts(learner, spec, there)
        parts.documents[CONFIG] = config_to_json(self.config_here(learner.config))
        # What is kept now, not once it is written: until then an earlier one stays the best.
        write = partial(self._write, root, name, self.kept)
        if wait:
            self._writer.wait()
            write(parts)
        else:
            self._writer.start(parts, write)
        return root / name

    def _write(self, root: Path, name: str, kept: frozenset[str], parts: CheckpointParts) -> None:
        write_checkpoint(root, name, parts)
        prune_checkpoints(root, self._keep, kept | protected_checkpoints(self.path))

    def dump(self, learner: Learner, spec: DataSpec, error: NumericalError) -> NumericalError:
        """Save the learner as it was when numbers went wrong, and say how to see it again."""
        position = self.position
        name = f"{position.stage}_{position.update_step:08d}"
        folder = self.path / "nan_dump"
        self._writer.wait()
        write_checkpoint(folder, name, learner_parts(learner, spec, self._facts()))
        noticed = "at" if learner.watch.tells_at_once else "noticed at"
        return NumericalError(
            f"{error}, {noticed} update {position.update_step} of {position.stage}. The networks "
            f"of that moment are in {folder / name}. Running the same command again replays it "
            "exactly, from the checkpoint before; a lower learning rate or clean data avoids it."
        )

    def _facts(self) -> dict[str, Any]:
        return {"stage": self.position.stage, "update_step": self.position.update_step}


class FollowedFolder(RunFolder):
    """The run folder as the other processes of a run see it: they read, the first one writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = Position()
        self.facts: Mapping[str, Any] = {}

    def close(self) -> None:
        """Nothing is open."""

    def _rewind(self, metric_rows: int) -> None:
        """The first process has done so."""

    def log(self, values: Mapping[str, float], robot_steps: int) -> None:
        """The first process writes them."""

    @property
    def writing(self) -> bool:
        """Never."""
        return False

    def save(
        self, learner: Learner, spec: DataSpec, facts: Mapping[str, Any], *, wait: bool = True
    ) -> Path:
        """Where the first process writes it."""
        return self.path / "checkpoints" / self.position.checkpoint_name

    def dump(self, learner: Learner, spec: DataSpec, error: NumericalError) -> NumericalError:
        """The first process saves the learner, and tells where."""
        return error
