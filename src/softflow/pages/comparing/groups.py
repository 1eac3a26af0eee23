"""Runs that differ in nothing but their seed belong together; what else differs between runs."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softflow.errors import StoreError
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.run_record import CHECKPOINT, PARTS, RunRecord, read_run
from softflow.utils.files import entries_of

SEED = "seed"
BESIDE_THE_RESULT = frozenset(
    {
        "stages",
        "unread_observations",
        "held_out_episodes",
        "num_workers",
        "device",
        "rollout_device",
        "precision",
        "compile",
        "checkpoint_interval_s",
        "keep_checkpoints",
        "eval_episodes",
        "round_eval_episodes",
        "data.prefetch_workers",
        "data.cache_folder",
        "model.encoder.image.weights",
        "model.encoder.image.recompute",
    }
)
"""Settings that may differ between seeds of one group: they do not change what is learned."""
NUM_COLOURS = 8


@dataclass(frozen=True, eq=False)
class RunGroup:
    """Runs of one configuration, each with another seed.

    Args:
        name: what people call it: the folder, or what their names begin with.
        css: its colour on the page.
        runs: in the order in which they were named.
        options: option -> its value in each run, as text.
    """

    name: str
    css: str
    runs: tuple[RunRecord, ...]
    options: tuple[dict[str, str], ...]

    @property
    def seeds(self) -> list[str]:
        """The seed of each run; a dash where it is not known."""
        return [options.get(SEED, "–") for options in self.options]

    @property
    def title(self) -> str:
        """Its name, and how many seeds it has."""
        count = len(self.runs)
        return f"{self.name} ({count} seeds)" if count > 1 else self.name

    def uses(self, option: str) -> bool:
        """Whether an option says something of these runs: of a stage, whether one has had it."""
        stage = option.partition(".")[0]
        return stage not in STAGES or any(stage in run.stages_had() for run in self.runs)

    def value(self, option: str) -> str:
        """An option of all its runs; several values where it does not count."""
        return ", ".join(dict.fromkeys(options.get(option, "–") for options in self.options))


def runs_in(folder: Path) -> list[Path]:
    """The folder itself if it holds a run, else the run folders in it: those of several seeds.

    Raises:
        StoreError: there is no such folder, or it holds other files.
    """
    if not folder.is_dir():
        return [folder]
    if {entry.name for entry in entries_of(folder)} & {*PARTS, CHECKPOINT}:
        return [folder]
    found = [entry for entry in entries_of(folder) if entry.is_dir() and _is_run(entry)]
    return sorted(found, key=_counting) or [folder]


def _started_from(record: RunRecord) -> dict[str, str]:
    """Whose networks a run began with; seeds may each have gone on with the same seed of others."""
    origin = record.history.origin
    if origin is None:
        return {}
    given = origin.given.replace(f"seed{record.config.get(SEED)}", "seed*")
    return {"from": f"{given}, {origin.checkpoint}, {'with' if origin.critic else 'no'} critic"}


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every option as (dotted name, value as text), in full: lists are compared to their end."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _is_run(folder: Path) -> bool:
    return bool({entry.name for entry in entries_of(folder)} & PARTS)


def _counting(path: Path) -> list[tuple[int, str]]:
    """Sorts seed2 before seed10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read_groups(folders: Sequence[Path]) -> list[RunGroup]:
    """The runs of these folders, in groups, in the order in which they were named.

    Raises:
        StoreError: a folder holds no run, or is named twice.
    """
    twice = [f for f, n in Counter(folder.resolve() for folder in folders).items() if n > 1]
    if twice:
        raise StoreError(f"{twice[0]} is named twice; name each run once")
    found: dict[frozenset[tuple[str, str]], list[tuple[RunRecord, dict[str, str]]]] = {}
    for folder in folders:
        record = read_run(folder)
        options = dict(_leaves(record.config)) | _started_from(record)
        ignored = BESIDE_THE_RESULT | {SEED}
        key = frozenset(item for item in options.items() if item[0] not in ignored)
        found.setdefault(key, []).append((record, options))
    names = _names([[record.path for record, _ in runs] for runs in found.values()])
    return [
        RunGroup(name, f"g{index % NUM_COLOURS}", *map(tuple, zip(*runs, strict=True)))
        for index, (name, runs) in enumerate(zip(names, found.values(), strict=True))
    ]


def differing_options(groups: Sequence[RunGroup]) -> list[str]:
    """The options that are not the same in all groups, by name; seeds are not among them."""
    names = dict.fromkeys(name for g in groups for options in g.options for name in options)
    return [
        name
        for name in names
        if name != SEED and len({g.value(name) for g in groups if g.uses(name)}) > 1
    ]


def values_of(groups: Sequence[RunGroup], name: str) -> list[str]:
    """An option in every group; a dash for those that never had its stage."""
    return [group.value(name) if group.uses(name) else "–" for group in groups]


def _names(groups: Sequence[Sequence[Path]]) -> list[str]:
    """A name for each group, no two alike."""
    places = [[path.resolve() for path in paths] for paths in groups]
    root = Path(os.path.commonpath([path.parent for paths in places for path in paths]))
    names = [_name([path.relative_to(root) for path in paths], root) for paths in places]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} · {number}" for number, name in enumerate(names, 1)
    ]


def _name(paths: Iterable[Path], root: Path) -> str:
    """A run's folder; of several runs what the names of their folders begin with."""
    names = [str(path) for path in paths]
    if len(names) == 1:
        return names[0]
    first, last = min(names), max(names)
    letters = zip(first, last, strict=False)
    shared = first[: next((i for i, (a, b) in enumerate(letters) if a != b), len(first))]
    return re.sub(r"[/_.-]*(seeds?)?[/_.=-]*\d*$", "", shared) or root.name or "runs"
