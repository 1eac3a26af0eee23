"""How long somebody at the labelling page waits: pictures from the server, and in a browser."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np

from benchmarks.measuring import Row, Section, Spread, measure
from softflow.cli.label_commands import prepared
from softflow.cli.label_options import LabelPage
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.labelling.event_kinds import READY_MADE
from softflow.labelling.server.episode_rows import EpisodeRows
from softflow.labelling.server.frames import FrameBlocks
from softflow.labelling.server.store_episodes import StoreEpisodes

HZ, SPEED, BLOCK = 10.0, 4, 16
FIRST, MORE = "first pictures of an episode, server", "16 steps more, server"
SEEN, LABELLED = "first pictures of an episode, browser", "labelled at 4 times, beyond its playing"
DRAGGED = "cursor dragged far on and let go, browser"
_DRAWN = """(title) => document.querySelector("#episode").textContent === title &&
  [...document.querySelectorAll("#cameras canvas")].every((canvas) =>
    canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[3])"""
_ANOTHER = "(title) => document.querySelector('#episode').textContent !== title"
_PRESENT = "() => document.querySelectorAll('#cameras .waiting').length === 0"
_AT = "(frame) => +document.querySelector('#time').textContent.match(/\\d+$/)[0] >= frame"


def run(turns: int, steps: int = 1200, pixels: int = 224, browser: str | None = None) -> Section:
    """Rows for episodes of three cameras; the ratio is the share of a second.

    Args:
        turns: timed turns.
        steps: control steps of an episode.
        pixels: height and width of a camera.
        browser: the program; the system's Chromium by default, "" for none.
    """
    if browser is None:
        browser = shutil.which("chromium") or shutil.which("google-chrome") or ""
    with tempfile.TemporaryDirectory() as folder:
        path = _store(Path(folder) / "store", steps, pixels)
        rows = [*_served(path, turns), *_in_a_browser(path, turns, steps, browser)]
    return Section(f"Labelling: {steps:,} steps, 3 cameras of {pixels}x{pixels}", "of 1 s", rows)


def _store(path: Path, steps: int, pixels: int) -> Path:
    """Two episodes in which a bright square moves."""
    keys = [f"observation.images.camera_{number}" for number in range(3)]
    shapes = {STATE_KEY: (14,), **dict.fromkeys(keys, (pixels, pixels, 3))}
    spec = DataSpec(shapes, 7, (-1,) * 7, (1,) * 7, HZ)
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 16, (pixels, pixels, 3)) + np.arange(pixels)[:, None, None] // 2
    frames = np.repeat(ground.astype(np.uint8)[None], steps + 1, axis=0)
    for step, frame in enumerate(frames):
        place = step % (pixels - pixels // 8)
        frame[place : place + pixels // 8, place : place + pixels // 8] = 255
    with EpisodeStore.create(path, spec) as store:
        for _ in range(2):
            states = rng.normal(size=(steps + 1, 14)).astype(np.float32)
            actions = rng.uniform(-1, 1, (steps, 7)).astype(np.float32)
            seen = {STATE_KEY: states, **dict.fromkeys(keys, frames)}
            rewards = np.zeros(steps, np.float32)
            store.append(Episode(seen, actions, rewards, False, True, False))
    return path


def _served(path: Path, turns: int) -> list[Row]:
    def first() -> None:
        rows = EpisodeRows(StoreEpisodes(path, READY_MADE["success"]))
        rows.detail("episode_000001")
        FrameBlocks().block(rows.recording("episode_000001"), 0, 1)

    rows = EpisodeRows(StoreEpisodes(path, READY_MADE["success"]))
    recording = rows.recording("episode_000001")
    variants: dict[str, Callable[[], Any]] = {
        FIRST: first,
        MORE: lambda: FrameBlocks().block(recording, BLOCK, BLOCK),
    }
    timings = measure(variants, turns)
    return [_row(name, timings.turns_ms[name]) for name in variants]


def _row(name: str, ms: np.ndarray, note: str = "", aim: str = "") -> Row:
    return Row(name, Spread.of(ms), Spread.of(ms / 1000), aim, note)


def _in_a_browser(path: Path, turns: int, steps: int, browser: str) -> list[Row]:
    if not browser:
        return [Row(SEEN, note="no Chromium on this machine")]
    frames = min(steps, 400)
    with _page(path, browser) as page:
        seen = np.array([_opening_s(page, turn) for turn in range(2 * turns)])
        dragged = np.array([_dragging_s(page, turn, turns) for turn in range(turns)])
        page.keyboard.press("]")
        page.keyboard.press("]")
        labelled = np.array([_labelling_s(page, turn, frames) for turn in range(min(turns, 5))])
    note = f"{frames} steps, {frames / HZ / SPEED:g} s of playing, two events, saved, the next one"
    return [
        _row(SEEN, 1000 * seen, aim="≤ 1"),
        _row(DRAGGED, 1000 * dragged, "until the pictures of that frame are there", "≤ 1"),
        _row(LABELLED, 1000 * np.maximum(labelled, 1e-3), note),
    ]


@contextmanager
def _page(path: Path, browser: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    server = prepared(LabelPage(path, port=0, annotator="benchmark"))
    thread = Thread(target=server.answer, daemon=True)
    thread.start()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = started.new_page(viewport={"width": 1280, "height": 720})
        page.goto(f"http://localhost:{server.port}/")
        page.wait_for_function(_DRAWN, arg="Episode 0")
        yield page
        started.close()
    server.stop()
    thread.join()


def _opening_s(page: Any, turn: int) -> float:
    began_s = time.perf_counter()
    page.keyboard.press("j" if turn % 2 == 0 else "k")
    page.wait_for_function(_DRAWN, arg=f"Episode {1 - turn % 2}")
    return time.perf_counter() - began_s


def _dragging_s(page: Any, turn: int, turns: int) -> float:
    """Open the other episode, and drag the cursor from its beginning to where nobody was yet."""
    _opening_s(page, turn)
    box = page.locator("#timeline canvas").bounding_box()
    y, left = box["y"] + 70, box["x"] + 2
    to = left + (0.3 + 0.6 * turn / turns) * box["width"]
    page.mouse.move(left, y)
    page.mouse.down()
    page.mouse.move(to, y, steps=25)
    page.mouse.up()
    began_s = time.perf_counter()
    page.wait_for_function(_PRESENT)
    return time.perf_counter() - began_s


def _labelling_s(page: Any, turn: int, frames: int) -> float:
    """Play, stop, mark, play, stop, mark, save; what it took beyond playing."""
    title = page.locator("#episode").inner_text()
    began_s = time.perf_counter()
    page.keyboard.press("Home")
    for frame, key in ((frames // 2, "1"), (frames, "s")):
        page.keyboard.press(" ")
        page.wait_for_function(_AT, arg=frame)
        page.keyboard.press(" ")
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    if turn == 0:
        page.wait_for_function(_ANOTHER, arg=title)
    return time.perf_counter() - began_s - frames / HZ / SPEED
