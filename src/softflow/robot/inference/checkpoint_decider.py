"""A checkpoint as a decider. The one module in here that needs torch: the policy's process."""

from __future__ import annotations

import numpy as np

from softflow.deployment.deployed_policy import DeployedPolicy, load_policy
from softflow.robot.inference.deciding import PolicyFacts
from softflow.training.hardware.devices import usable_device


class CheckpointDecider:
    """Decides as `softflow.load_policy` does.

    Args:
        policy: loaded.
    """

    def __init__(self, policy: DeployedPolicy) -> None:
        self._policy = policy
        std = policy.selection.exploration_std
        self.facts = PolicyFacts(policy.spec, policy.chunk, policy.path.name, exploration_std=std)

    def begin_episode(self, seed: int) -> None:
        """What is random from now on follows from the seed."""
        self._policy.reset(seed)

    def decide(self, observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
        """The chunk `[H, A]`. Actions relative to a pose are decoded here, against these
        observations, and never again.
        """
        return self._policy.plan(observations, prefix)


def load_decider(path: str, device: str = "auto", explore: str = "") -> CheckpointDecider:
    """The policy of a run or checkpoint, as it is deployed.

    Args:
        path: of it.
        device: where it decides: "auto" is a GPU, if there is one.
        explore: "yes": each episode shifts its actions by an offset of its own.
    """
    place = str(usable_device(device))
    return CheckpointDecider(load_policy(path, device=place, explore=explore == "yes"))
