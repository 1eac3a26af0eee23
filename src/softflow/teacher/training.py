"""A teacher trained from nothing: gaits, then PPO on them; stopped and continued at any time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.teacher.config import TeacherConfig
from softflow.teacher.evaluating import TurningScore, evaluate
from softflow.teacher.gait_search import FoundGait, SearchState, search_gait
from softflow.teacher.hand_choice import ORCA_HAND, HandChoice
from softflow.teacher.ppo import PpoLearner, act
from softflow.teacher.residual import ResidualHands
from softflow.teacher.teacher_files import (
    BEST,
    STATE,
    TeacherFacts,
    hand_of,
    has_teacher,
    keep_grasps,
    read_facts,
    read_weights,
    require_same,
    stored_gait,
    stored_search,
    write_facts,
    write_weights,
)
from softflow.utils.metrics import MetricLogger
from softflow.utils.progress import ProgressReporter

EVALUATED_HANDS, EVALUATED_S = 32, 60.0


class TeacherTraining:
    """One training in a folder.

    Args:
        run: the folder; a training that began there goes on.
        config: its numbers.
        seed: of everything random.
        progress: hears how it goes.
        device: of PPO's networks.
        hand: that it moves; a training that was begun goes on with its own.

    Raises:
        ConfigError: the folder holds a training with other numbers, or of another hand.
    """

    def __init__(
        self,
        run: Path,
        config: TeacherConfig,
        seed: int,
        progress: ProgressReporter,
        device: str,
        hand: HandChoice = ORCA_HAND,
    ) -> None:
        self._run, self._config, self._seed, self._progress = run, config, seed, progress
        self._device = device
        run.mkdir(parents=True, exist_ok=True)
        if has_teacher(run):
            self.facts = read_facts(run)
            require_same(self.facts, config, seed, hand.name, run)
            self._hand = hand_of(run, self.facts)
        else:
            self._hand = keep_grasps(run, hand)
            self.facts = TeacherFacts(config, seed, "", hand=hand.name)
        self.facts = replace(self.facts, config=config)

    def run(self) -> TeacherFacts:
        """Do what is left; what the folder says at the end."""
        torch.manual_seed(self._seed)
        for direction in self._config.cube.commands.directions:
            known = {gait.direction for gait in self.facts.gaits}
            if self._config.gait and direction not in known:
                found = stored_gait(self._search(direction))
                self._keep(gaits=[*self.facts.gaits, found], search=None)
        self._improve()
        return self.facts

    def _keep(self, **changes: object) -> None:
        self.facts = replace(self.facts, **changes)  # type: ignore[arg-type]
        write_facts(self._run, self.facts)

    def _search(self, direction: int) -> FoundGait:
        config = self._config.gait
        assert config is not None
        there = self.facts.search
        begun = there.state if there and there.direction == direction else None
        done = begun.generation if begun else 0
        named = f"gait, direction {direction:+d}"
        if begun is None:
            self._progress.begin(f"{named}, scouting", config.scouted_grasps)
        else:
            self._progress.begin(named, config.generations, done)

        def scouted(grasps: int, best: float) -> None:
            self._progress.advance(grasps, f"best {best:.3f}")

        def told(state: SearchState, mean: float) -> None:
            self._keep(search=stored_search(direction, state))
            if state.generation == 0:
                self._progress.begin(named, config.generations)
            status = f"best {state.top:.3f}, {mean:.3f} of those kept"
            self._progress.advance(state.generation, status)

        return search_gait(self._trial_hands, config, direction, self._seed, told, begun, scouted)

    def _trial_hands(self, num: int) -> BatchedHand:
        settings = replace(self._config.cube, platform_s=0.0)
        # Alike for all gaits of a trial; what a hand keeps for life would differ between them.
        what = replace(self._config.randomisation, hand_friction=None, link_mass=None)
        return self._hand.make(settings, num, self._seed, what)

    def _improve(self) -> None:
        ppo = self._config.ppo
        gaits, dumps = self.facts.found_gaits, self._run / "unstable"
        hands = training_hands(self._config, gaits, ppo.num_envs, self._seed, dumps, self._hand)
        # Episodes of all ages from the start: else all hands end theirs in the same iteration.
        hands.hand.steps[:] = hands.hand.rng.integers(
            hands.hand.settings.max_steps, size=hands.hand.num
        )
        learner = PpoLearner(hands, ppo, self._device)
        self._keep(
            fingerprint=hands.hand.scene.hand.fingerprint,
            observation_dim=learner.observation.shape[1],
            num_actions=hands.num_actions,
        )
        if self.facts.iteration:
            learner.restore(read_weights(self._run / STATE), f"'{self._run / STATE}'")
            done = self.facts.iteration
            self._progress.say(f"goes on after iteration {done} of {ppo.iterations}")
        else:
            self._judge(learner)
        self._progress.begin("PPO", ppo.iterations, self.facts.iteration)
        with MetricLogger(self._run) as metrics:
            metrics.rewind(self.facts.metric_rows)
            for iteration in range(self.facts.iteration + 1, ppo.iterations + 1):
                told = learner.iterate()
                steps = iteration * ppo.num_envs * ppo.steps_per_env
                metrics.log(told, stage="teacher", update_step=iteration, robot_steps=steps)
                status = (
                    f"{told['turns_per_minute']:.2f} turns/min, "
                    f"{told['drops_per_minute']:.2f} drops/min"
                )
                self._progress.advance(iteration, status)
                if iteration % self._config.evaluate_every == 0 or iteration == ppo.iterations:
                    self._save(learner, iteration, metrics.position())

    def _save(self, learner: PpoLearner, iteration: int, metric_rows: int) -> None:
        write_weights(self._run / STATE, learner.tensors())
        self._keep(iteration=iteration, metric_rows=metric_rows)
        self._judge(learner)

    def _judge(self, learner: PpoLearner) -> None:
        """Evaluate the mean policy, and keep the best one."""
        actor = learner.algorithm.actor
        actor.eval()
        score = self._score(lambda observation: act(actor, observation))
        learner.algorithm.train_mode()
        self._progress.say(f"iteration {self.facts.iteration}: {score}")
        numbers = {"iteration": float(self.facts.iteration), **score.numbers()}
        self._keep(evaluations=[*self.facts.evaluations, numbers])
        if self.facts.best is None or score.turns > self.facts.best:
            write_weights(self._run / BEST, actor.state_dict())
            self._keep(best=score.turns)

    def _score(self, decide: Callable[[np.ndarray], np.ndarray]) -> TurningScore:
        gaits = self.facts.found_gaits
        given = (self._seed, EVALUATED_HANDS, EVALUATED_S, self._hand)
        hands = evaluation_hands(self._config, gaits, *given)
        return evaluate(hands, decide, EVALUATED_S)


def training_hands(
    config: TeacherConfig,
    gaits: list[FoundGait],
    num: int,
    seed: int,
    dumps: Path | None = None,
    which: HandChoice = ORCA_HAND,
) -> ResidualHands:
    """Randomised hands with these gaits; `dumps` keeps what blows up."""
    limit = config.learning_episode_s or config.cube.episode_s
    cube = replace(config.cube, episode_s=limit)
    hand = which.make(cube, num, seed, config.randomisation, dumps)
    return ResidualHands(hand, gaits, config)


def evaluation_hands(
    config: TeacherConfig,
    gaits: list[FoundGait],
    seed: int,
    num: int,
    seconds: float,
    which: HandChoice = ORCA_HAND,
) -> ResidualHands:
    """Other hands, randomised alike, whose episodes are longer than `seconds`."""
    longer = replace(config.cube, episode_s=seconds + 1)
    hand = which.make(longer, num, seed + 10_000, config.randomisation)
    return ResidualHands(hand, gaits, config)
