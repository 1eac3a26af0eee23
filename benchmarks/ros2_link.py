"""From a driver's messages to the command that they lead to, by ROS 2: two processes.

    python -m benchmarks.ros2_link driver FOLDER TURNS PIXELS
    python -m benchmarks.ros2_link robot FOLDER TURNS PIXELS CHECKPOINT

Both are started by `measured`, with the Python of .venv-ros2 or PYTHON_ROS. The driver publishes
joints and three raw pictures, and waits for the command that says which ones it answers; the
robot's side is `Ros2Robot` as `softflow robot` has it, which decides as soon as it sees them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from softflow.robot.ros2.rclpy_modules import ros
from softflow.robot.ros2.settings import Matching, Quality, QualityOfService, Ros2Settings, Timeouts
from softflow.robot.ros2.signal_settings import Camera, JointCommand, Joints

JOINTS = tuple(f"joint_{number}" for number in range(7))
STATE, TARGET = "/link/joints", "/link/targets"
PICTURES = tuple(f"/link/camera_{number}" for number in range(3))
AGAIN_S, PATIENCE_S, MOST_S = 1.0, 0.02, 120.0
"""Until a question is repeated, between two of them, and until all is given up."""


def settings(pixels: int) -> Ros2Settings:
    """Three cameras and the joints; their targets are the action."""
    size, reliable = (pixels, pixels), Quality("reliable", 5)
    cameras = [
        Camera(f"observation.images.camera_{number}", topic, size)
        for number, topic in enumerate(PICTURES)
    ]
    return Ros2Settings(
        control_hz=20.0,
        max_episode_steps=10_000,
        observation=[Joints("observation.state", STATE, JOINTS), *cameras],
        command=[JointCommand(TARGET, JOINTS, STATE, [-1e6] * 7, [1e6] * 7)],
        matching=Matching(tolerance_s=0.0),
        qos=QualityOfService(reliable, reliable),
        timeouts=Timeouts(60.0, 10.0, 10.0),
    )


def measured(checkpoint: Path, pixels: int, turns: int) -> dict[str, list[float]] | str:
    """`link_ms` and `inference_ms` of every turn, or why they are not there."""
    python = os.environ.get("PYTHON_ROS", ".venv-ros2/bin/python")
    found = Path(python).exists()
    if not found or subprocess.run([python, "-c", "import rclpy"], capture_output=True).returncode:
        return f"no ROS 2 for {python} (PYTHON_ROS)"
    folder = checkpoint.parent
    local = {"ROS_DOMAIN_ID": "78", "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    words = [str(folder), str(turns), str(pixels)]
    sides = [
        subprocess.Popen(
            [python, "-m", "benchmarks.ros2_link", *side], env=os.environ | local, text=True
        )
        for side in (["driver", *words], ["robot", *words, str(checkpoint)])
    ]
    try:
        while not any(codes := [side.poll() for side in sides]) and None in codes:
            time.sleep(0.1)
    finally:
        for side in sides:
            side.kill()
    if any(codes):
        return f"the processes ended with {codes}"
    told = [json.loads((folder / f"{name}.json").read_text()) for name in ("driver", "robot")]
    common = sorted(told[0].keys() & told[1].keys(), key=int)[-turns:]
    return {
        "link_ms": [told[0][key] for key in common],
        "inference_ms": [told[1][key] for key in common],
    }


def drive(folder: Path, turns: int, pixels: int) -> None:
    """Publish, wait for the command, publish the next; the times by number of the question."""
    modules = ros()
    modules.rclpy.init()
    node = modules.rclpy.create_node("link_driver")
    joints = node.create_publisher(modules.sensors.JointState, STATE, 5)
    cameras = [node.create_publisher(modules.sensors.Image, topic, 5) for topic in PICTURES]
    took: dict[str, float] = {}
    asked: dict[int, float] = {}

    def commanded(message: Any) -> None:
        number = round(message.position[0])
        if str(number) not in took:
            took[str(number)] = 1e3 * (time.monotonic() - asked[number])

    node.create_subscription(modules.sensors.JointState, TARGET, commanded, 5)
    frame = np.random.default_rng(0).integers(0, 255, (pixels, pixels, 3), np.uint8).tobytes()
    until_s = time.monotonic() + MOST_S
    while len(took) < turns + 1 and time.monotonic() < until_s:
        number = len(asked) + 1
        asked[number] = time.monotonic()
        stamp = node.get_clock().now().to_msg()
        state = modules.sensors.JointState(name=JOINTS, position=[float(number), *[0.0] * 6])
        state.header.stamp = stamp
        joints.publish(state)
        for camera in cameras:
            picture = modules.sensors.Image(height=pixels, width=pixels, step=3 * pixels)
            picture.header.stamp, picture.encoding, picture.data = stamp, "rgb8", frame
            camera.publish(picture)
        again_s = asked[number] + AGAIN_S
        while str(number) not in took and time.monotonic() < again_s:
            modules.rclpy.spin_once(node, timeout_sec=0.01)
        time.sleep(PATIENCE_S)
    (folder / "driver.json").write_text(json.dumps(took))


def act(folder: Path, turns: int, pixels: int, checkpoint: str) -> None:
    """Look until there is something new, decide, command; what deciding took, by number."""
    from softflow.robot.inference.checkpoint_decider import load_decider
    from softflow.robot.ros2.robot import Ros2Robot

    decider = load_decider(checkpoint, "cpu")
    chunk, took = decider.facts.chunk, dict[str, float]()
    prefix = np.zeros((chunk.prefix_length, len(JOINTS)), np.float32)
    robot = Ros2Robot(settings(pixels))
    robot.reset(0)
    until_s = time.monotonic() + MOST_S
    before = -1
    while not (folder / "driver.json").exists() and time.monotonic() < until_s:
        values = robot.observe().values
        number = round(float(values["observation.state"][0]))
        if number == before:
            time.sleep(0.0005)
            continue
        before, begun_s = number, time.monotonic()
        observed = {key: value[None] for key, value in values.items()}
        observed["observation.state"] = np.zeros((1, len(JOINTS)), np.float32)
        decider.decide(observed, prefix)
        took[str(number)] = 1e3 * (time.monotonic() - begun_s)
        robot.act(np.array([number, *[0.0] * 6], np.float32))
    (folder / "robot.json").write_text(json.dumps(took))
    robot.close()


def main(side: str, folder: str, turns: str, pixels: str, *checkpoint: str) -> None:
    """One of the two sides."""
    if side == "driver":
        drive(Path(folder), int(turns), int(pixels))
    else:
        act(Path(folder), int(turns), int(pixels), *checkpoint)


if __name__ == "__main__":
    main(*sys.argv[1:])
