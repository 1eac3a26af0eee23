"""The episodes that a run has collected, as its report shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.measures import EpisodeFacts
from softflow.errors import SoftflowError
from softflow.pages.robot.loops import Loops, loops_of


@dataclass(frozen=True)
class Rollouts:
    """The episodes in `online/`, in the order in which the robot made them.

    `length` [N]; `loops` says how a robot's loop went, where one recorded them.
    """

    spec: DataSpec
    length: np.ndarray
    facts: tuple[EpisodeFacts, ...]
    loops: Loops | None = None


def read_rollouts(path: Path, problems: list[str]) -> Rollouts | None:
    """The episodes of a run's online store; what is wrong with it is told in `problems`."""
    if not path.exists():
        return None
    try:
        with EpisodeStore.open(path) as store:
            summaries = store.summaries()
            facts = tuple(map(EpisodeFacts.of, summaries))
    except SoftflowError as error:
        problems.append(str(error))
        return None
    length = np.array([summary.length for summary in summaries], dtype=np.int64)
    return Rollouts(store.spec, length, facts, loops_of(summaries))
