"""Text of files on a terminal: nothing steers it, nothing is eaten, nothing crashes."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from softflow.utils.console import plain, say
from softflow.utils.progress import ConsoleProgress

MARKUP = [
    "[bold]x",
    "[/]",
    "[/red]",
    "[link=http://evil]y[/link]",
    "[[x]]",
    "\\[x]",
    ":smile:",
    "[red",
    "x]",
    "[@click=app.bell]",
]
STEERING = "\x1b[2J\x1b]0;title\x07\x9b31m\r\b\x7f\u202e\u2066\u200f\ud800"


@given(st.text())
def test_what_is_plain_stays_and_what_steers_goes(text: str) -> None:
    shown = plain(text)
    assert plain(shown) == shown
    shown.encode()
    assert all(unicodedata.category(c) not in ("Cc", "Cs") or c in "\n\t" for c in shown)
    if text.isprintable():
        assert shown == text or any(ord(c) >= 0x200E for c in text)


def test_codes_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"name {STEERING}")
    shown = capsys.readouterr().out
    assert shown.startswith("name \\x1b[2J\\x1b]0;title\\x07\\x9b31m\\x0d\\x08\\x7f\\u202e")
    say("Größe → 3 µm ✓\tα", to_errors=True)
    assert capsys.readouterr().err == "Größe → 3 µm ✓\tα\n"


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("text", [*MARKUP, " ".join(MARKUP)])
def test_markup_in_a_message_is_text(text: str, live: bool) -> None:
    """Before, "[/]" ended the program and "[bold]x" lost its beginning."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=live, width=300, color_system=None)
    with ConsoleProgress(console) as progress:
        progress.begin(f"title {text}", 2)
        progress.advance(1, f"status {text}")
        progress.say(f"line {text}")
        progress.advance(2, f"status {text}")
    said = file.getvalue()
    for word in ("title", "status", "line"):
        assert f"{word} {text}" in said


@pytest.mark.parametrize("live", [True, False])
def test_nothing_steers_the_terminal_through_progress(live: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=live, width=200, color_system=None)
    with ConsoleProgress(console) as progress:
        progress.begin(f"title {STEERING}", 1)
        progress.say(f"line {STEERING}")
        progress.advance(1, f"status {STEERING}")
    said = file.getvalue()
    for code in ("\x1b[2J", "\x1b]0", "\x07", "\x9b", "\u202e", "\u2066"):
        assert code not in said.replace("\x1b[2K", "")
