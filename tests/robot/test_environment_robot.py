"""An environment as a robot: the episode of a rollout, held to its contract, in real time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from event_worlds import TapeWorld
from point_world import ENV_ID, PointWorld, point_spec
from toy_robot import FakeClock, ToySource

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.data.measures import EVENTS_KEY
from softflow.errors import EnvironmentContractError, RobotStoppedError, UntrustedImportError
from softflow.robot.control_loop import LoopParts, run_episode
from softflow.robot.environment_robot import EnvironmentRobot
from softflow.robot.protocol import Robot, robot_maker


class Walker(ToySource):
    """Walks to the goal, whatever the world is."""

    def poll(self) -> Any:
        answer = super().poll()
        if answer is None:
            return None
        seen = self.questions[-1].observations[STATE_KEY][-1]
        step = np.clip((seen[2:4] - seen[:2]) / 0.15, -1, 1).astype(np.float32)
        return type(answer)(answer.episode, answer.step, np.tile(step, (4, 1)), 0.0, 0)


def play(env: PointWorld, env_id: str = ENV_ID) -> Any:
    clock = FakeClock()
    robot = EnvironmentRobot(env, env_id, clock.now_s)
    robot.reset(3)
    return run_episode(LoopParts(robot, Walker(clock, ChunkSpec(4, 2)), clock=clock), 0, 0)


def test_its_episode_is_the_environments() -> None:
    end = play(PointWorld())
    assert (end.ending, end.episode.success) == ("terminated", True)
    end.episode.validate(point_spec())
    world = PointWorld()
    seen = [world.reset(seed=3)[0][STATE_KEY]]
    seen += [world.step(action)[0][STATE_KEY] for action in end.episode.actions]
    assert np.stack(seen).tobytes() == end.episode.observations[STATE_KEY].tobytes()
    assert end.episode.rewards.sum() == 1
    assert EVENTS_KEY not in end.episode.metadata


def test_declared_events_are_kept() -> None:
    end = play(TapeWorld(), "event_worlds:TapeWorld")
    assert end.fault == ""
    names = {name for _, name in end.episode.metadata[EVENTS_KEY]}
    assert names <= {event.name for event in TapeWorld.task_profile.events}
    assert names


def test_an_answer_against_the_contract_stops_it() -> None:
    class Lying(PointWorld):
        def step(self, action: np.ndarray) -> Any:
            observation, _, terminated, truncated, info = super().step(action)
            return observation, 0.5, terminated, truncated, info

    end = play(Lying())
    assert "reward is 0.5 but info['success'] is False" in end.fault


def test_it_stays_stopped_until_it_is_reset() -> None:
    robot: Robot = EnvironmentRobot(PointWorld(), ENV_ID)
    with pytest.raises(RobotStoppedError, match="before reset"):
        robot.observe()
    robot.reset(0)
    assert robot.act(robot.hold()) is not None
    robot.stop()
    with pytest.raises(RobotStoppedError, match="moves again after reset"):
        robot.act(robot.hold())
    robot.reset(0)
    robot.act(robot.hold())
    robot.close()


def test_an_environment_without_a_neutral_action_is_refused() -> None:
    class Restless(PointWorld):
        neutral_action = np.full(2, 3.0, np.float32)

    with pytest.raises(EnvironmentContractError, match="neutral_action"):
        EnvironmentRobot(Restless(), ENV_ID)


def test_a_robot_that_only_a_file_names_is_not_imported() -> None:
    with pytest.raises(UntrustedImportError, match="--robot"):
        robot_maker("some_package:make")
