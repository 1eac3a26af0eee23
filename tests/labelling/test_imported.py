"""Data of others, imported by the command and labelled in a browser by the keyboard alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from label_browser import Annotator, browser_at
from playwright.sync_api import Browser, expect

pytestmark = pytest.mark.slow
Label = Callable[..., Annotator]
TOPICS = """
control_hz: 10
observation.state:
  - {topic: /joints, field: position, names: [a, b]}
observation.images.front: {topic: /camera}
action:
  - {topic: /command, field: data}
clock: receive
"""
BAG_STEPS = 40


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with browser_at(chromium) as started:
        yield started


@pytest.fixture
def label(browser: Browser, start_process: Callable[..., Any]) -> Label:
    """`label(store)`: somebody in front of `softflow label STORE --events scissors`."""

    def opened(store: Path) -> Annotator:
        server = start_process(store, "--events", "scissors", "--port", 0)
        return Annotator(browser.new_context(viewport={"width": 1280, "height": 720}), server.url)

    return opened


def data(*words: object) -> None:
    """`softflow data …`, as somebody types it."""
    assert main(["data", *map(str, words)]) == 0


def marked(anna: Annotator, retrieved: int, cut: int) -> tuple[Event, ...]:
    """Play the episode to its end, go back to two frames, mark, save; gives what was said."""
    anna.press("]", "]", "]")
    anna.plays_until(cut)
    anna.marks(retrieved, "1")
    anna.marks(cut, "2")
    anna.press("Enter")
    return (
        Event(retrieved - 1, "reward", 1.0, "retrieved"),
        Event(cut - 1, "success", 1.0, "cut"),
    )


def said_in(store: Path) -> list[tuple[Event, ...]]:
    """What counts, of every episode."""
    opened = EpisodeStore.open(store)
    labels = [opened.newest_label(index) for index in range(len(opened))]
    return [label.events for label in labels if label]


def test_a_robomimic_file_with_a_camera(label: Label, tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    from robomimic_files import ROBOMIMIC

    data("import", "robomimic", ROBOMIMIC, "--out", tmp_path / "lift", "--whole")
    anna = label(tmp_path / "lift")
    expect(anna.page.locator("#cameras figcaption")).to_have_text("agentview")
    anna.sees_pictures()
    said = marked(anna, 11, 38)
    anna.says("That was the last one")
    assert said_in(tmp_path / "lift") == [said]
    assert not anna.faults


def test_a_robosuite_file_of_states_alone(label: Label, tmp_path: Path) -> None:
    """It has no cameras: the signals are looked at."""
    pytest.importorskip("h5py")
    from robomimic_files import ROBOSUITE

    data("import", "robomimic", ROBOSUITE, "--out", tmp_path / "lift")
    anna = label(tmp_path / "lift")
    said = [marked(anna, 9, 30)]
    anna.waits_for_episode("1")
    said.append(marked(anna, 12, 31))
    anna.says("That was the last one")
    assert said_in(tmp_path / "lift") == said
    assert anna.page.locator("#cameras").is_hidden()
    assert not anna.faults


@pytest.mark.skipif(find_spec("robosuite") is None, reason="needs robosuite: softflow[robomimic]")
def test_states_that_the_simulator_shows_again(label: Label, tmp_path: Path) -> None:
    from robomimic_files import ROBOSUITE

    store = tmp_path / "seen"
    data("render", ROBOSUITE, store, "--env-id", "lift", "--size", 64, 64, "--whole")
    anna = label(store)
    assert anna.page.locator("#cameras figure").count() == len(
        EpisodeStore.open(store).spec.image_keys
    )
    anna.sees_pictures()
    said = marked(anna, 9, 30)
    anna.waits_for_episode("1")
    assert said_in(store)[0] == said
    assert not anna.faults


def test_a_recorded_bag(label: Label, tmp_path: Path) -> None:
    """Its camera grows brighter by 5 each step: what is seen at a frame is what is labelled."""
    pytest.importorskip("rosbags")
    from ros_bags import Ros

    ros, messages = Ros(), []
    for step in range(BAG_STEPS + 1):
        frame = np.full((24, 32, 3), 5 * step, np.uint8)
        messages += [
            ("/joints", step / 10, ros.joints(["a", "b"], [step, -step])),
            ("/command", step / 10, ros.number(step)),
            ("/camera", step / 10, ros.compressed(frame)),
        ]
    bag, mapping = ros.write(tmp_path / "bag", messages), tmp_path / "topics.yaml"
    mapping.write_text(TOPICS)
    data("import", "rosbag", bag, "--mapping", mapping, "--out", tmp_path / "tape")
    anna = label(tmp_path / "tape")
    anna.goes_to(17)
    anna.sees_brightness(5 * 17)
    said = marked(anna, 17, 33)
    anna.says("That was the last one")
    anna.sees_brightness(5 * 33)
    assert said_in(tmp_path / "tape") == [said]
    assert EpisodeStore.open(tmp_path / "tape").summary(0).success
    assert not anna.faults
