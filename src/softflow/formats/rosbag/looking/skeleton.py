"""A mapping to start from, written from what a bag holds: every topic is in it, most as a comment.

What a bag cannot tell is left to its owner: which topic commands the robot, and the policy's rate.
Nothing is imported from it before `action` names a topic.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from rosbags.interfaces import Nodetype

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY
from softflow.formats.rosbag.fields import QUATERNION_TYPE
from softflow.formats.rosbag.looking.overview import TopicOverview
from softflow.formats.rosbag.types import HEADER, NAME_FIELDS, MessageTypes

COMMAND_WORDS = ("command", "cmd", "target", "goal", "action", "desired", "reference")
SLOWEST_HZ = 1.0
DEPTH = 3
"""Messages inside messages that are gone into for fields of numbers."""


def skeleton(topics: list[TopicOverview], types: MessageTypes) -> str:
    """The YAML text of a mapping for a bag with these topics."""
    states: list[str] = []
    actions: list[str] = []
    cameras: list[str] = []
    others: list[str] = []
    for topic in topics:
        if topic.is_camera and not topic.problem:
            cameras.append(_camera(topic))
            continue
        entries = [] if topic.problem else _entries(topic, types)
        if topic.rate_hz < SLOWEST_HZ or not entries:
            why = topic.problem or ("no numbers" if not entries else f"{topic.rate_hz:.2g} Hz")
            others += [f"# {topic.topic}  {topic.msgtype}  ({why})"]
            others += [f"#   - {entry}" for entry in entries]
        elif any(word in topic.topic.lower() for word in COMMAND_WORDS):
            actions += entries
        else:
            states += entries
    return "\n".join([*_head(topics), *_groups(states, actions, cameras), *_tail(others)]) + "\n"


def _head(topics: list[TopicOverview]) -> list[str]:
    rates = [topic.rate_hz for topic in topics if topic.is_camera and topic.rate_hz]
    slowest = f"; the slowest camera has {min(rates):.1f} Hz" if rates else ""
    return [
        "# Which topics become what. Correct it: delete what the robot will not have when a policy",
        "# acts, and see that 'action' is what was commanded. docs/rosbag_mapping.md explains all.",
        f"control_hz: 10  # the rate of the policy{slowest}",
        "",
    ]


def _groups(states: list[str], actions: list[str], cameras: list[str]) -> list[str]:
    lines = [f"{STATE_KEY}:" if states else f"# {STATE_KEY}:  (no topic of numbers was found)"]
    lines += [f"  - {entry}" for entry in states] + cameras
    if actions:
        return [*lines, "action:", *(f"  - {entry}" for entry in actions)]
    return [
        *lines,
        "action:  # no topic is called a command: name the one that was, then import",
        "  - {topic: NAME_THE_TOPIC, field: data}",
    ]


def _tail(others: list[str]) -> list[str]:
    lines = [
        "",
        "# success: {topic: /operator/verdict, field: data, equals: good}",
        "# episodes: {topic: /operator/recording, field: data, start: true, stop: false}",
    ]
    return lines + (["", "# The bag's other topics:", *others] if others else [])


def _camera(topic: TopicOverview) -> str:
    name = topic.topic.strip("/").replace("/", "_")
    for ending in ("_image_raw", "_compressed", "_image"):
        name = name.replace(ending, "")
    return f"{IMAGE_PREFIX}{name}: {{topic: {topic.topic}}}  # {topic.holds}; size: [84, 84]"


def _entries(topic: TopicOverview, types: MessageTypes) -> list[str]:
    """An entry for each field of numbers that the first message fills, and each publisher's joints.

    A field that has not one number for each joint is entered as it is.
    """
    found: list[str] = []
    for path, count in _number_fields(types, topic.msgtype, topic.first):
        entry = f"topic: {topic.topic}, field: {path}"
        named = topic.joints and count == len(topic.joints[0])
        groups = [f", names: [{', '.join(names)}]" for names in topic.joints] if named else [""]
        found += [f"{{{entry}{names}}}" for names in groups]
    return found


def _number_fields(
    types: MessageTypes, msgtype: str, message: object, above: str = "", depth: int = DEPTH
) -> list[tuple[str, int]]:
    """Path and count of numbers of every such field that is not empty."""
    found: list[tuple[str, int]] = []
    for name, (node, detail) in types.fields(msgtype):
        path, value = f"{above}{name}", getattr(message, name, None)
        if name in (HEADER, *NAME_FIELDS):
            continue
        if node == Nodetype.NAME and detail == QUATERNION_TYPE:
            found.append((path, 4))
        elif node == Nodetype.NAME and depth:
            found += _number_fields(types, detail, value, f"{path}.", depth - 1)
        elif node == Nodetype.BASE and detail[0] != "string":
            found.append((path, 1))
        elif node in (Nodetype.ARRAY, Nodetype.SEQUENCE) and _are_numbers(detail[0]):
            count = len(value) if isinstance(value, Sized) else 0
            found += [(path, count)] if count else []
    return found


def _are_numbers(desc: Any) -> bool:
    return desc[0] == Nodetype.BASE and desc[1][0] != "string"
