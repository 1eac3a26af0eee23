"""The mapping file: what it means, and what is said about every slip in it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest

from softflow.errors import DataError
from softflow.formats.rosbag.mapping import Stream
from softflow.formats.rosbag.yaml import load_mapping, parse_mapping

TEXT = """
control_hz: 20
observation.state:
  - {topic: /joints, field: position, names: [a, b]}
  - {topic: /pose, field: pose.orientation, interpolate: slerp, max_gap_s: null}
observation.images.wrist: {topic: /camera, crop: [0, 80, 480, 480], size: [84, 96]}
action: {topic: /command, field: data, latency_s: -0.02}
reward: {topic: /reward, field: data}
success: {topic: /outcome, field: data, equals: success}
episodes: {topic: /episode, start: 1, stop: 0}
clock: receive
max_gap_s: 0.5
on_gap: split
action_low: [-1]
action_high: [1.5]
message_definitions: [types/Grip.msg]
end_at_success: false
"""
SMALL: dict[str, Any] = {
    "control_hz": 10,
    "observation.state": [{"topic": "/joints", "field": "position"}],
    "observation.images.wrist": {"topic": "/camera", "size": [84, 84]},
    "action": [{"topic": "/command", "field": "data"}],
    "success": {"topic": "/outcome", "field": "data"},
}


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(TEXT)
    mapping = load_mapping(tmp_path / "map.yaml")
    joints, pose = mapping.observations["observation.state"]
    assert joints.stream == Stream("/joints", frozenset("ab"))
    assert (joints.interpolate, pose.interpolate) == (None, "slerp")
    assert mapping.cameras["observation.images.wrist"].size == (84, 96)
    assert mapping.cameras["observation.images.wrist"].crop == (0, 80, 480, 480)
    assert mapping.action[0].interpolate == "previous"
    assert mapping.action[0].latency_s == -0.02
    assert [mapping.gap_limit_s(entry) for entry in mapping.sampled] == [
        *(0.5, math.inf),  # the joints', and the pose's own: none
        *(math.inf, 0.5),  # a held command has none of its own; the camera has the file's
    ]
    assert (mapping.action_low, mapping.action_high) == ((-1.0,), (1.5,))
    assert mapping.message_definitions == (tmp_path / "types/Grip.msg",)
    assert mapping.topics == (
        *("/joints", "/pose", "/command", "/camera", "/reward", "/outcome", "/episode"),
    )
    assert (mapping.clock, mapping.on_gap, mapping.end_at_success) == ("receive", "split", False)


def test_defaults() -> None:
    mapping = parse_mapping(SMALL)
    assert (mapping.clock, mapping.on_gap, mapping.max_gap_s) == ("header", "error", 1.0)
    assert mapping.episodes is None
    assert parse_mapping({**SMALL, "episodes": "bag"}).episodes is None
    assert parse_mapping({**SMALL, "max_gap_s": None}).max_gap_s is None


SLIPS: list[tuple[list[Any], Any, str]] = [
    (["control_hz"], None, "control_hz is None; give a number above 0"),
    (["control_hz"], 0, "control_hz is 0"),
    (["control_hz"], True, "control_hz is True"),
    (["controll_hz"], 10, "has 'controll_hz', which is no option; use action, action_high"),
    (["observation.state"], [], r"observation.state is \[\]; give a list"),
    (["observation.state", 0, "feild"], "x", r"observation.state\[0\] has 'feild'"),
    (["observation.state", 0, "interpolate"], "cubic", "give linear or slerp or nearest"),
    (["observation.state", 0, "topic"], 3, r"observation.state\[0\].topic is 3; give a text"),
    (["observation.state", 0, "names"], "a", "names is 'a'; give a list of texts"),
    (["observation.state", 0, "names"], ["a", "a"], "has 'a' twice"),
    (["observation.images.wrist", "size"], [84], "size is .84.; give a list of 2 whole numbers"),
    (["observation.images.wrist", "size"], [84, 0], "size is"),
    (["observation.images.wrist", "crop"], [0, 0, 4], "crop is"),
    (["observation.images.wrist", "field"], "data", "has 'field', which is no option"),
    (["action", 0], "/command", r"action\[0\] is '/command'; give {topic: …}"),
    (["success", "equals"], [1], "success.equals is"),
    (["episodes"], "topic", "episodes is 'topic'"),
    (["clock"], "ros", "clock is 'ros'; give header or receive"),
    (["on_gap"], False, "on_gap is False; give error or split"),
    (["max_gap_s"], -1, "max_gap_s is -1"),
    (["end_at_success"], "yes", "give true or false"),
    (["action_low"], ["a"], "action_low is"),
]


@pytest.mark.parametrize(("place", "value", "message"), SLIPS)
def test_slips_are_named(place: list[Any], value: Any, message: str) -> None:
    mapping = copy.deepcopy(SMALL)
    inner: Any = mapping
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(DataError, match=message):
        parse_mapping(mapping, "map.yaml")


@pytest.mark.parametrize("key", ["control_hz", "action"])
def test_what_is_needed(key: str) -> None:
    mapping = {name: value for name, value in SMALL.items() if name != key}
    with pytest.raises(DataError, match=f"map.yaml: {key} is missing"):
        parse_mapping(mapping, "map.yaml")


def test_an_observation_is_needed() -> None:
    mapping = {k: v for k, v in SMALL.items() if not k.startswith("observation")}
    with pytest.raises(DataError, match=r"observation\.state is missing"):
        parse_mapping(mapping)


def test_the_same_signal_twice() -> None:
    twice = [*SMALL["action"], {"topic": "/command", "field": "data", "interpolate": "nearest"}]
    with pytest.raises(DataError, match=r"action\[1\] takes /command data again"):
        parse_mapping({**SMALL, "action": twice})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("control_hz: [", "is no YAML"),
        ("control_hz: 10\ncontrol_hz: 20", "'control_hz' is given twice"),
        ("just words", "holds 'just words'"),
        ("", "holds None"),
    ],
)
def test_files_that_are_no_mapping(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        load_mapping(tmp_path / "map.yaml")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*gone\.yaml"):
        load_mapping(tmp_path / "gone.yaml")
