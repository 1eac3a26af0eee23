"""Which checkpoints of a run were evaluated, which is best, and which must stay."""

from __future__ import annotations

from pathlib import Path

from softflow.data.measures import measures_of
from softflow.errors import CheckpointError, DataError
from softflow.models.checkpoint import MANIFEST
from softflow.utils.files import is_there, read_object


def best_evaluated(run: Path) -> Path | None:
    """The checkpoint with the best first measure in evaluations/; of equals the later one.

    Raises:
        CheckpointError, StoreError: an evaluation is damaged.
    """
    there = _checkpoints(run)
    found: list[tuple[float, str]] = []
    for file in sorted((run / "evaluations").glob("*.json")):
        result = read_object(file)
        try:
            name, value = str(result.get("policy_version")), measures_of(result)[0].value
        except DataError as error:
            raise CheckpointError(f"'{file}' is damaged: {error}; delete it") from error
        if value is not None and name in there:
            found.append((value, name))
    return there[max(found)[1]] if found else None


def best_held_out(run: Path) -> Path | None:
    """The checkpoint of imitation that fits held-out demonstrations best, if it is there.

    Raises:
        StoreError: held_out.json is damaged.
    """
    file = run / "held_out.json"
    best = read_object(file).get("best") if is_there(file) else None
    name = best.get("checkpoint") if isinstance(best, dict) else None
    return _checkpoints(run).get(name) if isinstance(name, str) else None


def _checkpoints(run: Path) -> dict[str, Path]:
    """Those of a run that are written to their end, by their names."""
    return {file.parent.name: file.parent for file in run.glob(f"checkpoints/[!.]*/{MANIFEST}")}


def protected_checkpoints(run: Path) -> frozenset[str]:
    """Names of those that are never removed: at the ends of stages, and the best one.

    Raises:
        CheckpointError, StoreError: an evaluation is damaged.
    """
    ends = (f for f in (run / "evaluations").glob("*.json") if "_round_" not in f.stem)
    names = {read_object(file).get("policy_version") for file in ends}
    best = best_evaluated(run)
    return frozenset(n for n in {*names, best.name if best else None} if isinstance(n, str))
