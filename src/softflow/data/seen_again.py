"""What was found when a recording was seen again in a simulator: the metadata "seen_again".

`softflow data render` tries recorded actions from the recorded states. Where a step ends far from
the next recorded one, the actions meant something else than they mean in that simulator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from softflow.data.files.episode_file import EpisodeSummary
from softflow.data.metadata import metadata_value

KEY = "seen_again"
MOST_MISSED = 0.5
"""Of the gripper's way in a step: where steps end farther off, actions mean something else."""


def seen_again(largest_errors: dict[str, float], missed_m: float, moved_m: float) -> dict[str, Any]:
    """The metadata of an episode.

    Args:
        largest_errors: part of the state -> how far it was from what was recorded.
        missed_m: how far tried steps ended from the next recorded position, mean.
        moved_m: how far the gripper had moved, mean.
    """
    steps = {"missed_m": missed_m, "moved_m": moved_m}
    return {KEY: {"largest_errors": largest_errors, **(steps if moved_m >= 0 else {})}}


def are_others(missed_m: float, moved_m: float) -> bool:
    """Whether steps show that the actions were another controller's."""
    return missed_m > MOST_MISSED * moved_m


def foreign_actions(summaries: Iterable[EpisodeSummary]) -> str:
    """What to tell of episodes whose actions mean something else than in their environment.

    Returns:
        A sentence, or "" where nothing of that kind is known.

    Raises:
        DataError: metadata hold something else under that key.
    """
    missed, moved = [], []
    for summary in summaries:
        found = metadata_value(
            summary.metadata, KEY, dict[str, Any], {}, f"episode {summary.index}"
        )
        steps = [found.get(name) for name in ("missed_m", "moved_m")]
        known = [float(m) for m in steps if isinstance(m, int | float) and math.isfinite(m)]
        if len(known) == len(steps):
            missed.append(known[0])
            moved.append(known[1])
    if not missed or not are_others(sum(missed) / len(missed), sum(moved) / len(moved)):
        return ""
    return (
        f"the actions of {len(missed)} episodes were another controller's: tried in the simulator, "
        f"a step ended {1000 * sum(missed) / len(missed):.2g} mm from the recorded one, the "
        f"gripper having moved {1000 * sum(moved) / len(moved):.2g} mm (means). A policy that "
        "learns them does something else there; use their observations only"
    )
