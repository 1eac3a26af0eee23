"""Small healthy bags, MCAP files record by record, and how they are read."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer
from strangers import Outside, outcome

from softflow.formats.rosbag.reading import RosbagSource
from softflow.formats.rosbag.yaml import parse_mapping

MAPPING = parse_mapping(
    {
        "control_hz": 10,
        "observation.state": [{"topic": "/joints", "field": "position", "names": ["a", "b"]}],
        "observation.images.front": {"topic": "/camera"},
        "action": [{"topic": "/command", "field": "data"}],
        "clock": "receive",
    }
)
KINDS = ["mcap", "sqlite3", "compressed messages", "compressed file"]


def written(ros: Any, path: Path, kind: str = "mcap") -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    messages = []
    for step in range(11):
        time = step / 10
        messages += [
            ("/joints", time, ros.joints(["a", "b"], [step, -step])),
            ("/command", time, ros.number(step)),
            ("/camera", time, ros.compressed(pixels)),
        ]

    def setup(writer: Writer) -> None:
        if kind.startswith("compressed"):
            mode = CompressionMode.MESSAGE if "messages" in kind else CompressionMode.FILE
            writer.set_compression(mode, CompressionFormat.ZSTD)

    return ros.write(path, messages, storage="mcap" if kind == "mcap" else "sqlite3", setup=setup)


def read_all(path: Path) -> None:
    source = RosbagSource(path, MAPPING)
    for name in source.episodes():
        source.read(name)
        source.report(name)


def refused(path: Path, outside: Outside, growth: int = 256 * 2**20) -> str:
    with outside.watched(growth=growth):
        message = outcome(lambda: read_all(path))
    assert message, "it was read"
    return message


def described(bag: Path, **changes: Any) -> None:
    """Change metadata.yaml."""
    file = bag / "metadata.yaml"
    value = yaml.safe_load(file.read_text())
    value["rosbag2_bagfile_information"].update(changes)
    file.write_text(yaml.safe_dump(value))


MAGIC = b"\x89MCAP0\r\n"


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<I", len(data)) + data


def message_record(data: bytes) -> bytes:
    return record(5, struct.pack("<HIQQ", 1, 0, 0, 0) + data)


def chunk_record(compressed: bytes, how: str, size: int) -> bytes:
    head = struct.pack("<QQQI", 0, 10, size, 0) + text(how) + struct.pack("<Q", len(compressed))
    return record(6, head + compressed)


def mcap_with(
    records: list[bytes],
    schema: str = "std_msgs/msg/Float64",
    definition: str = "float64 data",
    encoding: str = "ros2msg",
    qos: str = "",
) -> bytes:
    metadata = text("offered_qos_profiles") + text(qos)
    parts = [
        record(1, text("ros2") + text("")),
        record(3, struct.pack("<H", 1) + text(schema) + text(encoding) + text(definition)),
        record(4, struct.pack("<HH", 1, 1) + text("/command") + text("cdr") + text(metadata)),
        *records,
        record(15, struct.pack("<I", 0)),
        record(2, struct.pack("<QQI", 0, 0, 0)),
    ]
    return MAGIC + b"".join(parts) + MAGIC
