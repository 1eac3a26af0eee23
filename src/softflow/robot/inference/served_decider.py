"""A policy on another machine as a decider: `softflow serve` there, its client here."""

from __future__ import annotations

import json

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.errors import PolicyServerError
from softflow.robot.inference.deciding import PolicyFacts
from softflow.robot.policy_client import PolicyClient


class ServedDecider:
    """Asks a server, and waits for it: that is why it has a process of its own.

    Args:
        client: connected.
        spec: what the robot sees and does.
    """

    def __init__(self, client: PolicyClient, spec: DataSpec) -> None:
        self._client = client
        self.facts = PolicyFacts(spec, client.chunk, client.policy)

    def begin_episode(self, seed: int) -> None:
        """What is random in decisions is the server's."""

    def decide(self, observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
        """The chunk `[H, A]`.

        Raises:
            PolicyServerError: no answer in time, or of another policy than at the start.
        """
        chunk = self._client.decide(observations, prefix)
        if self._client.policy != self.facts.version:
            raise PolicyServerError(
                f"the server has another policy now, {self._client.policy}; start again to use it"
            )
        return chunk


def connect_decider(url: str, spec: str, token: str = "", deadline_s: str = "5") -> ServedDecider:
    """The policy that answers at an address.

    Args:
        url: "ws://host:port".
        spec: what the robot sees and does, as JSON.
        token: of the server, if it wants one.
        deadline_s: the longest a decision may take, with all reconnecting.
    """
    robot = DataSpec.from_json(json.loads(spec))
    return ServedDecider(PolicyClient(url, robot, token=token, deadline_s=float(deadline_s)), robot)
