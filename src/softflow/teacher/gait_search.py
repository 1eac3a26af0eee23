"""Gaits found in two steps: simple gaits about many grasps, then the cross-entropy method.

Which grasp a gait is about decides more than its numbers: of 24 grasps, simple gaits (all fingers
alike) turn some cubes steadily and others not at all. The best of them is where the cross-entropy
method begins: try many gaits around it, keep the best, draw the next around those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.errors import ConfigError
from softflow.teacher.gait import GaitShape
from softflow.teacher.gait_scoring import YAWS, score_gaits


@dataclass(frozen=True)
class GaitSearchConfig:
    """The numbers of a search.

    Args:
        scouted_grasps: about how many grasps simple gaits are tried.
        scouted_gaits: how many about each.
        scouting_s: how long a simple gait is tried.
        population: gaits tried in a generation.
        elite: how many of them the next generation is drawn around.
        generations: how often.
        trial_s: how long a gait is tried.
        fastest_rad_s: rotation beyond that earns nothing: faster flings.
        keep: share of the old mean and deviation that stays.
        least_spread: share of the first deviation below which the search does not narrow.

    Raises:
        ConfigError: a number makes no search.
    """

    scouted_grasps: int = 24
    scouted_gaits: int = 20
    scouting_s: float = 6.0
    population: int = 32
    elite: int = 8
    generations: int = 30
    trial_s: float = 12.0
    fastest_rad_s: float = 1.0
    keep: float = 0.25
    least_spread: float = 0.06

    def __post_init__(self) -> None:
        if not 1 < self.elite < self.population or self.generations < 1 or self.trial_s <= 0:
            raise ConfigError(
                f"a search of {self.generations} generations of {self.population} gaits, "
                f"{self.elite} kept, for {self.trial_s} s each; give 1 < elite < population, and "
                "positive numbers"
            )
        if min(self.scouted_grasps, self.scouted_gaits) < 1 or self.scouting_s <= 0:
            raise ConfigError(
                f"a search that begins with {self.scouted_gaits} gaits about "
                f"{self.scouted_grasps} grasps for {self.scouting_s} s; give 1 or more of each, "
                "and a time"
            )


@dataclass(frozen=True)
class FoundGait:
    """A gait and how well it did.

    Args:
        numbers: [size].
        grasp: the one it is about, a number in the cache.
        direction: +1 or -1.
        score: of the best gait of the last generation.
    """

    numbers: np.ndarray
    grasp: int
    direction: int
    score: float


@dataclass(frozen=True)
class SearchState:
    """Where a search is: the next generation is drawn around it.

    Args:
        generation: how many are behind; 0 after scouting.
        grasp: the one that its gaits are about.
        mean, deviation: [size], of the next gaits.
        champion: [size], the best gait of the last generation; top: its score.
    """

    generation: int
    grasp: int
    mean: np.ndarray
    deviation: np.ndarray
    champion: np.ndarray
    top: float


Make = Callable[[int], BatchedHand]
"""Makes hands for so many trials."""
Told = Callable[[SearchState, float], None]
"""Hears of scouting and every generation: where the search is, the mean score of what was kept."""
Scouted = Callable[[int, float], None]
"""Hears about how many grasps simple gaits were tried, and the best score so far."""


def search_gait(
    make: Make,
    config: GaitSearchConfig,
    direction: int,
    seed: int,
    told: Told = lambda state, mean: None,
    begun: SearchState | None = None,
    scouted: Scouted = lambda grasps, best: None,
) -> FoundGait:
    """The gait that a search ends with.

    Args:
        make: hands for the trials.
        config: numbers of the search.
        direction: +1 or -1.
        seed: of its gaits.
        told: hears how it goes.
        begun: where a search of the same numbers was stopped.
        scouted: hears how the scouting goes.
    """
    state = begun
    if state is None:
        rng = np.random.default_rng([seed, 2 + direction])
        state = scout(make, config, direction, rng, scouted)
        told(state, state.top)
    hand = make(config.population * YAWS)
    while state.generation < config.generations:
        rng = np.random.default_rng([seed, 2 + direction, state.generation])
        state, mean = _generation(hand, config, direction, rng, state)
        told(state, mean)
    return FoundGait(state.champion, state.grasp, direction, state.top)


def scout(
    make: Make,
    config: GaitSearchConfig,
    direction: int,
    rng: np.random.Generator,
    scouted: Scouted = lambda grasps, best: None,
) -> SearchState:
    """Where the cross-entropy method begins: the best simple gait, and its grasp."""
    hand = make(config.scouted_gaits * YAWS)
    shape = gait_shape(hand)
    grasps = min(config.scouted_grasps, len(hand.grasps))
    best, about, top = np.zeros(shape.size), 0, -np.inf
    for tried, grasp in enumerate(rng.choice(len(hand.grasps), grasps, replace=False), 1):
        numbers = shape.simple_gaits(rng, config.scouted_gaits)
        given = (int(grasp), direction, config.scouting_s, config.fastest_rad_s)
        scores = score_gaits(hand, numbers, *given)
        if scores.max() > top:
            best, about, top = numbers[scores.argmax()], int(grasp), float(scores.max())
        scouted(tried, top)
    return SearchState(0, about, best, shape.spread(), best, top)


def _generation(
    hand: BatchedHand,
    config: GaitSearchConfig,
    direction: int,
    rng: np.random.Generator,
    state: SearchState,
) -> tuple[SearchState, float]:
    """Draw gaits, try them, keep the best; the mean and the champion are tried again."""
    numbers = rng.normal(state.mean, state.deviation, (config.population, len(state.mean)))
    numbers[0], numbers[1] = state.mean, state.champion
    given = (state.grasp, direction, config.trial_s, config.fastest_rad_s)
    scores = score_gaits(hand, numbers, *given)
    order = np.argsort(scores)[::-1]
    elite = numbers[order[: config.elite]]
    mean = config.keep * state.mean + (1 - config.keep) * elite.mean(0)
    fresh = config.keep * state.deviation + (1 - config.keep) * elite.std(0)
    deviation = np.maximum(fresh, config.least_spread * gait_shape(hand).spread())
    champion, top = numbers[order[0]], float(scores[order[0]])
    after = SearchState(state.generation + 1, state.grasp, mean, deviation, champion, top)
    return after, float(scores[order[: config.elite]].mean())


def gait_shape(hand: BatchedHand) -> GaitShape:
    """How gaits of this hand are laid out."""
    description = hand.scene.hand.description
    moved = hand.scene.num_joints - len(description.held_joints)
    return GaitShape(len(description.fingers), moved)
