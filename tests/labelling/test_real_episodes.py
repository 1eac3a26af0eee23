"""Twelve real recorded episodes, labelled from beginning to end with the keyboard alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event
from softflow.formats.importing import import_into
from softflow.formats.lerobot.reading import LeRobotSource
from softflow.utils.progress import SilentProgress

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from label_browser import Annotator, browser_at  # noqa: E402
from playwright.sync_api import Browser, expect  # noqa: E402

pytestmark = pytest.mark.slow
DOOR_ANGLE, OPEN_RAD = 28, 1.0
HANDS, DOORS = 3, 9
SPEED = 8
OWN_S = 2.5
"""What an episode may take beyond its playing time: keys, pictures, saving, the next one."""
StartServer = Callable[..., str]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with browser_at(chromium) as started:
        yield started


class FirstOnes(LeRobotSource):
    """Of a data set the first episodes: decoding videos takes the most of this file's time."""

    def episodes(self) -> list[str]:
        return super().episodes()[:HANDS]


@pytest.fixture(scope="module")
def hands(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hands that pass a box: episodes at 30 Hz with a camera, imported from LeRobot."""
    path = tmp_path_factory.mktemp("hands") / "hands"
    source = FirstOnes(shared_data / "g1_inspire_lerobot_v21")
    import_into(source, path, SilentProgress(), image_size=(72, 96))
    return path


@pytest.fixture
def doors(shared_data: Path, tmp_path: Path) -> tuple[Path, list[int]]:
    """People who open a door: episodes without cameras, and the step that opened it in each."""
    with np.load(shared_data / "adroit_door_human" / "door_human.npz") as archive:
        states, actions = archive["observations"], archive["actions"].clip(-1, 1)
        ends = np.cumsum(archive["lengths"])
    spec = DataSpec({STATE_KEY: (states.shape[1],)}, 28, (-1,) * 28, (1,) * 28, 40.0)
    opened: list[int] = []
    with EpisodeStore.create(tmp_path / "doors", spec) as store:
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            rows = states[start:end].astype(np.float32)
            found = np.flatnonzero(rows[1:, DOOR_ANGLE] >= OPEN_RAD)
            if len(found) and len(opened) < DOORS:
                opened.append(int(found[0]))
                store.append(recorded(rows, actions[start : end - 1].astype(np.float32)))
    assert len(opened) == DOORS
    return store.path, opened


def recorded(states: np.ndarray, actions: np.ndarray) -> Episode:
    """An episode of which nobody says how it went."""
    facts = {"unlabelled": True, "operator": "human"}
    rewards = np.zeros(len(actions), np.float32)
    return Episode({STATE_KEY: states}, actions, rewards, False, True, False, facts)


def said_in(path: Path) -> list[tuple[Event, ...]]:
    store = EpisodeStore.open(path)
    return [label.events for i in range(len(store)) if (label := store.newest_label(i))]


def wait_for_last(anna: Annotator, count: int) -> None:
    anna.says("That was the last one")
    expect(anna.page.locator("#counts")).to_have_text(f"{count} of {count} labelled")


def test_three_episodes_with_a_camera(
    browser: Browser, hands: Path, start_server: StartServer
) -> None:
    """Played, stopped near an event, put to the frame, marked; the page is not what takes time."""
    store = EpisodeStore.open(hands)
    lengths = [store.summary(index).length for index in range(HANDS)]
    anna = Annotator(browser.new_context(), start_server(hands, events="scissors"))
    anna.press(*["]"] * 3)
    expected: list[tuple[Event, ...]] = []
    own_s: list[float] = []
    for index, length in enumerate(lengths):
        anna.waits_for_episode(str(index))
        retrieved, cut = length // 3, length - 20 - index
        began_s = time.monotonic()
        anna.plays_until(retrieved)
        anna.marks(retrieved, "1")
        anna.plays_until(cut)
        anna.marks(cut, "2")
        anna.press("Enter")
        own_s.append(time.monotonic() - began_s - cut / (30 * SPEED))
        events = (
            Event(retrieved - 1, "reward", 1.0, "retrieved"),
            Event(cut - 1, "success", 1.0, "cut"),
        )
        expected.append(events)
    wait_for_last(anna, HANDS)
    assert said_in(hands) == expected
    assert not anna.faults
    assert min(own_s) < OWN_S, own_s


def test_nine_episodes_without_cameras(
    browser: Browser, doors: tuple[Path, list[int]], start_server: StartServer
) -> None:
    path, opened = doors
    anna = Annotator(browser.new_context(), start_server(path))
    for index, step in enumerate(opened):
        anna.waits_for_episode(str(index))
        anna.press("End")  # it is open in the end; go back to where it opened
        anna.marks(step + 1, "s")
        anna.press("Enter")
    wait_for_last(anna, DOORS)
    assert said_in(path) == [(Event(step, "success", 1.0, "success"),) for step in opened]
    assert anna.page.locator("#cameras").is_hidden()
    assert not anna.faults
