"""A trained teacher: read from its folder, asked for corrections, measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.randomisation import NOTHING
from softflow.errors import ConfigError
from softflow.teacher.evaluating import TurningScore, evaluate
from softflow.teacher.hand_choice import ORCA_HAND, HandChoice
from softflow.teacher.ppo import act, build_actor, load_network
from softflow.teacher.residual import ResidualHands
from softflow.teacher.teacher_files import BEST, TeacherFacts, hand_of, read_facts, read_weights
from softflow.teacher.training import evaluation_hands


class Teacher:
    """A gait and a policy that corrects it.

    Args:
        facts: what its folder says.
        actor: the policy.
        which: the hand that it moves.
    """

    def __init__(self, facts: TeacherFacts, actor: Any, which: HandChoice = ORCA_HAND) -> None:
        self.facts, self._actor, self.which = facts, actor, which

    @classmethod
    def load(cls, run: Path) -> Teacher:
        """The best teacher of a folder.

        Raises:
            StoreError: there is none.
            CheckpointError: its networks are damaged.
            UntrustedImportError: its hand is the user's own, and only the folder names it.
        """
        facts = read_facts(run)
        actor = build_actor(facts.observation_dim, facts.num_actions, facts.config.ppo)
        load_network(actor, read_weights(run / BEST), f"'{run / BEST}'")
        actor.eval()
        return cls(facts, actor, hand_of(run, facts))

    def corrections(self, observation: np.ndarray) -> np.ndarray:
        """Corrections [N, A] for observations [N, D].

        Raises:
            ConfigError: the observations are of another kind than it was trained on.
        """
        if observation.shape[1] != self.facts.observation_dim:
            raise ConfigError(
                f"this teacher observes {self.facts.observation_dim} numbers, these hands give "
                f"{observation.shape[1]}; use the settings it was trained with, or train another"
            )
        return act(self._actor, observation)

    def hands(self, hand: BatchedHand) -> ResidualHands:
        """Hands that this teacher can turn cubes in.

        Raises:
            ConfigError: they are other hands than it was trained with.
        """
        if hand.scene.hand.fingerprint != self.facts.fingerprint:
            raise ConfigError(
                f"this teacher is of the hand {self.facts.fingerprint}, these are "
                f"{hand.scene.hand.fingerprint}; train one for them (softflow teacher train)"
            )
        gaits, config = self.facts.found_gaits, self.facts.config
        return ResidualHands(hand, gaits, config)

    def evaluate(
        self,
        hands: int,
        seconds: float,
        seed: int,
        *,
        corrected: bool = True,
        randomised: bool = True,
    ) -> TurningScore:
        """Measure it in `hands` hands for up to `seconds`, with or without its parts."""
        config = self.facts.config
        if not randomised:
            config = replace(config, randomisation=NOTHING)
        gaits = self.facts.found_gaits
        acting = evaluation_hands(config, gaits, seed, hands, seconds, self.which)

        def decide(observation: np.ndarray) -> np.ndarray:
            found = self.corrections(observation)
            return found if corrected else np.zeros_like(found)

        return evaluate(acting, decide, seconds)
