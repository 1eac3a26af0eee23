"""Whatever is wrong with a command line: one clear message, no traceback, nothing written, at once.

In one process, so that hundreds of them take seconds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from bad_command_lines import LINES
from point_world import demonstration, point_spec

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore

TOO_SLOW_S = 30.0
"""A hang takes for ever; on a quiet machine nothing takes ten seconds."""
ESCAPES = "\x1b]0;owned\x07\x1b[2J"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("places")
    with EpisodeStore.create(root / "store", point_spec()) as store:
        for seed in range(3):
            store.append(demonstration(seed, towards_goal=True))
    (root / "file").write_bytes(b"not what you think\0\xff")
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    names = ("store", "file", "folder", "pipe", "missing", "new", "unreadable")
    # Root reads everything: a folder that the system refuses even to root is a name too long.
    return {name: root / name for name in names} | {"unreadable": root / ("x" * 300)}


@pytest.fixture(autouse=True)
def quiet_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)


def everything(root: Path) -> list[tuple[str, int]]:
    """All files below a folder, and when they changed."""
    return sorted((str(path), path.lstat().st_mtime_ns) for path in root.rglob("*"))


def require_refusal(
    words: list[str], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> str:
    """What a command says that is refused as it should be."""
    root = places["store"].parent
    before, began = everything(root), time.monotonic()
    capsys.readouterr()
    try:
        status = main(words)
    except SystemExit as stop:  # tyro leaves this way
        status = stop.code
    took_s = time.monotonic() - began
    said = "".join(capsys.readouterr())
    assert status not in (0, None), said
    assert said.strip(), "it says why"
    assert "Traceback" not in said
    assert len(said) < 4_000
    assert "\x1b]" not in said
    assert took_s < TOO_SLOW_S
    assert everything(root) == before, "nothing is written"
    assert not list(Path.cwd().iterdir())
    return said


@pytest.mark.parametrize("line", LINES)
def test_a_bad_command_line(
    line: str, places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(**places) if "{" in word else word for word in line.split()]
    require_refusal(words, places, capsys)


ODD_WORDS = {
    "escapes": ESCAPES,
    "a bell": "\x07",
    "a line end": "a\nsoftflow: all is well",
    "a C1 code": "\x9b31m",
    "turned around": "\u202egnp.exe",
    "no UTF-8": os.fsdecode(b"caf\xe9"),
    "a delete": "\x7f",
}
WITH_A_WORD: tuple[tuple[str, ...], ...] = (
    ("WORD",),
    ("train", "small", "--dataset", "WORD", "--run", "{new}"),
    ("train", "small", "--dataset", "{store}", "--run", "{new}WORD"),
    ("train", "WORD", "--dataset", "{store}", "--run", "{new}"),
    ("evaluate", "WORD"),
    ("report", "WORD"),
    ("learn", "WORD", "--exchange", "{new}"),
    ("serve", "WORD"),
    ("exchange", "show", "WORD"),
    ("exchange", "WORD"),
    ("data", "inspect", "WORD"),
    ("data", "WORD"),
    ("collect", "--out", "{new}", "--env", "WORD"),
    ("data", "import", "lerobot", "{folder}", "--out", "{new}WORD"),
    ("data", "import", "lerobot", "WORD", "--out", "{new}"),
    ("data", "relabel", "{store}", "--success-at-end", "--annotator", "WORD"),
)


@pytest.mark.parametrize("kind", ODD_WORDS)
@pytest.mark.parametrize("words", WITH_A_WORD, ids=" ".join)
def test_words_that_steer_the_terminal(
    words: tuple[str, ...],
    kind: str,
    places: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = [word.format(**places).replace("WORD", ODD_WORDS[kind]) for word in words]
    said = require_refusal(there, places, capsys)
    assert "control characters or is no UTF-8" in said
    assert ODD_WORDS[kind] not in said
    said.encode()


@pytest.mark.parametrize(
    "words",
    [
        ("",),
        ("train", "", "--dataset", "{store}", "--run", "{new}"),
        ("data", ""),
        ("data", "import", ""),
        ("data", "relabel", "{store}", "--success-at-end", "--annotator", ""),
        ("data", "relabel", "{store}", "--success-when", "", "--annotator", "a"),
        ("data", "filter", "{store}", "{new}", "--where", ""),
        ("collect", "--out", "{new}", "--env", ""),
        ("train", "small", "--dataset", "{store}", "--run", "{new}", "--seed", ""),
        ("train", "small", "--dataset", "{store}", "--run", "{new}", "--device", ""),
    ],
    ids=" ".join,
)
def test_empty_words(
    words: tuple[str, ...], places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    require_refusal([word.format(**places) for word in words], places, capsys)


@pytest.fixture
def strange_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose every name steers terminals and is rich's markup."""
    name = f"{ESCAPES}[bold]x[/] [/red] [link=http://x]y[/link] :smile: \u202e"
    path = tmp_path_factory.mktemp("strange") / "store"
    with EpisodeStore.create(path, point_spec()) as store:
        for seed in range(2):
            episode = demonstration(seed, towards_goal=True)
            episode.metadata.update(operator=name, source=f"{name}{seed}", policy_version=name)
            store.append(episode)
    return path


@pytest.mark.parametrize(
    "command",
    [
        "data inspect {} --episodes",
        "data inspect {} --episode 0",
        "data validate {}",
        "data stats {}",
        "data filter {} out --operator nobody",
        "data relabel {} --success-at-end --annotator me",
    ],
)
def test_names_of_files_are_only_text(
    command: str, strange_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command.format(strange_store).split())
    said = "".join(capsys.readouterr())
    assert not set(said) & {"\x1b", "\x07", "\u202e"}
    if "inspect" in command:
        assert "[bold]x[/] [/red] [link=http://x]y[/link] :smile:" in said
        assert "\\x1b" in said or "\\u001b" in said


def test_the_fixture_is_what_it_says(places: dict[str, Path]) -> None:
    """Else every line would be refused for another reason than its own."""
    store = EpisodeStore.open(places["store"])
    assert len(store) == 3
    assert np.isfinite(store.episode(0).actions).all()
