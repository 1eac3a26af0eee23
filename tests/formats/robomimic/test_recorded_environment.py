"""What decides what an action means is read from files of every version, and told apart."""

from __future__ import annotations

from typing import Any

import pytest
from robomimic_files import ROBOMIMIC, ROBOSUITE

from softflow.formats.robomimic.reading import RobomimicSource
from softflow.formats.robomimic.recorded_environment import RecordedEnvironment

OSC: dict[str, Any] = {
    "type": "OSC_POSE",
    "input_max": 1,
    "input_min": -1,
    "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5],
    "output_min": [-0.05, -0.05, -0.05, -0.5, -0.5, -0.5],
    "kp": 150,
    "impedance_mode": "fixed",
}
OURS = OSC | {"input_type": "delta", "input_ref_frame": "world"}


def told(controller: object, name: str = "Lift", robots: object = "Panda") -> RecordedEnvironment:
    settings = {
        "env_name": name,
        "env_version": "1.4.1",
        "env_kwargs": {"robots": robots, "controller_configs": controller},
    }
    return RecordedEnvironment.from_settings(settings, "")


def differences(environment: RecordedEnvironment) -> list[str]:
    return environment.differences("Lift", "Panda", OURS)


@pytest.mark.parametrize("path", [ROBOMIMIC, ROBOSUITE])
def test_real_files_of_the_same_controller(path: Any) -> None:
    environment = RobomimicSource(path, cameras=()).environment
    assert environment.name == "Lift"
    assert environment.controller["type"] == "OSC_POSE"
    assert environment.controller["is_delta"] is True
    assert differences(environment) == []


@pytest.mark.parametrize(
    "controller",
    [
        OSC
        | {"control_delta": True, "damping": 1},  # robosuite 1.2 to 1.4, RoboMimic v0.1 and v1.4
        OSC | {"input_type": "delta", "input_ref_frame": "base"},
        {"type": "BASIC", "body_parts": {"right": OURS}},
        OSC | {"kp": [150.0] * 6},
    ],
)
def test_the_same_controller_in_other_words(controller: dict[str, Any]) -> None:
    assert differences(told(controller, robots=["Panda"])) == []


@pytest.mark.parametrize(
    ("controller", "message"),
    [
        (OSC | {"control_delta": False}, "controller's is_delta False, not True"),
        (OSC | {"input_type": "absolute"}, "controller's is_delta False, not True"),
        (OSC | {"type": "JOINT_VELOCITY"}, "controller's type JOINT_VELOCITY, not OSC_POSE"),
        (OSC | {"type": "OSC_POSITION"}, "controller's type OSC_POSITION, not OSC_POSE"),
        (
            OSC | {"output_max": [0.1, 0.1, 0.1, 0.5, 0.5, 0.5]},
            r"output_max \[0.1, 0.1, 0.1, 0.5, 0.5, 0.5\], not \[0.05, ",
        ),
        (OSC | {"impedance_mode": "variable"}, "impedance_mode variable, not fixed"),
        (OSC | {"kp": 300}, "kp 300, not 150"),
        (OURS | {"input_ref_frame": "eef"}, "frame eef, not world"),
    ],
)
def test_another_controller_is_told_apart(controller: dict[str, Any], message: str) -> None:
    (line,) = differences(told(controller))
    with pytest.raises(ValueError, match=message):
        raise ValueError(line)


def test_another_task_or_robot() -> None:
    assert differences(told(OSC, name="PickPlaceCan")) == ["task PickPlaceCan, not Lift"]
    assert differences(told(OSC, robots="Sawyer")) == ["robot Sawyer, not Panda"]
    whole = told(OSC, name="NutAssembly")
    assert whole.differences("NutAssemblySquare", "Panda", OURS) == []


@pytest.mark.parametrize(
    "controller",
    [None, "OSC_POSE", [], {"type": 3}, {"body_parts": ["right"]}, {"body_parts": {"right": 1}},
     {"kp": [1, 2]}, {"kp": True}, {"output_max": ["a"] * 6}],
)  # fmt: skip
def test_what_says_nothing_usable_says_nothing(controller: object) -> None:
    environment = told(controller, robots=["Panda", "Sawyer"])
    assert environment.controller == {}
    assert differences(environment) == []
    assert RecordedEnvironment.from_settings({"env_kwargs": 3}, "Lift").name == "Lift"
