"""A teacher on the disk: what it is of, its gaits, its policy, and what training continues from.

RUN/teacher.json             the configuration, the hand, the gaits, how far training is
RUN/grasps.npz               where cubes begin; only for hands or grasps of the user's own
RUN/state.safetensors        networks and optimiser
RUN/best_actor.safetensors   the policy of the best evaluation
RUN/metrics.csv, evaluations.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from softflow.envs.orca_cube.grasps import DEFAULT_CACHE, read_grasps, write_grasps
from softflow.errors import CheckpointError, ConfigError, StoreError, brief
from softflow.models.tensor_file import write_tensors
from softflow.teacher.config import TeacherConfig
from softflow.teacher.gait_search import FoundGait, SearchState
from softflow.teacher.hand_choice import HandChoice, described_hand
from softflow.utils.documents import checked
from softflow.utils.files import is_there
from softflow.utils.sealed_json import read_sealed, write_sealed

FACTS, STATE, BEST = "teacher.json", "state.safetensors", "best_actor.safetensors"
GRASPS = "grasps.npz"


@dataclass(frozen=True)
class StoredGait:
    """A `FoundGait` as JSON holds it."""

    numbers: list[float]
    grasp: int
    direction: int
    score: float


@dataclass(frozen=True)
class StoredSearch:
    """A `SearchState` as JSON holds it, and the direction it searches."""

    direction: int
    generation: int
    grasp: int
    mean: list[float]
    deviation: list[float]
    champion: list[float]
    top: float

    @property
    def state(self) -> SearchState:
        """Ready to go on from."""
        mean, deviation, champion = map(np.array, (self.mean, self.deviation, self.champion))
        return SearchState(self.generation, self.grasp, mean, deviation, champion, self.top)


@dataclass(frozen=True)
class TeacherFacts:
    """What a teacher's folder says of it.

    Args:
        config: how it is trained.
        seed: of everything random.
        fingerprint: of the hand; hand: the name of its description, empty for the ORCA hand.
        observation_dim, num_actions: of its policy.
        gaits: found so far; search: the one that is under way.
        iteration: of PPO, that state.safetensors is of; metric_rows: of metrics.csv by then.
        best: score of best_actor.safetensors.
        evaluations: iteration and measures of each.
    """

    config: TeacherConfig
    seed: int
    fingerprint: str
    observation_dim: int = 0
    num_actions: int = 0
    gaits: list[StoredGait] = field(default_factory=list)
    search: StoredSearch | None = None
    iteration: int = 0
    metric_rows: int = 0
    best: float | None = None
    evaluations: list[dict[str, float]] = field(default_factory=list)
    hand: str = ""

    @property
    def found_gaits(self) -> list[FoundGait]:
        """The gaits, ready for use."""
        return [FoundGait(np.array(g.numbers), g.grasp, g.direction, g.score) for g in self.gaits]


def stored_search(direction: int, state: SearchState) -> StoredSearch:
    """A search as JSON holds it."""
    parts = (state.mean, state.deviation, state.champion)
    mean, deviation, champion = (part.tolist() for part in parts)
    return StoredSearch(
        direction, state.generation, state.grasp, mean, deviation, champion, state.top
    )


def stored_gait(gait: FoundGait) -> StoredGait:
    """A gait as JSON holds it."""
    return StoredGait(gait.numbers.tolist(), gait.grasp, gait.direction, gait.score)


def write_facts(run: Path, facts: TeacherFacts) -> None:
    """Write what a folder says of its teacher.

    Raises:
        StoreError: the system refused.
    """
    write_sealed(run / FACTS, asdict(facts))


def read_facts(run: Path) -> TeacherFacts:
    """What a folder says of its teacher.

    Raises:
        StoreError: it is missing or damaged.
    """
    path = run / FACTS
    if not is_there(path):
        raise StoreError(
            f"'{run}' holds no teacher ({FACTS} is missing); train one: softflow teacher train "
            f"two-cores --run {run}"
        )
    value, _ = read_sealed(path)
    return checked(value, TeacherFacts, f"'{path}'", "restore it from a copy, or train anew")


def has_teacher(run: Path) -> bool:
    """Whether training began there."""
    return is_there(run / FACTS)


def keep_grasps(run: Path, hand: HandChoice) -> HandChoice:
    """The same hand with its grasps kept in the folder; softflow's own stay where they are.

    Raises:
        StoreError: the grasps cannot be read or written.
    """
    if hand.grasps == DEFAULT_CACHE:
        return hand
    write_grasps(run / GRASPS, read_grasps(hand.grasps))
    return replace(hand, grasps=run / GRASPS)


def hand_of(run: Path, facts: TeacherFacts) -> HandChoice:
    """The hand that a folder's teacher moves.

    Raises:
        UntrustedImportError: it is one of the user's own, whose name only the folder says.
        ConfigError: there is no such description.
    """
    kept = run / GRASPS
    grasps = kept if is_there(kept) else DEFAULT_CACHE
    return HandChoice(facts.hand, described_hand(facts.hand), grasps)


def write_weights(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors, whole or not at all."""
    write_tensors(path, tensors)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read named tensors.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except Exception as error:  # the library raises what it likes
        raise CheckpointError(
            f"'{path}' cannot be read ({brief(error)}); restore it from a copy, or train anew"
        ) from error


def require_same(
    facts: TeacherFacts, config: TeacherConfig, seed: int, hand: str, run: Path
) -> None:
    """Raise unless a folder's training was begun with these numbers (iterations may differ).

    Raises:
        ConfigError: it was not.
    """
    ours, theirs = (_without_lengths(asdict(c)) for c in (config, facts.config))
    ours, theirs = ours | {"seed": seed, "hand": hand}, theirs | {"seed": facts.seed}
    theirs |= {"hand": facts.hand}
    if changed := [name for name in ours if ours[name] != theirs[name]]:
        raise ConfigError(
            f"'{run}' was begun with another {changed[0]}: continue with the same words, or choose "
            "another --run"
        )


def _without_lengths(config: dict[str, Any]) -> dict[str, Any]:
    ppo = {key: value for key, value in config["ppo"].items() if key != "iterations"}
    rest = {key: value for key, value in config.items() if key != "evaluate_every"}
    # JSON has lists where dataclasses have tuples.
    return _lists({**rest, "ppo": ppo})


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(inner) for key, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, list | tuple) else value
