"""A robot in the point world, as a process: it acts, records and sends until it is killed.

    python exchange_robot.py FOLDER STORE

Between two episodes it does what a robot does: newer policy, send, go on, wait or stand still. A
line on its standard output says that it has begun.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import numpy as np
from point_world import PointWorld, demonstration, point_spec

import softflow
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.deployment.deployed_policy import DeployedPolicy
from softflow.robot.exchange.robot_side import Next, RobotSide

EPISODE_S = 0.02
"""How long an episode takes at least: else thousands wait before there is a learner."""


def episode_of(policy: DeployedPolicy, seed: int, version: str) -> Episode:
    """One episode of the policy."""
    env = PointWorld()
    observation, _ = env.reset(seed=seed)
    policy.reset(seed)
    seen, actions, rewards = [observation[STATE_KEY]], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = policy.act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append(observation[STATE_KEY])
        actions.append(action)
        rewards.append(reward)
    return Episode(
        {STATE_KEY: np.stack(seen)},
        np.stack(actions),
        np.asarray(rewards, np.float32),
        terminated,
        truncated,
        success=terminated,
        metadata={"seed": seed, "policy_version": version},
    )


def act_for_ever(folder: Path, place: Path) -> None:
    """Everything a robot does with an exchange."""
    policy: DeployedPolicy | None = None
    with EpisodeStore.open_or_create(place, point_spec()) as store:
        side = RobotSide(folder, store, "arm", None, lambda line: print(line, flush=True))
        if side.policy is not None:
            policy = softflow.load_policy(side.policy.checkpoint)
        print("begun", flush=True)
        for _ in itertools.count():
            side.send()
            if received := side.newer_policy():
                policy = softflow.load_policy(received.checkpoint)
            if side.next() is not Next.EPISODE:
                time.sleep(0.02)
                continue
            time.sleep(EPISODE_S)
            seed = len(store)
            version = side.policy.manifest.name if side.policy else "none"
            if policy is None:
                store.append(demonstration(seed, towards_goal=True))
            else:
                store.append(episode_of(policy, seed, version))


if __name__ == "__main__":
    act_for_ever(Path(sys.argv[1]), Path(sys.argv[2]))
