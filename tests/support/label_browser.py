"""Somebody at the labelling page, in a real browser, who uses the keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

_BRIGHTNESS = """() => [...document.querySelectorAll("#cameras canvas")].map((canvas) =>
  canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0])"""
PATIENCE_MS = 30_000
"""How long what is expected may take: a busy machine is no fault of the page."""


@contextmanager
def browser_at(executable: str) -> Iterator[Browser]:
    """The system's Chromium without a window."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


class Annotator:
    """A person in front of the page.

    Args:
        context: of the browser; two persons have two.
        url: of the page.
        name: given to the page if it asks for one.
    """

    def __init__(self, context: BrowserContext, url: str, name: str = "anna") -> None:
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", lambda box: self.faults.append(f"a script said {box.message}"))
        self.page.goto(url)
        expect(self.page.locator("#title")).not_to_have_text("…")
        if self.page.locator("dialog input").count():
            self.page.keyboard.type(name)
            self.press("Enter")
        self.waits_for_episode("")

    def waits_for_episode(self, title: str) -> None:
        """Until that episode is open and its pictures are there; any one for ""."""
        shown = self.page.locator("#episode")
        if title:
            expect(shown).to_have_text(f"Episode {title}")
        else:
            expect(shown).not_to_have_text("…")

    def press(self, *keys: str) -> None:
        """Keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def goes_to(self, frame: int) -> None:
        """From wherever the cursor is to a frame, in steps of ten and of one."""
        way = frame - self.frame
        side = "ArrowRight" if way > 0 else "ArrowLeft"
        self.press(*[f"Shift+{side}"] * (abs(way) // 10), *[side] * (abs(way) % 10))
        assert self.frame == frame

    def looks(self) -> None:
        """As long as anybody needs to see what an episode is about."""
        self.page.wait_for_timeout(500)

    def plays_on(self, frame: int) -> None:
        """Play until a frame is reached; it goes on playing."""
        self.press("Space")
        script = (
            "(frame) => +document.querySelector('#time').textContent.match(/\\d+$/)[0] >= frame"
        )
        self.page.wait_for_function(script, arg=frame)

    def plays_until(self, frame: int) -> None:
        """Play, and stop near a frame as soon as it is reached."""
        self.plays_on(frame)
        self.press("ArrowLeft")  # Space would begin anew if the end was reached meanwhile

    def brightness(self) -> list[int]:
        """Red in the middle of every camera's picture, 0 to 255; 0 where there is none yet."""
        return self.page.evaluate(_BRIGHTNESS)

    def sees_pictures(self) -> None:
        """Until every camera shows something."""
        some = f"() => ({_BRIGHTNESS})().every((one) => one > 0)"
        self.page.wait_for_function(some, timeout=PATIENCE_MS)

    def sees_brightness(self, value: int) -> None:
        """Until all cameras show it, as nearly as JPEG does."""
        near = f"() => ({_BRIGHTNESS})().every((one) => Math.abs(one - {value}) < 4)"
        self.page.wait_for_function(near, timeout=PATIENCE_MS)

    @property
    def frame(self) -> int:
        """The frame that the page says it shows."""
        return int(self.text("#time").rpartition("frame ")[2])

    def text(self, selector: str) -> str:
        """What stands somewhere."""
        return self.page.locator(selector).first.inner_text()

    def marks(self, frame: int, key: str) -> None:
        """Go to a frame, and press the key of what is seen there."""
        self.goes_to(frame)
        self.press(key)

    def says(self, words: str) -> None:
        """Until the page says something in passing."""
        expect(self.page.locator("#toasts")).to_contain_text(words)

    def sees_state(self, row: int, state: str) -> None:
        """Until the list shows a state for an episode, by its place in the list."""
        button = self.page.locator("#episodes li button").nth(row)
        expect(button).to_have_class(state)
