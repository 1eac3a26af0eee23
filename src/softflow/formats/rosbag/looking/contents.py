"""What a bag holds: its topics and, of those that a mapping names, every field and joint."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from rosbags.interfaces import Nodetype

from softflow.formats.contents import Part
from softflow.formats.rosbag.mapping import RosbagMapping
from softflow.formats.rosbag.reader import Recording
from softflow.formats.rosbag.types import HEADER, NAME_FIELDS

IMAGES = "CompressedImage"
"""In the type of messages whose pictures are encoded: that they are belongs to what they are."""
MAP_IT = "name it in the mapping"


def contents_of(recording: Recording, mapping: RosbagMapping) -> list[Part]:
    """Every topic of a bag: what its fields become, or that the mapping leaves them out."""
    used = _used(mapping)
    parts: list[Part] = []
    for topic in mapping.topics:
        msgtype = recording.topics[topic]
        for name, desc in recording.types.fields(msgtype):
            takers = [key for field, key in used[topic] if _root(field) in (name, "")]
            becomes = ", ".join(dict.fromkeys(takers)) or _by_itself(name)
            kind = _told(desc) + (f" of {msgtype}" if IMAGES in msgtype else "")
            why = "" if becomes else MAP_IT
            parts.append(Part(f"{topic} {name}", None, kind, becomes, why))
        parts += _joints_left(recording, mapping, topic)
    return parts + unmapped(recording, mapping.topics)


def unmapped(recording: Recording, known: Collection[str], where: str = "") -> list[Part]:
    """The topics of a bag that nobody named."""
    return [
        Part(f"{topic}{where}", None, msgtype, why=MAP_IT)
        for topic, msgtype in recording.topics.items()
        if topic not in known
    ]


def _used(mapping: RosbagMapping) -> dict[str, list[tuple[str, str]]]:
    """Topic -> (field, what it becomes); an empty field stands for the whole message."""
    used: dict[str, list[tuple[str, str]]] = {topic: [] for topic in mapping.topics}
    for key, signals in {**mapping.observations, "action": mapping.action}.items():
        for signal in signals:
            used[signal.topic].append((signal.field, key))
    for key, camera in mapping.cameras.items():
        used[camera.topic].append(("", key))
    for role, event in mapping.events.items():
        used[event.topic].append((event.field, role))
    return used


def _root(field: str) -> str:
    return field.split(".")[0].split("[")[0]


def _by_itself(name: str) -> str:
    """What softflow uses without being told."""
    return "its time" if name == HEADER else "the joints' order" if name in NAME_FIELDS else ""


def _told(desc: Any) -> str:
    """A field's type as ROS writes it."""
    node, detail = desc
    if node == Nodetype.BASE:
        return str(detail[0])
    if node == Nodetype.NAME:
        return str(detail)
    return f"{_told(detail[0])}[{detail[1] or ''}]"


def _joints_left(recording: Recording, mapping: RosbagMapping, topic: str) -> list[Part]:
    """The joints that the first messages of a topic tell of and no signal takes."""
    wanted: set[str] = set()
    for signal in mapping.signals:
        if signal.topic == topic:
            if not signal.names:
                return []
            wanted |= {*signal.names}
    groups = recording.joint_groups(topic) if wanted else []
    there = dict.fromkeys(name for group in groups for name in group)
    return [
        Part(f"{topic} joint {name}", None, "", why="add it to 'names'")
        for name in there
        if name not in wanted
    ]
