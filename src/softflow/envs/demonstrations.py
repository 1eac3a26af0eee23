"""Collect demonstrations into an episode store, in parallel processes, reproducibly.

Episode number i is a pure function of (environment, mixture, seed, i). Hence any number of worker
processes gives the same store, and a collection that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore, EpisodeSummary
from softflow.data.metadata import metadata_value
from softflow.envs.contract import RobotEnv, data_spec
from softflow.envs.operators import AnyOperator, OperatorMixture
from softflow.envs.registry import (
    OGBENCH_FAMILIES,
    family_of,
    make_env,
    require_known_env,
)
from softflow.envs.robomimic import ROBOMIMIC_FAMILIES
from softflow.errors import ConfigError, DataError
from softflow.utils.worker_pool import WorkerPool

ProgressCallback = Callable[[int, int, int], None]
"""Called with (episodes in the store, episodes wanted, successes so far)."""


_DEMONSTRATORS = {
    **dict.fromkeys(OGBENCH_FAMILIES, "softflow.envs.ogbench.demonstrators"),
    **dict.fromkeys(ROBOMIMIC_FAMILIES, "softflow.envs.robomimic.demonstrators"),
}
"""Family -> the module with its operators, which needs the simulator's packages."""


class Demonstrators(Protocol):
    """What the module with a family's operators has."""

    def operator_mixture(self, env_id: str) -> OperatorMixture:
        """Who demonstrates a task unless told otherwise."""
        ...

    def other_operators(self, env_id: str) -> Sequence[AnyOperator]:
        """Who demonstrates it only if asked to."""
        ...

    def demonstrate(self, env: Any, operator: Any, rng: np.random.Generator) -> Episode:
        """One episode by one operator, a pure function of the arguments."""
        ...


def demonstrators_of(env_id: str) -> Demonstrators:
    """The operators of a task.

    Raises:
        ConfigError: unknown environment, or one that nobody demonstrates.
    """
    require_known_env(env_id)
    module = _DEMONSTRATORS.get(family_of(env_id))
    if module is None:
        raise ConfigError(
            f"nobody demonstrates {env_id!r}; scripted operators know {', '.join(_DEMONSTRATORS)}"
        )
    return importlib.import_module(module)  # type: ignore[return-value]


def only_operator(env_id: str, name: str) -> OperatorMixture:
    """One of a task's operators, who then demonstrates alone.

    Raises:
        ConfigError: unknown environment, one that nobody demonstrates, or no such operator.
    """
    family = demonstrators_of(env_id)
    people = (*family.operator_mixture(env_id).operators, *family.other_operators(env_id))
    for person in people:
        if person.name == name:
            return OperatorMixture((person,), (1.0,))
    raise ConfigError(
        f"nobody called {name!r} demonstrates {env_id!r}; there are "
        f"{', '.join(person.name for person in people)}"
    )


@dataclass(frozen=True)
class OperatorTally:
    """What one operator contributed to a store."""

    operator: str
    episodes: int
    successes: int
    mean_success_length: float
    """Control steps of its successful episodes; NaN without any."""


@dataclass(frozen=True)
class _Collection:
    """What determines every episode of a collection."""

    env_id: str
    seed: int
    mixture: OperatorMixture
    image_size: tuple[int, int] | None

    def identity(self) -> dict[str, Any]:
        """What an episode's metadata says about the collection it belongs to."""
        recipe = json.dumps(asdict(self.mixture), sort_keys=True)
        digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        return {"env_id": self.env_id, "seed": self.seed, "mixture": digest}

    def make_env(self) -> RobotEnv:
        return make_env(self.env_id, image_size=self.image_size)

    def episode(self, env: RobotEnv, index: int) -> Episode:
        rng = np.random.default_rng([self.seed, index])
        operator: AnyOperator = self.mixture.draw(rng)
        episode = demonstrators_of(self.env_id).demonstrate(env, operator, rng)
        episode.metadata["collection"] = {**self.identity(), "index": index}
        return episode


def collect_demonstrations(
    env_id: str,
    num_episodes: int,
    seed: int,
    store_path: str | os.PathLike[str],
    *,
    mixture: OperatorMixture | None = None,
    num_workers: int = 1,
    image_size: tuple[int, int] | None = None,
    on_progress: ProgressCallback | None = None,
) -> tuple[OperatorTally, ...]:
    """Fill a store with `num_episodes` demonstrations; episodes already in it are kept.

    `mixture` defaults to the family's own (`operator_mixture` beside its operators). With
    `num_workers` > 1 episodes run in that many fresh processes (call it under
    `if __name__ == "__main__"`); the store stays the same. Returns one tally per operator. Raises
    ConfigError for unusable arguments and DataError when the store holds episodes of another
    collection.
    """
    if num_episodes < 1 or num_workers < 1 or seed < 0:
        raise ConfigError(
            f"num_episodes {num_episodes} and num_workers {num_workers} must be >= 1, "
            f"seed {seed} >= 0"
        )
    demonstrators = demonstrators_of(env_id)
    mixture = mixture or demonstrators.operator_mixture(env_id)
    collection = _Collection(env_id, seed, mixture, image_size)
    if _missing_before_start(Path(store_path), collection, num_episodes):
        with (
            _episode_source(collection, num_workers) as (spec, episodes),
            EpisodeStore.open_or_create(store_path, spec) as store,
        ):
            missing = _missing(store, collection, num_episodes)
            successes = sum(summary.success for summary in store.summaries())
            for done, episode in enumerate(episodes(missing), num_episodes - len(missing) + 1):
                store.append(episode)
                successes += episode.success
                if on_progress is not None:
                    on_progress(done, num_episodes, successes)
    return tally_operators(EpisodeStore.open(store_path).summaries())


def tally_operators(summaries: Sequence[EpisodeSummary]) -> tuple[OperatorTally, ...]:
    """Episodes, successes and mean successful length per operator, sorted by name."""
    by_operator: dict[str, list[EpisodeSummary]] = {}
    for summary in summaries:
        by_operator.setdefault(str(summary.metadata.get("operator", "?")), []).append(summary)
    tallies = []
    for name, episodes in sorted(by_operator.items()):
        lengths = [episode.length for episode in episodes if episode.success]
        mean_length = float(np.mean(lengths)) if lengths else float("nan")
        tallies.append(OperatorTally(name, len(episodes), len(lengths), mean_length))
    return tuple(tallies)


def _missing_before_start(path: Path, collection: _Collection, num_episodes: int) -> list[int]:
    """As `_missing`, for a store that may not exist yet: no simulator starts for a full one."""
    if not (path / "store.json").exists():
        return list(range(num_episodes))
    return _missing(EpisodeStore.open(path), collection, num_episodes)


def _missing(store: EpisodeStore, collection: _Collection, num_episodes: int) -> list[int]:
    """Indices of the episodes that are still to be recorded, ascending."""
    present = set()
    for summary in store.summaries():
        where = f"episode {summary.index} of '{store.path}'"
        kind = dict[str, int | str]
        found = dict(metadata_value(summary.metadata, "collection", kind, {}, where))
        index = found.pop("index", None)
        if found != collection.identity():
            raise DataError(
                f"episode {summary.index} of the store '{store.path}' belongs to the collection "
                f"{found or 'none'}, not to {collection.identity()}; choose another folder, or the "
                "same environment, seed and operators to go on with this one"
            )
        present.add(index)
    return [index for index in range(num_episodes) if index not in present]


EpisodeSource = Callable[[Sequence[int]], Iterator[Episode]]


@contextmanager
def _episode_source(
    collection: _Collection, num_workers: int
) -> Iterator[tuple[DataSpec, EpisodeSource]]:
    """What the episodes will hold, and a function that makes those of given indices in order."""
    if num_workers == 1:
        env = collection.make_env()
        try:
            yield (
                data_spec(env, collection.env_id),
                lambda indices: (collection.episode(env, index) for index in indices),
            )
        finally:
            env.close()
        return
    with WorkerPool(num_workers, _remember, (collection,)) as pool:
        spec = next(pool.map(_worker_spec, [0]))
        yield spec, lambda indices: pool.map(_worker_episode, indices)


_collection: _Collection | None = None
_env: RobotEnv | None = None


def _remember(collection: _Collection) -> None:
    global _collection
    _collection = collection


def _workplace() -> tuple[_Collection, RobotEnv]:
    """This worker's collection and environment, made at first use: errors then reach the parent."""
    global _env
    if _collection is None:
        raise RuntimeError("not in a worker process")
    if _env is None:
        _env = _collection.make_env()
    return _collection, _env


def _worker_spec(_: int) -> DataSpec:
    collection, env = _workplace()
    return data_spec(env, collection.env_id)


def _worker_episode(index: int) -> Episode:
    collection, env = _workplace()
    return collection.episode(env, index)
