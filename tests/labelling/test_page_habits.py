"""What hurt people at other labelling pages: keys that do too little or too much, lost labels.

Each is a fault that users of label tools reported, built small: keyboards of other alphabets,
focus that a button keeps, a key that bounces, a marked frame that nobody saw, a full browser, a
server that comes back as another one, times in another zone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from label_browser import Annotator, browser_at
from label_waiting import waited_for
from playwright.sync_api import Browser, Route, expect

pytestmark = pytest.mark.slow
StartServer = Callable[..., str]
StartProcess = Callable[..., Any]
ToyParts = Callable[[DataSpec, int], Episode]
_PRESS = """([key, code, more]) => dispatchEvent(
  new KeyboardEvent("keydown", {key, code, cancelable: true, ...more}))"""

_SLOWLY = """const decoded = createImageBitmap;
window.createImageBitmap = async (one) => {
  await new Promise((done) => setTimeout(done, 400));
  return decoded(one);
};"""
_MARK_NOW = """async () => {
  const canvas = document.querySelector("#cameras canvas");
  const seen = canvas.getContext("2d").getImageData(9, 9, 1, 1).data[0];
  dispatchEvent(new KeyboardEvent("keydown", {key: "1", code: "Digit1", cancelable: true}));
  return seen;
}"""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with browser_at(chromium) as started:
        yield started


def types(anna: Annotator, key: str, code: str, **more: bool) -> None:
    """A key as a keyboard of another language reports it."""
    anna.page.evaluate(_PRESS, [key, code, more])


def test_keys_of_other_alphabets_mean_what_stands_in_their_place(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    """Cyrillic, a French digit, an input method; a Latin letter is always the one written."""
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.goes_to(6)
    types(anna, "&", "Digit1")
    anna.goes_to(21)
    types(anna, "Process", "Digit1")
    anna.goes_to(31)
    types(anna, "ы", "KeyS")
    saying = anna.page.locator("#saying")
    expect(saying).to_contain_text("reward +1, reward +1, success +1")
    types(anna, "я", "KeyZ")
    expect(saying).to_contain_text("reward +1, reward +1")
    types(anna, "Я", "KeyZ", shiftKey=True)
    expect(saying).to_contain_text("success +1")
    types(anna, "q", "KeyS")  # Dvorak and others: nothing is called q
    types(anna, "[", "Digit8", altKey=True, ctrlKey=True, modifierAltGraph=True)  # German
    expect(anna.page.locator("#transport select")).to_have_value("0.5")
    anna.press("Enter")
    assert [event.step for event in waited_for(toy_store.path, 0)[0].events] == [5, 20, 30]


def test_a_button_that_was_clicked_does_not_hold_the_keys(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.page.locator("#marks .success").click()
    anna.press("z")
    anna.page.locator("#transport select").focus()
    anna.goes_to(0)
    anna.page.get_by_role("button", name="One frame on").click()
    anna.press("Space")  # plays, and does not press that button again
    expect(anna.page.locator("#time")).to_contain_text("4.0 s of 4.0 s")
    anna.marks(31, "s")
    anna.press("Enter")
    anna.waits_for_episode("1")
    assert waited_for(toy_store.path, 0)[0].events == (Event(30, "success", 1.0, "success"),)


def test_who_goes_by_tab_reaches_what_has_no_key(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.page.get_by_role("button", name="agreement").focus()
    anna.press("Enter")
    expect(anna.page.locator("dialog")).to_contain_text("Agreement")
    anna.press("Escape")
    assert EpisodeStore.open(toy_store.path).newest_label(0) is None


def test_enter_twice_says_nothing_of_an_episode_that_nobody_saw(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.marks(31, "s")
    anna.press("Enter", "Enter")
    anna.waits_for_episode("1")
    anna.says("This episode has only just opened")
    anna.looks()
    anna.press("Enter")
    anna.waits_for_episode("2")
    waited_for(toy_store.path, 1)
    assert [label is None for label in labels_of(toy_store.path)] == [False, False, True, True]


def labels_of(path: Path) -> list[Label | None]:
    store = EpisodeStore.open(path)
    return [store.newest_label(index) for index in range(len(store))]


def test_a_held_key_marks_once(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.goes_to(6)
    anna.press("Space")
    for _ in range(30):  # as the keyboard repeats it, 30 times a second
        anna.page.keyboard.down("1")
        anna.page.wait_for_timeout(10)
    anna.page.keyboard.up("1")
    expect(anna.page.locator("#saying")).to_have_text("not saved yet reward +1")


def test_a_picture_that_is_late_says_so(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    """Otherwise the frame before is taken for the one under the cursor."""
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.goes_to(20)
    anna.sees_brightness(100)
    late = anna.page.locator("#cameras .waiting")
    expect(late).to_have_count(0)
    held: list[Route] = []
    anna.page.route("**/frames?*", lambda route: held.append(route))
    anna.press("j")
    anna.waits_for_episode("1")
    expect(late).to_have_count(2)
    for route in held:
        route.continue_()
    anna.page.unroute_all()
    anna.goes_to(20)
    expect(late).to_have_count(0)


def test_what_is_marked_while_it_plays_is_what_is_seen(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    """A browser that decodes slowly shows frames behind the cursor; the picture counts."""
    context = browser.new_context()
    context.add_init_script(_SLOWLY)
    anna = Annotator(context, start_server(toy_store.path))
    anna.sees_brightness(0)
    anna.press("]", "]")
    anna.plays_on(24)
    frame = round(anna.page.evaluate(_MARK_NOW) / 5)
    anna.press("ArrowLeft", "Enter")
    (event,) = waited_for(toy_store.path, 0)[0].events
    assert event.step + 1 == frame


def test_a_browser_that_keeps_nothing_loses_no_label(
    browser: Browser, toy_store: EpisodeStore, start_process: StartProcess
) -> None:
    server = start_process(toy_store.path, "--port", 0)
    context = browser.new_context()
    context.add_init_script("Storage.prototype.setItem = () => { throw new Error('full') }")
    anna = Annotator(context, server.url)
    server.kill()
    anna.marks(11, "s")
    anna.says("This browser keeps nothing")
    anna.press("Enter")
    anna.page.evaluate("location.hash = ''")
    start_process(toy_store.path, "--port", server.port)
    assert waited_for(toy_store.path, 0)[0].events == (Event(10, "success", 1.0, "success"),)
    anna.waits_for_episode("1")  # it is opened as soon as the server is there again


def test_another_data_set_at_the_same_address_takes_no_draft(
    browser: Browser, toy_store: EpisodeStore, start_process: StartProcess, toy_parts: ToyParts
) -> None:
    """Two folders of the same name, one after the other at the port that softflow label takes."""
    other = toy_store.path.parent / "other" / toy_store.path.name
    with EpisodeStore.create(other, toy_store.spec) as store:
        store.append(toy_parts(toy_store.spec, 77))
    context, server = browser.new_context(), start_process(toy_store.path, "--port", 0)
    anna = Annotator(context, server.url)
    anna.marks(11, "s")
    server.kill()
    elsewhere = start_process(other, "--port", server.port)
    expect(anna.page.locator("#episodes li")).to_have_count(1)
    expect(anna.page.locator("#saying")).not_to_contain_text("not saved yet")
    elsewhere.kill()
    start_process(toy_store.path, "--port", server.port)
    expect(anna.page.locator("#saying")).to_contain_text("not saved yet success +1")
    assert EpisodeStore.open(other).newest_label(0) is None


def test_who_takes_over_at_the_page_does_not_sign_what_another_marked(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.marks(11, "s")
    anna.page.locator("#annotator").click()
    anna.page.keyboard.type("ben")
    anna.press("Enter")
    expect(anna.page.locator("#annotator")).to_have_text("ben")
    assert waited_for(toy_store.path, 0)[0].annotator == "anna"


def test_times_are_those_of_the_clock_on_the_wall(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    toy_store.label(0, Label("ben", (), "2026-11-30T23:30:00+00:00"))
    context = browser.new_context(timezone_id="Asia/Tokyo", locale="de-DE")
    anna = Annotator(context, start_server(toy_store.path) + "#episode_000000")
    anna.page.get_by_role("button", name="Every label").click()
    expect(anna.page.locator("dialog td").first).to_have_text("01.12.26, 08:30:00")
