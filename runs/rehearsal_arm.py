"""An environment as an arm behind ROS 2 topics, in real time.

    python runs/rehearsal_arm.py ENV_ID SETTINGS

SETTINGS is written for `softflow robot --ros2 SETTINGS`. The arm moves by one control step for
every command, says what it sees then and every 20 ms, and that the task is done, once.
"""

from __future__ import annotations

import json
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from softflow.data.data_spec import STATE_KEY
from softflow.envs.contract import data_spec
from softflow.envs.registry import make_env
from softflow.robot.ros2.rclpy_modules import ros
from softflow.utils.files import write_bytes

STATE, COMMAND, SUCCESS, RESET = "/arm/state", "/arm/command", "/arm/success", "/arm/reset"
EVERY_S = 0.02
SETTINGS = """control_hz = {hz}
max_episode_steps = {steps}
success_topic = "{success}"
matching = {{ tolerance_s = 0.0 }}
services = {{ reset = "{reset}" }}
timeouts = {{ first_messages_s = 120.0, command_s = 1.0, service_s = 120.0 }}
[qos]
sensors = {{ reliability = "reliable", depth = 10 }}
commands = {{ reliability = "reliable", depth = 10 }}
[[observation]]
type = "joints"
key = "observation.state"
topic = "{state}"
names = {seen}
[[command]]
type = "joints"
topic = "{command}"
measured = ""
names = {moved}
low = {low}
high = {high}
"""


class Arm:
    """The node.

    Args:
        env_id: what moves in it.
        settings: file that tells softflow of it.
    """

    def __init__(self, env_id: str, settings: Path) -> None:
        self._modules, self._env = ros(), make_env(env_id)
        spec = data_spec(self._env, env_id)
        self._names = [f"state_{i}" for i in range(spec.observation_shapes[STATE_KEY][0])]
        text = SETTINGS.format(
            hz=spec.control_hz,
            steps=self._env.max_episode_steps,
            seen=json.dumps(self._names),
            moved=json.dumps([f"action_{i}" for i in range(spec.action_dim)]),
            low=list(spec.action_low),
            high=list(spec.action_high),
            state=STATE,
            command=COMMAND,
            success=SUCCESS,
            reset=RESET,
        )
        self._reset()
        self._modules.rclpy.init()
        self._connect()
        write_bytes(settings, text.encode())

    def _connect(self) -> None:
        kind = self._modules.sensors.JointState
        self.node = self._modules.rclpy.create_node("arm")
        self._seen = self.node.create_publisher(kind, STATE, 10)
        self._done = self.node.create_publisher(self._modules.standard.Bool, SUCCESS, 10)
        self.node.create_subscription(kind, COMMAND, self._moved, 10)
        self.node.create_service(self._modules.services.Trigger, RESET, self._asked_to_reset)
        self.node.create_timer(EVERY_S, self._say)

    def _reset(self) -> None:
        self._state = self._env.reset(seed=random.SystemRandom().randrange(2**31))[0][STATE_KEY]
        self._is_over = False

    def _asked_to_reset(self, _request: Any, response: Any) -> Any:
        self._reset()
        response.success = True
        return response

    def _moved(self, message: Any) -> None:
        """One control step; when the task is done, or its time is over, none any more."""
        if self._is_over:
            return
        action = np.array(message.position, np.float32)
        observation, _, terminated, truncated, info = self._env.step(action)
        self._state, self._is_over = observation[STATE_KEY], terminated or truncated
        self._say()
        if info["success"]:
            self._done.publish(self._modules.standard.Bool(data=True))

    def _say(self) -> None:
        message = self._modules.sensors.JointState(name=self._names)
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.position = [float(value) for value in self._state]
        self._seen.publish(message)

    def run(self) -> None:
        """Until it is told to end, or killed."""
        with suppress(KeyboardInterrupt, self._modules.executors.ExternalShutdownException):
            self._modules.rclpy.spin(self.node)


if __name__ == "__main__":
    Arm(sys.argv[1], Path(sys.argv[2])).run()
