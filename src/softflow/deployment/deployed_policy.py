"""A trained policy, numpy in and out, in the robot's units: `softflow.load_policy`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softflow.control.acting import ActingEpisode
from softflow.control.observation_checks import ObservationChecks
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.deployment.decision_rule import Rule, decision_rule
from softflow.deployment.saved_policy import Which, find_checkpoint, named_place, read_saved
from softflow.errors import ConfigError
from softflow.models.action_selection import (
    ChunkSelector,
    EpisodeDecisions,
    SelectionConfig,
    row_of,
)
from softflow.training.hardware.devices import usable_device
from softflow.training.persistence import CRITIC, policy_facts, selector_of


class DeployedPolicy:
    """A policy that acts, one episode at a time; made by `load_policy`.

    `act` keeps what belongs to an episode: the observation history, the committed actions and the
    planned ones. It decides as simulated rollouts do, with the same loop, so the same observations
    and the same seed give the same actions.

    Attributes:
        spec: what the training data held: keys, shapes, rate, names, bounds of actions.
        chunk: lengths of a decision.
        selection: the decision rule, candidates a decision, and `sampling_std`.
        path: where it was read from.
    """

    def __init__(
        self,
        selector: ChunkSelector,
        spec: DataSpec,
        checks: ObservationChecks,
        path: Path,
        seed: int,
    ) -> None:
        self.spec, self.path = spec, path
        self.chunk: ChunkSpec = selector.policy.inputs.chunk
        self.selection: SelectionConfig = selector.config
        self._rule, self._checks = selector, checks
        self._acting_noise, self._planning_noise = torch.Generator(), torch.Generator()
        self._neutral = np.asarray(spec.held_still, np.float32)
        self._acting: ActingEpisode | None = None
        self._seed(seed)

    @property
    def reads(self) -> tuple[str, ...]:
        """Keys of the observations that it looks at; others may be left out."""
        return self._checks.reads

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode: forget observations, committed actions and the planned chunk.

        Args:
            seed: of everything random from now on; the same seed and observations give the same
                actions. None goes on from the episode before, with its offset.
        """
        if seed is not None:
            self._seed(seed)
        decide = self._decisions(self._acting_noise)
        self._acting = ActingEpisode(self.chunk, self._neutral, decide)

    def act(self, observation: Any) -> np.ndarray:
        """The action of this control step; call it once a step, `spec.control_hz` times a second.

        Args:
            observation: key -> value of now, as in the training data: float32 (or float64) of the
                declared shape, cameras uint8 `[height, width, 3]`, RGB.

        Returns:
            `[A]` float32, the robot's units, within the bounds of the data.

        Raises:
            ConfigError: no episode was begun.
            ObservationError: the observation is not of the kind the policy was trained on; nothing
                has changed, the step may be asked for again.
            NumericalError: the policy chose an action that is not finite.
        """
        if self._acting is None:
            raise ConfigError(
                "act() before reset(): call policy.reset() at the start of every episode, else the "
                "actions planned in the one before would go on"
            )
        return self._acting.act(self._checks.observation(observation)).copy()

    def plan(self, observation: Any, prefix: Any = None) -> np.ndarray:
        """One decision, for a loop of one's own; `act` does not notice.

        Args:
            observation: as in `act`, then it is taken for the first of an episode; or what the last
                `history_length` steps saw, every value `[history_length, ...]`, oldest first.
            prefix: `[P, A]`, the actions that will be executed before the chunk begins; None holds
                still, as at the start of an episode.

        Returns:
            `[H, A]` float32: the actions of the steps P to P + H - 1 from now.

        Raises:
            ObservationError: an argument is not of the kind the policy was trained on.
            NumericalError: the policy chose an action that is not finite.
        """
        seen, committed = self._seen(observation, prefix)
        return self._decisions(self._planning_noise)(seen, committed, 0)

    @torch.inference_mode()
    def log_prob(self, observation: Any, chunk: Any, prefix: Any = None) -> float:
        """How likely the policy finds a chunk: what rule "likelihood" compares.

        Args:
            observation, prefix: as in `plan`.
            chunk: `[H, A]` in the robot's units.

        Returns:
            Nats, of the density over normalised actions, summed over the chunk (Eq. 6).

        Raises:
            ConfigError: this policy has no likelihood.
            ObservationError: an argument is not of the kind the policy was trained on.
        """
        policy = self._selector.policy
        if not policy.has_likelihood:
            raise ConfigError(f"{type(policy).__name__} has no likelihood; choose another policy")
        seen, committed = self._seen(observation, prefix)
        actions = self._checks.actions("chunk", chunk, self.chunk.chunk_length)
        device = policy.action_minimum.device
        tensors = {key: row_of(value).to(device) for key, value in seen.items()}
        normalised = [
            self._selector.normalize_own(row_of(value).to(device), tensors)
            for value in (committed, actions)
        ]
        return float(policy.log_prob(policy.condition(tensors, normalised[0]), normalised[1]))

    def _seen(self, observation: Any, prefix: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """History and prefix of a decision, checked."""
        seen = self._checks.history(observation, self.chunk.history_length)
        length = self.chunk.prefix_length
        if prefix is None:
            return seen, np.tile(self._neutral, (length, 1))
        return seen, self._checks.actions("prefix", prefix, length)

    def _decisions(self, noise: torch.Generator) -> EpisodeDecisions:
        bounds = (self.spec.action_low, self.spec.action_high)
        low, high = (np.asarray(bound, np.float32) for bound in bounds)
        return EpisodeDecisions(self._selector, noise, (low, high), f"an episode of '{self.path}'")

    def _seed(self, seed: int) -> None:
        if not isinstance(seed, int | np.integer):
            shown = repr(seed) if isinstance(seed, str | float) else f"a {type(seed).__name__}"
            raise ConfigError(f"seed is {shown}; give a whole number, 0 or more")
        if not 0 <= seed < 2**63:
            raise ConfigError(f"seed is {seed}; it must lie in [0, 2**63)")
        for generator in (self._acting_noise, self._planning_noise):
            generator.manual_seed(int(seed))
        self._selector = self._rule.exploring(int(seed))


def load_policy(
    path: str | os.PathLike[str],
    *,
    which: Which = "newest",
    rule: Rule = "auto",
    seed: int = 0,
    refuse_far: bool = False,
    device: str = "cpu",
    explore: bool = False,
) -> DeployedPolicy:
    """A trained policy that acts as it was deployed: numpy in and out, in the robot's units.

    Args:
        path: a run folder, a checkpoint, or its `pretrained_model/`, which is enough to act with
            the policy alone.
        which: of a run folder: the "newest" checkpoint, or the "best" by its evaluations; where
            nothing was evaluated, by held-out demonstrations in imitation.
        rule: "value" chooses by critic (Alg. 2), "likelihood" by the policy itself; "auto" is what
            it is deployed with: by likelihood until a critic has learned, then by value.
        seed: of what is random in its decisions; see `DeployedPolicy.reset`.
        refuse_far: raise where an observation is far outside the training data (degrees in place
            of radians), instead of a warning, once a component.
        device: of the networks; the candidates are the same on each, but for rounding.
        explore: decide as the run's online episodes do: more widely (`online_rl.collection_std`,
            `online_rl.collection_candidates`), and with the actions of each episode shifted by an
            offset of its own, which follows from its seed (`online_rl.exploration_std`).

    Raises:
        CheckpointError: there is no checkpoint, or a damaged one, or of a newer version.
        UntrustedImportError: it names a network of somebody's own, which would run code.
        ConfigError: rule "value" without a trained critic, a device that is not there, or a run
            that does not explore.
    """
    where = find_checkpoint(named_place(path), which)
    usable_device(device)  # before anything large is read
    parts, progress = read_saved(where)
    config, spec, statistics = policy_facts(parts)
    has_critic = CRITIC in parts.tensors
    selection = decision_rule(rule, config, progress, parts.where, has_critic=has_critic)
    if explore:
        selection = _exploring(selection, progress.collecting(config), parts.where)
    selector, _ = selector_of(parts, selection, device)
    reads = set(config.model.encoder.keys_among(spec.observation_shapes))
    if not config.model.actions.is_absolute:
        reads.add(STATE_KEY)
    checks = ObservationChecks(spec, reads, statistics, refuse_far=refuse_far)
    return DeployedPolicy(selector, spec, checks, where, seed)


def _exploring(
    deployed: SelectionConfig, collecting: SelectionConfig, where: str
) -> SelectionConfig:
    """The rule that collects, by what the deployed one chooses by.

    Raises:
        ConfigError: it is no other one.
    """
    exploring = replace(collecting, rule=deployed.rule)
    if exploring == deployed:
        raise ConfigError(
            f"explore: the run of '{where}' collects as it is deployed; train it with another "
            "--online-rl.collection-std, or to find a correction with --online-rl.exploration-std "
            "0.05 --online-rl.imitates demonstrations, or leave explore out"
        )
    return exploring
