"""What the documentation shows is what the reader understands."""

from __future__ import annotations

from pathlib import Path

import yaml

from softflow.formats.rosbag.yaml import parse_mapping

PAGE = Path(__file__).parents[3] / "docs" / "rosbag_mapping.md"


def test_the_example_of_the_documentation_is_understood() -> None:
    text = PAGE.read_text().partition("```yaml\n")[2].partition("```")[0]
    mapping = parse_mapping(yaml.safe_load(text))
    assert mapping.control_hz == 10
    assert [s.field for s in mapping.observations["observation.state"]][1:] == [
        "pose.position",
        "pose.orientation",
        "data",
    ]
    assert mapping.cameras["observation.images.wrist"].size == (84, 84)
    assert mapping.action_low == (-2.9, -1.8, 0.0)
    assert mapping.success is not None
    assert mapping.on_gap == "split"
