"""Operators: scripted people who demonstrate OGBench manipulation tasks, some better than others.

An operator drives one of the oracles inside the `ogbench` package (planned trajectories, or a
reactive rule) in the very environment that the policy will act in. What makes a demonstration
mediocre is what people do wrong, not its label: they are slow, they stop to think, they aim beside
the object, their hand shakes, they let go on the way, and after a failed attempt they try again
until the time is up. `operator_mixture` states how often each operator demonstrates; its success
rate is near the 59 % of the SOFT-FLOW paper (71 of 121 demonstrations, section V-B).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from softflow.data.episode import Episode
from softflow.envs.ogbench.subgoals import Subgoal, next_subgoal
from softflow.envs.ogbench.tasks import OGBenchManipulation
from softflow.envs.operators import AnyOperator, OperatorMixture, perform
from softflow.envs.seeding import seeded_global_numpy
from softflow.errors import ConfigError

MAX_ATTEMPT_S = 8.0
"""A reactive operator who has not got there by then looks again and starts over."""
NOTICE_S = 0.3
"""How long a reactive operator's hand is shut on nothing before they see it and start over."""
HAND_SHUT, HAND_OPEN = 0.9, 0.1
"""OGBench's gripper opening exceeds the first with nothing in between; a cube stops it at 0.56."""
OPEN_AND_RISE = np.array([0.0, 0.0, 1.0, 0.0, -1.0])
ORACLE_MODULE = "ogbench.manipspace.oracles"


@dataclass(frozen=True)
class Operator(AnyOperator):
    """How one operator demonstrates OGBench's tasks.

    Args:
        oracle: `plan` follows a planned trajectory with its eyes closed until it ends; `markov`
            reacts to what it sees in every step.
        pace: plan: seconds per trajectory segment; markov: fraction of full arm speed.
    """

    oracle: Literal["plan", "markov"]

    def __post_init__(self) -> None:
        if self.oracle not in ("plan", "markov"):
            raise ConfigError(f"operator {self.name!r}: oracle is {self.oracle!r}; plan or markov")
        super().__post_init__()
        if self.pace[0] <= 0.0 or (self.oracle == "markov" and self.pace[1] > 1.0):
            raise ConfigError(
                f"operator {self.name!r}: pace {self.pace}; give seconds (plan) or a "
                "fraction of full speed (markov)"
            )

    def adapted(self, errors: float, slowness: float) -> Operator:
        """The same operator with all errors and the slowness multiplied by a factor each."""
        factor = slowness if self.oracle == "plan" else 1.0 / slowness
        pace = (self.pace[0] * factor, self.pace[1] * factor)
        return replace(self.erring(errors), pace=pace)


_STEADY = Operator(
    "steady", "plan", pace=(1.05, 1.35), noise_std=(0.03, 0.08),
    aim_std_m=0.004, place_std_m=0.008, slips_per_s=0.01,
)  # fmt: skip
_HESITANT = Operator(
    "hesitant", "markov", pace=(0.45, 0.65), noise_std=(0.03, 0.08),
    aim_std_m=0.015, place_std_m=0.008, slips_per_s=0.01, pauses_per_s=0.35, pause_s=(0.5, 2.0),
)  # fmt: skip
_SLOW = Operator(
    "slow", "markov", pace=(0.17, 0.27), noise_std=(0.03, 0.08),
    aim_std_m=0.004, place_std_m=0.008, slips_per_s=0.01,
)  # fmt: skip
_CARELESS = Operator(
    "careless", "markov", pace=(0.25, 0.4), noise_std=(0.1, 0.2),
    aim_std_m=0.018, place_std_m=0.03, slips_per_s=0.1,
)  # fmt: skip
_SWIFT = Operator(
    "swift", "markov", pace=(0.75, 0.95), noise_std=(0.03, 0.08),
    aim_std_m=0.004, place_std_m=0.008, slips_per_s=0.01,
)  # fmt: skip


# What a family asks of its operators beside cube-single: (error factor, slowness factor). Scenes
# leave much time, puzzles little, and two cubes double the chances to fail.
_FAMILY_DEMANDS = {
    "cube-single": (1.0, 1.0),
    "cube-double": (0.85, 1.0),
    "scene": (1.4, 0.95),
    "puzzle-3x3": (0.85, 0.67),
}


def operator_mixture(env_id: str) -> OperatorMixture:
    """The mixture that demonstrates a task unless told otherwise: four people, equally often.

    Successes measured on the default tasks, seed 0: cube-single 70 of 120 (58 %), cube-double 24 of
    40 (60 %), scene 25 of 40 (62 %), puzzle-3x3 23 of 40 (58 %). Lengths of the successes, median
    in control steps: 175, 365, 609, 370; the fastest oracle needs about 44, 107, 155, 140.
    """
    errors, slowness = _FAMILY_DEMANDS.get(env_id.split("-task")[0], (1.0, 1.0))
    operators = (_STEADY, _HESITANT, _SLOW, _CARELESS)
    adapted = tuple(operator.adapted(errors, slowness) for operator in operators)
    return OperatorMixture(adapted, weights=(0.25, 0.25, 0.25, 0.25))


def other_operators(env_id: str) -> tuple[Operator, ...]:
    """Who demonstrates a task only if asked to: `swift`, who has done it for years.

    On cube-single, seed 5: 20 of 20 succeed, in a median of 46 control steps.
    """
    errors, _ = _FAMILY_DEMANDS.get(env_id.split("-task")[0], (1.0, 1.0))
    return (_SWIFT.adapted(errors, 1.0),)


class _Attempt:
    """One try at one sub-goal: an oracle, and what the operator wrongly believes meanwhile."""

    def __init__(
        self,
        env: OGBenchManipulation,
        operator: Operator,
        pace: float,
        subgoal: Subgoal,
        rng: np.random.Generator,
    ) -> None:
        self._subgoal, self._pace, self._reactive = subgoal, pace, operator.oracle == "markov"
        self._aim_error = rng.normal(0.0, operator.aim_std_m, 3)
        self._aim_error[2] = abs(self._aim_error[2]) if subgoal.kind == "cube" else 0.0
        self._place_error = np.array([*rng.normal(0.0, operator.place_std_m, 2), 0.0])
        self._oracle = _make_oracle(env, operator.oracle, subgoal.kind, pace)
        self._steps_left = round(MAX_ATTEMPT_S * env.control_hz)
        self._notice_steps = round(NOTICE_S * env.control_hz)
        self._empty_steps = 0
        truth = env.ground_truth()
        self._opens_first = self._hand(truth) > HAND_SHUT
        with seeded_global_numpy(int(rng.integers(2**32))):
            self._oracle.reset(None, self._beliefs(truth))

    def _beliefs(self, truth: dict[str, Any]) -> dict[str, Any]:
        """The simulator's information with the operator's two errors in it."""
        seen = {**truth, **self._subgoal.targets}
        kind = self._subgoal.kind
        if kind == "cube":
            _shift(seen, f"privileged/block_{self._subgoal.index}_pos", self._aim_error)
            _shift(seen, "privileged/target_block_pos", self._place_error)
        elif kind == "button":
            _shift(seen, "privileged/target_button_top_pos", self._aim_error)
        else:
            _shift(seen, f"privileged/{kind}_handle_pos", self._aim_error)
            _shift(seen, f"privileged/target_{kind}_handle_pos", self._aim_error)
        return seen

    def action(self, env: OGBenchManipulation) -> np.ndarray:
        """The intended action [5], before shaking and slips."""
        truth = env.ground_truth()
        hand = self._hand(truth)
        self._opens_first = self._opens_first and hand > HAND_OPEN
        self._steps_left -= self._reactive
        if self._opens_first:
            return OPEN_AND_RISE
        self._empty_steps = self._empty_steps + 1 if hand > HAND_SHUT else 0
        intended = self._oracle.select_action(None, self._beliefs(truth))
        if self._reactive:
            intended[:4] *= self._pace
        return intended

    def _hand(self, truth: dict[str, Any]) -> float:
        """How far the hand is shut, 0 to 1; 0 where nobody looks: only cubes are grasped."""
        watched = self._reactive and self._subgoal.kind == "cube"
        return float(truth["proprio/gripper_opening"][0]) if watched else 0.0

    @property
    def over(self) -> bool:
        """Whether the operator looks up, sees how it went, and decides anew."""
        gave_up = self._steps_left <= 0 or self._empty_steps >= self._notice_steps
        return self._oracle.done or gave_up


def _shift(info: dict[str, Any], key: str, error: np.ndarray) -> None:
    info[key] = info[key] + error


def _make_oracle(env: OGBenchManipulation, style: str, kind: str, pace: float) -> Any:
    module = importlib.import_module(f"{ORACLE_MODULE}.{style}.{kind}_{style}")
    oracle_class = getattr(module, f"{kind.title()}{style.title()}Oracle")
    # The shaking is added to the executed action instead: it then has one place and one meaning.
    arguments: dict[str, Any] = {"noise": 0.0, "segment_dt": pace} if style == "plan" else {}
    if kind == "button":
        arguments["gripper_always_closed"] = env.family == "puzzle-3x3"
    return oracle_class(env=env.simulator, **arguments)


def demonstrate(env: OGBenchManipulation, operator: Operator, rng: np.random.Generator) -> Episode:
    """One episode by one operator, until success or the time limit.

    A pure function of the environment's id, the operator and the state of `rng`. The recorded
    actions are the executed ones. Metadata: source, operator, style (what was drawn), seed (of the
    environment), attempts.
    """
    env_seed = int(rng.integers(2**31))
    pace, noise_std = (float(rng.uniform(*r)) for r in (operator.pace, operator.noise_std))
    attempts: list[_Attempt] = []

    def intended() -> np.ndarray:
        if not attempts or attempts[-1].over:
            subgoal = next_subgoal(env)
            if subgoal is None:
                return env.neutral_action.astype(np.float64)
            attempts.append(_Attempt(env, operator, pace, subgoal, rng))
        return attempts[-1].action(env)

    episode = perform(env, env_seed, operator, noise_std, rng, intended)
    episode.metadata.update(
        source="oracle",
        operator=operator.name,
        style={"oracle": operator.oracle, "pace": pace, "noise_std": noise_std},
        seed=env_seed,
        attempts=len(attempts),
    )
    return episode
