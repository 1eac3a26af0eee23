"""The labelling page in a real browser, by the keyboard alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.labelling.event_kinds import FILE_NAME

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from label_browser import Annotator, browser_at  # noqa: E402
from label_waiting import waited_for  # noqa: E402
from playwright.sync_api import Browser, expect  # noqa: E402

pytestmark = pytest.mark.slow
StartServer = Callable[..., str]
StartProcess = Callable[..., Any]
ToyParts = Callable[[DataSpec, int], Episode]
SUCCESS = ("success", 1.0, "success")


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with browser_at(chromium) as started:
        yield started


def labels_of(path: Path) -> list[Label | None]:
    """The label of every episode that counts."""
    store = EpisodeStore.open(path)
    return [store.newest_label(index) for index in range(len(store))]


def test_a_label_by_the_keyboard_is_what_the_store_holds(
    browser: Browser, toy_store: EpisodeStore, start_process: StartProcess
) -> None:
    server = start_process(toy_store.path, "--port", 0)
    anna = Annotator(browser.new_context(), server.url)
    anna.waits_for_episode("0")
    anna.marks(6, "1")
    anna.marks(21, "1")
    anna.marks(31, "s")
    anna.press("Enter")
    anna.waits_for_episode("1")
    anna.looks()
    anna.press("Enter")  # nothing happened
    anna.waits_for_episode("2")
    anna.marks(13, "d")
    anna.press("z", "Shift+z", "Enter")
    anna.waits_for_episode("3")
    anna.marks(9, "e")
    anna.press("Enter")
    anna.says("That was the last one")
    waited_for(toy_store.path, 3)
    said = [label.events for label in labels_of(toy_store.path) if label]
    reward = ("reward", 1.0, "reward")
    assert said == [
        (Event(5, *reward), Event(20, *reward), Event(30, "success", 1.0, "success")),
        (),
        (Event(12, "failure", 0.0, "dropped"),),
        (Event(8, "end"),),
    ]
    assert {label.annotator for label in labels_of(toy_store.path) if label} == {"anna"}
    assert not anna.faults
    assert "every label" in server.interrupt()
    assert server.process.returncode == 0


def test_the_pictures_are_those_of_the_frame(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    """The brightness of the toy's frames is five times their step, in both cameras."""
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    for frame in (0, 17, 40, 33):
        anna.goes_to(frame)
        anna.sees_brightness(5 * frame)
    assert len(anna.brightness()) == 2


def test_nothing_is_lost_with_a_closed_tab(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    context, server = browser.new_context(), start_server(toy_store.path)
    anna = Annotator(context, server)
    anna.marks(7, "1")
    anna.page.close()
    again = Annotator(context, server)
    again.says("not saved is back")
    again.press("Enter")
    (label,) = waited_for(toy_store.path, 0)
    assert label.events == (Event(6, "reward", 1.0, "reward"),)


def test_an_old_draft_does_not_overwrite_what_was_saved_since(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    """The same person at another computer meanwhile."""
    context, server = browser.new_context(), start_server(toy_store.path)
    anna = Annotator(context, server)
    anna.marks(7, "1")
    anna.page.close()
    elsewhere = Annotator(browser.new_context(), server)
    elsewhere.marks(21, "s")
    elsewhere.press("Enter")
    waited_for(toy_store.path, 0)
    again = Annotator(context, f"{server}#episode_000000")
    expect(again.page.locator("#saying")).to_contain_text("labelled success +1")
    again.press("j")
    again.waits_for_episode("1")
    assert len(waited_for(toy_store.path, 0)) == 1


def test_nothing_is_lost_with_a_killed_server(
    browser: Browser, toy_store: EpisodeStore, start_process: StartProcess
) -> None:
    server = start_process(toy_store.path, "--port", 0)
    anna = Annotator(browser.new_context(), server.url)
    anna.page.wait_for_load_state("networkidle")
    server.kill()
    anna.marks(11, "s")
    anna.press("Enter")
    expect(anna.page.locator("#banner")).to_contain_text("1 label waits in this browser")
    start_process(toy_store.path, "--port", server.port)
    (label,) = waited_for(toy_store.path, 0)
    assert label.events == (Event(10, "success", 1.0, "success"),)
    expect(anna.page.locator("#banner")).to_be_hidden()


def test_a_label_that_is_refused_is_a_draft_again(
    browser: Browser, toy_store: EpisodeStore, start_process: StartProcess
) -> None:
    """Somebody declared other events while the server was away: the page is loaded anew."""
    server = start_process(toy_store.path, "--port", 0)
    anna = Annotator(browser.new_context(), server.url)
    server.kill()
    anna.marks(11, "s")
    anna.press("Enter")
    (toy_store.path / FILE_NAME).write_text('[[event]]\nname = "cut"')
    start_process(toy_store.path, "--port", server.port)
    expect(anna.page.locator("#marks")).to_contain_text("cut")
    anna.waits_for_episode("1")
    anna.press("k")
    anna.waits_for_episode("0")
    expect(anna.page.locator("#saying")).to_contain_text("not saved yet success +1")
    anna.sees_state(0, "unlabelled")


def test_a_disk_that_refuses_keeps_the_label_in_the_browser(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    """A folder of the system's in its place: root, too, cannot write there."""
    labels = toy_store.path / "labels"
    labels.symlink_to("/proc/sys")
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.marks(11, "s")
    anna.press("Enter")
    expect(anna.page.locator("#banner")).to_contain_text("waits in this browser")
    labels.unlink()
    assert waited_for(toy_store.path, 0)[0].events[0].step == 10


def test_two_annotators_a_recorder_and_a_disagreement_that_is_settled(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer, toy_parts: ToyParts
) -> None:
    server = start_server(toy_store.path)
    anna = Annotator(browser.new_context(), server)
    ben = Annotator(browser.new_context(), server, "ben")
    anna.marks(30, "s")
    anna.press("Enter")
    anna.waits_for_episode("1")
    ben.says("anna has labelled this episode, too")
    ben.marks(30, "f")
    ben.press("Enter")
    anna.sees_state(0, "disagreement")
    with EpisodeStore.open(toy_store.path, writable=True) as recorder:
        recorder.append(toy_parts(toy_store.spec, 9))
    expect(anna.page.locator("#episodes li")).to_have_count(5)
    anna.press("k")
    anna.waits_for_episode("0")
    expect(anna.page.locator("#save")).to_contain_text("Settle")
    anna.press("Enter")
    anna.sees_state(0, "labelled")
    labels = waited_for(toy_store.path, 0, 3)
    assert [label.annotator for label in labels] == ["anna", "ben", "resolution:anna"]
    assert labels[-1].events == labels[0].events
    anna.page.get_by_role("button", name="agreement").click()
    expect(anna.page.locator("dialog")).to_contain_text("anna and ben")
    assert not anna.faults + ben.faults


def test_what_is_proposed_is_accepted_with_one_key(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    from softflow.labelling.proposals import Proposal, ProposalFolder, ProposedEvent

    event = Event(19, "success", 1.0, "success")
    folder = ProposalFolder(toy_store)
    for index in (0, 1):
        folder.write(index, Proposal("a-rule", "1", (ProposedEvent(event, 0.8),), "made up"))
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.sees_state(0, "proposed")
    anna.looks()
    anna.press("a")
    anna.waits_for_episode("1")
    anna.press("Shift+a")
    anna.marks(16, "s")  # it was earlier
    anna.press("Enter")
    assert waited_for(toy_store.path, 0)[0].events == (event,)
    assert waited_for(toy_store.path, 1)[0].events[0].step == 15
    assert waited_for(toy_store.path, 0)[0].annotator == "anna"


def test_names_are_text_and_nothing_else(
    browser: Browser, tmp_path: Path, start_server: StartServer, toy_parts: ToyParts
) -> None:
    evil = '<img src=x onerror="alert(1)">'
    spec = DataSpec(
        {"observation.state": (3,)},
        2, (-1, -1), (1, 1), 10.0,
        names={"action": (evil, "b"), "observation.state": ("<b>a</b>", "b", "c")},
    )  # fmt: skip
    with EpisodeStore.create(tmp_path / "<b>evil<b>", spec) as store:
        store.append(toy_parts(spec, 0))
        store.append(toy_parts(spec, 1))
        store.label(0, Label(evil, (Event(4, "success", 1.0),)))
    anna = Annotator(browser.new_context(), start_server(store.path))
    anna.press("k", "o")
    anna.page.get_by_role("button", name="signals").click()
    expect(anna.page.locator("dialog")).to_contain_text(evil)
    anna.press("Escape")
    anna.page.get_by_role("button", name="Every label").click()
    expect(anna.page.locator("dialog")).to_contain_text(evil)
    assert anna.page.locator("b:text-is('evil'), img").count() == 0
    assert anna.text("#title") == "<b>evil<b>"
    assert not anna.faults


def test_everything_goes_by_mouse_too(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    anna = Annotator(
        browser.new_context(viewport={"width": 1280, "height": 720}),
        start_server(toy_store.path),
    )
    box = anna.page.locator("#timeline canvas").bounding_box()
    assert box is not None
    y = box["y"]
    at = [box["x"] + 1 + frame / 40 * (box["width"] - 2) for frame in range(41)]
    anna.page.mouse.click(at[20], y + 70)
    assert anna.frame == 20
    anna.page.locator("#transport select").select_option("4")
    anna.press("ArrowLeft", "ArrowRight")
    assert anna.frame == 20
    anna.page.locator("#marks .success").click()
    anna.page.mouse.move(at[20] + 10, y + 35)
    anna.page.mouse.down()
    anna.page.mouse.move(at[24], y + 35)
    anna.page.mouse.move(at[25], y + 35)
    anna.page.mouse.up()
    anna.page.locator("#save").click()
    anna.waits_for_episode("1")
    assert waited_for(toy_store.path, 0)[0].events == (Event(24, *SUCCESS),)
    anna.page.locator("#episodes button").first.click()
    anna.waits_for_episode("0")
    anna.page.mouse.click(at[25] + 10, y + 35, button="right")
    expect(anna.page.locator("#saying")).to_contain_text("not saved yet")


def test_the_help_names_every_key(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    server = start_server(toy_store.path, events="scissors")
    anna = Annotator(browser.new_context(), server)
    anna.press("?")
    expect(anna.page.locator("dialog")).to_contain_text("retrieved +1")
    expect(anna.page.locator("dialog")).to_contain_text("the tape is cut through")
    anna.press("Escape")
    anna.marks(8, "1")
    anna.marks(16, "1")  # it happens once: corrected
    anna.marks(24, "2")
    anna.press("Enter")
    events = waited_for(toy_store.path, 0)[0].events
    assert [(event.name, event.step) for event in events] == [("retrieved", 15), ("cut", 23)]


def test_an_empty_store_waits_for_its_first_episode(
    browser: Browser, tmp_path: Path, start_server: StartServer, toy_parts: ToyParts
) -> None:
    spec = DataSpec({"observation.state": (3,)}, 2, (-1, -1), (1, 1), 10.0)
    with EpisodeStore.create(tmp_path / "new", spec) as recorder:
        anna = Annotator(browser.new_context(), start_server(recorder.path))
        expect(anna.page.locator("#episodes")).to_contain_text("No episodes yet")
        recorder.append(toy_parts(spec, 0))
        anna.waits_for_episode("0")
    anna.marks(12, "f")
    anna.press("Enter")
    assert waited_for(tmp_path / "new", 0)[0].events[0].kind == "failure"


def test_a_torn_episode_is_told_and_the_others_are_labelled(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer
) -> None:
    path = toy_store.episode_path(1)
    path.write_bytes(path.read_bytes()[:900])
    anna = Annotator(browser.new_context(), start_server(toy_store.path))
    anna.sees_state(1, "unreadable")
    anna.looks()
    anna.press("Enter")
    anna.waits_for_episode("2")
    anna.press("k")
    expect(anna.page.locator("#banner")).to_contain_text("is damaged")
    anna.press("j")
    anna.waits_for_episode("2")
    anna.looks()
    anna.press("Enter")
    assert waited_for(toy_store.path, 2)


def test_beyond_loopback_a_token_is_asked_for_once(
    browser: Browser, toy_store: EpisodeStore, start_server: StartServer, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("a1" * 20)
    token.chmod(0o600)
    server = start_server(toy_store.path, host="0.0.0.0", token_file=token)
    page = browser.new_context().new_page()
    page.goto(server)
    page.locator("dialog input[type=password]").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_contain_text("this is not the token")
    page.locator("dialog input[type=password]").fill("a1" * 20)
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("toy")
    (cookie,) = page.context.cookies()
    assert cookie.get("httpOnly")
    assert cookie.get("sameSite") == "Strict"
