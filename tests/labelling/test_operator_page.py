"""The operator's page in robot rounds: live state, stop and start, the label of each episode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from exchange_parts import SPEC, recorded, toy_claim

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event
from softflow.robot.exchange.commands import CommandFolder
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.order import Order, write_order
from softflow.robot.exchange.outbox import EpisodeOutbox

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from label_browser import Annotator, browser_at  # noqa: E402
from playwright.sync_api import Browser, expect  # noqa: E402

pytestmark = pytest.mark.slow
StartServer = Callable[..., str]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with browser_at(chromium) as started:
        yield started


class Arm:
    """A robot that sends what it recorded to an exchange."""

    def __init__(self, folder: Path) -> None:
        self.exchange = toy_claim(folder).folder.path
        self._store = EpisodeStore.create(folder / "arm", SPEC)
        self._outbox = EpisodeOutbox(ExchangeFolder(self.exchange), "arm", SPEC, print)

    def sends(self, seed: int) -> None:
        self._store.append(recorded(seed, length=30, unlabelled=True))
        assert self._outbox.send(self._store) == 0

    def commands(self) -> CommandFolder:
        return CommandFolder(self.exchange / "commands", print)


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(tmp_path)


def test_an_episode_that_ends_is_asked_for_and_labelled(
    browser: Browser, arm: Arm, start_server: StartServer
) -> None:
    write_order(ExchangeFolder(arm.exchange), Order("3_online_rl_00000500", 10, taken=2))
    arm.sends(0)
    anna = Annotator(browser.new_context(), start_server(exchange=arm.exchange, events="cube"))
    anna.waits_for_episode("arm 0")
    expect(anna.page.locator("#robots")).to_contain_text("3_online_rl_00000500")
    expect(anna.page.locator("#robots")).to_contain_text("has 2, wants 10")
    anna.marks(12, "1")
    anna.marks(25, "d")
    anna.press("Enter")
    anna.sees_state(0, "labelled")
    arm.sends(1)
    anna.says("Episode arm 1 ended. What happened?")
    anna.waits_for_episode("arm 1")
    anna.looks()
    anna.press("x")
    anna.sees_state(1, "discarded")
    said = arm.commands().all()
    assert [(one.kind, one.author, one.episode[:10]) for one in said] == [
        ("label", "anna", "arm-000000"),
        ("discard", "anna", "arm-000001"),
    ]
    assert said[0].said_label().events == (
        Event(11, "reward", 1.0, "rotated"),
        Event(24, "failure", 0.0, "dropped"),
    )
    assert not anna.faults


def test_robots_are_stopped_and_started(
    browser: Browser, arm: Arm, start_server: StartServer
) -> None:
    arm.sends(0)
    anna = Annotator(browser.new_context(), start_server(exchange=arm.exchange))
    expect(anna.page.locator("#robots")).to_contain_text("may move")
    anna.press("Escape")
    expect(anna.page.locator("#robots")).to_contain_text("stand still (anna)")
    stop = arm.commands().stopped()
    assert stop is not None
    anna.page.get_by_role("button", name="Start robots").click()
    expect(anna.page.locator("#robots")).to_contain_text("may move")
    assert arm.commands().stopped() is None


def test_a_slow_click_stops_and_a_double_click_starts_nothing(
    browser: Browser, arm: Arm, start_server: StartServer
) -> None:
    """The page renews its facts every second, also under a finger that rests on the button."""
    arm.sends(0)
    anna = Annotator(browser.new_context(), start_server(exchange=arm.exchange))
    stop = anna.page.get_by_role("button", name="Stop robots")
    stop.click(delay=2500)
    expect(anna.page.locator("#robots")).to_contain_text("stand still (anna)")
    stop.dblclick()
    expect(anna.page.locator("#robots")).to_contain_text("stand still (anna)")
    anna.page.wait_for_timeout(500)
    assert {one.kind for one in arm.commands().all()} == {"stop"}


def test_what_was_marked_in_a_discarded_episode_is_not_said_after_it(
    browser: Browser, arm: Arm, start_server: StartServer
) -> None:
    arm.sends(0)
    arm.sends(1)
    anna = Annotator(browser.new_context(), start_server(exchange=arm.exchange))
    anna.marks(12, "1")
    anna.press("x")
    anna.waits_for_episode("arm 1")
    anna.sees_state(0, "discarded")
    anna.press("k")
    anna.waits_for_episode("arm 0")
    expect(anna.page.locator("#saying")).not_to_contain_text("not saved yet")
    assert [one.kind for one in arm.commands().all()] == ["discard"]


def test_an_exchange_that_is_away_is_told_and_comes_back(
    browser: Browser, arm: Arm, start_server: StartServer, tmp_path: Path
) -> None:
    arm.sends(0)
    anna = Annotator(browser.new_context(), start_server(exchange=arm.exchange))
    arm.exchange.rename(tmp_path / "unmounted")
    anna.marks(12, "f")
    anna.press("Enter")
    expect(anna.page.locator("#banner")).to_contain_text("1 label waits in this browser")
    (tmp_path / "unmounted").rename(arm.exchange)
    expect(anna.page.locator("#banner")).to_be_hidden()
    (command,) = arm.commands().all()
    assert command.said_label().events == (Event(11, "failure", 0.0, "failure"),)
