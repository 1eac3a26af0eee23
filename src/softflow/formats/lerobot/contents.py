"""Every column, camera and label of a LeRobot dataset: what becomes of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from softflow.errors import DataError
from softflow.formats.contents import Part
from softflow.formats.lerobot.layout import Feature, Layout
from softflow.formats.lerobot.opening import damage_named, opened_table
from softflow.formats.lerobot.outcome import OUTCOMES
from softflow.formats.lerobot.selection import BOOKKEEPING, Selection

LISTED = {
    "episode_index": "its name",
    "length": "its length",
    "tasks": "metadata task",
    "success": "success, without next.success",
}
TRUTHS = ("bool", "int", "uint", "float", "double")
"""How kinds of values begin that may say yes or no."""
PLACES = ("data/", "videos/", "meta/", "dataset_")
"""How columns of the list of episodes begin that say where an episode lies."""
STATISTICS = "stats/"
NOT_IN_INFO = "meta/info.json has no such feature; add it there to take it"


def contents_of(layout: Layout, selection: Selection, table: Path) -> list[Part]:
    """The parts of a dataset, with the columns of one of its tables."""
    becomes = selection.becomes() | dict.fromkeys(BOOKKEEPING, "order, time and task")
    becomes |= dict.fromkeys(OUTCOMES, "reward, success and end")
    parts = [
        Part(name, feature.shape, feature.dtype, becomes.get(name, ""), "")
        if name in becomes
        else Part(name, feature.shape, feature.dtype, why=_why_not(name, feature))
        for name, feature in layout.features.items()
    ]
    # A damaged table is told of when its episodes are read.
    with suppress(DataError), damage_named(table), opened_table(table) as file:
        for column in file.schema_arrow:
            if column.name not in layout.features:
                used = becomes.get(column.name, "") if column.name in BOOKKEEPING else ""
                why = "" if used else NOT_IN_INFO
                parts.append(Part(column.name, _shape(column.type), str(column.type), used, why))
    for name, kind in layout.list_columns().items():
        if name == "success" and not kind.startswith(TRUTHS):
            parts.append(Part(f"meta/episodes {name}", None, kind, why="no truth value"))
        elif name.startswith(PLACES) or name in LISTED:
            parts.append(Part(f"meta/episodes {name}", None, kind, LISTED.get(name, "its place")))
        elif not name.startswith(STATISTICS):
            why = "a label that nobody here knows"
            parts.append(Part(f"meta/episodes {name}", None, kind, why=why))
    return parts


def _why_not(name: str, feature: Feature) -> str:
    if feature.is_depth:
        return "depth, which the store's cameras (8-bit colour) cannot keep"
    if feature.is_camera:
        return f"--cameras {name} … takes it"
    if feature.is_numbers:
        return f"--state-keys {name} … takes it"
    return "neither numbers nor pictures"


def _shape(kind: pa.DataType) -> tuple[int, ...]:
    return (kind.list_size,) if pa.types.is_fixed_size_list(kind) else ()
