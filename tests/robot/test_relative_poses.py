"""Poses relative to the tool: decoded once, against the observation that produced the chunk.

A chunk that is late keeps its place in space, however far the robot has gone meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_robot import HZ, FakeClock, ToyRobot, ToySource

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.models.action_representation import ActionRepresentation
from softflow.robot.control_loop import LoopParts, run_episode
from softflow.robot.inference.deciding import Answer
from softflow.robot.protocol import Outcome, Sensed

SPEC = DataSpec({STATE_KEY: (7,)}, 7, (-9.0,) * 7, (9.0,) * 7, HZ, env_id="arm")
IN_TOOL_FRAME = ActionRepresentation(pose=tuple(range(7)), pose_state=tuple(range(7)))
CHUNK = ChunkSpec(chunk_length=5, execution_horizon=3)
TURN_RAD = 0.3


class Arm(ToyRobot):
    """It stands where it was commanded to: position, quaternion (w, x, y, z)."""

    def __init__(self, clock: FakeClock, max_episode_steps: int) -> None:
        super().__init__(clock, max_episode_steps)
        self.spec = SPEC
        self.poses = [np.array([0, 0, 0, 1, 0, 0, 0], np.float32)]

    def observe(self) -> Sensed:
        return Sensed({STATE_KEY: self.poses[-1]}, self._clock.now_s())

    def act(self, action: np.ndarray) -> Outcome | None:
        self.commands.append(float(action[0]))
        self.poses.append(action.copy())
        return None

    def hold(self) -> np.ndarray:
        return self.poses[-1]


class InToolFrame(ToySource):
    """Every chunk goes forward in the frame of the tool that was seen, and turns as it goes."""

    @staticmethod
    def planned(seen: np.ndarray) -> np.ndarray:
        """Where the chunk of this observation leads, in the robot's frame `[H, 7]`."""
        ahead = np.arange(1, CHUNK.chunk_length + 1)
        half, still = 0.5 * TURN_RAD * ahead, 0.0 * ahead
        position = np.stack([0.05 * ahead, still, still], axis=1)
        turn = np.stack([np.cos(half), still, still, np.sin(half)], axis=1)
        relative = torch.from_numpy(np.concatenate([position, turn], axis=1).astype(np.float32))
        return IN_TOOL_FRAME.decode(relative, torch.from_numpy(seen)).numpy()

    def poll(self) -> Answer | None:
        answer = super().poll()
        if answer is None:
            return None
        seen = self.questions[-1].observations[STATE_KEY][-1]
        return replace(answer, actions=self.planned(seen))


@settings(max_examples=40)
@given(latencies=st.lists(st.sampled_from([0.0, 0.05, 0.15, 0.25, 0.45]), min_size=3, max_size=9))
def test_a_late_chunk_keeps_its_place_in_space(latencies: list[float]) -> None:
    clock = FakeClock()
    robot = Arm(clock, 30)
    source = InToolFrame(clock, CHUNK, _endless(latencies))
    end = run_episode(LoopParts(robot, source, clock=clock), 0, 0)
    assert end.ending == "time limit", end.fault
    plans = [source.planned(asked.observations[STATE_KEY][-1]) for asked in source.questions]
    places = np.concatenate(plans)
    moved = 0
    for before, pose in zip(robot.poses, robot.poses[1:], strict=False):
        held = np.array_equal(before, pose)
        assert held or np.abs(places - pose).max(axis=1).min() < 1e-5
        moved += not held
    assert moved > 5


def _endless(values: list[float]) -> Callable[[], float]:
    return iter(values * 40).__next__
