"""What people said counts in its own order, whatever arrives when, and nothing else counts."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from exchange_parts import small_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from softflow.errors import ConfigError, StoreError
from softflow.robot.exchange.commands import MAX_NUMBER, Command, CommandFolder
from softflow.utils.sealed_json import write_sealed

EPISODE = f"arm-000012-{'a' * 32}"
LABEL = {
    "annotator": "anna",
    "events": [{"step": 3, "kind": "success", "value": 1.0}],
    "created": "2030-01-01T00:00:00+00:00",
    "withdrawn": False,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "commands"
    path.mkdir()
    return path


def opened(folder: Path) -> tuple[CommandFolder, list[str]]:
    lines: list[str] = []
    return CommandFolder(folder, lines.append), lines


def give_all(folder: Path, seed: int) -> None:
    """Ten commands of two people, who do not always see each other's."""
    order = random.Random(seed)
    authors = [folder, folder.with_name("other")]
    authors[1].mkdir(exist_ok=True)
    for _ in range(10):
        kind = order.choice(("start", "stop", "discard", "accept", "label"))
        place = order.choice(authors)
        commands = CommandFolder(place, lambda line: None)
        if kind in ("start", "stop"):
            commands.give(kind, place.name)
        else:
            label = LABEL if kind == "label" else None
            commands.give(kind, place.name, EPISODE, label)
    for path in authors[1].iterdir():
        shutil.copy(path, folder)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_any_order_of_arrival_and_any_duplicate_give_the_same(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    place, order = tmp_path_factory.mktemp("orders"), random.Random(seed)
    folder, arriving = place / "commands", place / "arriving"
    folder.mkdir()
    arriving.mkdir()
    give_all(folder, seed)
    wanted = CommandFolder(folder, lambda line: None)
    files = sorted(folder.iterdir())
    order.shuffle(files)
    watching = CommandFolder(arriving, lambda line: None)
    for path in files:
        shutil.copy(path, arriving)
        watching.all()
        if order.random() < 0.3:
            shutil.copy(path, arriving)
            (arriving / order.choice(files).name).unlink(missing_ok=True)
            watching.all()
        shutil.copy(path, arriving)
    assert watching.all() == wanted.all()
    assert watching.stopped() == wanted.stopped()
    assert watching.on_episodes() == wanted.on_episodes()


def test_the_last_word_counts_and_it_is_not_undone_by_what_comes_late(folder: Path) -> None:
    commands, _ = opened(folder)
    assert commands.stopped() is None
    commands.give("start", "anna")
    late = commands.give("start", "anna")
    path = folder / f"{late.number:012d}-{late.id}.json"
    kept = path.read_bytes()
    stop = commands.give("stop", "bert")
    path.unlink()
    fresh, _ = opened(folder)
    assert fresh.stopped() == stop
    path.write_bytes(kept)
    assert fresh.stopped() == stop
    fresh.give("start", "anna")
    assert fresh.stopped() is None
    assert commands.stopped() is None


def test_at_the_same_time_a_stop_beats_a_start_and_a_discard_an_accept(folder: Path) -> None:
    for digit, kind in enumerate(("stop", "start", "discard", "accept")):
        episode = EPISODE if kind in ("discard", "accept") else ""
        raw(folder, kind=kind, number=7, episode=episode, id=str(digit) * 32)
    commands, lines = opened(folder)
    assert commands.stopped() is not None
    assert commands.on_episodes()[EPISODE].kind == "discard"
    assert lines == []


def test_a_stop_is_possible_behind_the_highest_number(folder: Path) -> None:
    raw(folder, kind="start", number=MAX_NUMBER)
    commands, _ = opened(folder)
    commands.give("stop", "anna")
    assert commands.stopped() is not None


def raw(folder: Path, **changes: Any) -> Path:
    """A command as its JSON has it, sealed."""
    value = {"number": 3, "id": "1" * 32, "kind": "stop", "author": "eve", "episode": ""} | changes
    value = {"format_version": 1, "label": {}, **value}
    name = changes.pop("name", f"{value['number']:012d}-{value['id']}.json")
    value.pop("name", None)
    write_sealed(folder / name, value)
    return folder / name


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown kind": ({"kind": "format"}, "kind"),
    "no author": ({"author": ""}, "author"),
    "long author": ({"author": "x" * 101}, "author"),
    "unknown field": ({"shell": "reboot"}, "shell"),
    "other format": ({"format_version": 2}, "upgrade"),
    "negative": ({"number": -3, "name": f"{0:012d}-{'1' * 32}.json"}, "number"),
    "another name": ({"name": f"{9:012d}-{'1' * 32}.json"}, "not called"),
    "text for a number": ({"number": 3, "author": 7}, "author"),
    "stop for an episode": ({"episode": EPISODE}, "names no episode"),
    "discard of nothing": ({"kind": "discard"}, "names no episode"),
    "discard of a path": ({"kind": "discard", "episode": "../../etc"}, "names no episode"),
    "label without one": ({"kind": "label", "episode": EPISODE}, "annotator"),
    "label that contradicts itself": (
        {
            "kind": "label",
            "episode": EPISODE,
            "label": LABEL | {"events": [{"step": -1, "kind": "success"}]},
        },
        "step",
    ),
    "endless reward": (
        {
            "kind": "label",
            "episode": EPISODE,
            "label": LABEL | {"events": [{"step": 1, "kind": "reward", "value": 1e30}]},
        },
        "finite",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_makes_no_sense_is_told_once_and_not_followed(folder: Path, kind: str) -> None:
    changes, said = BAD[kind]
    raw(folder, **changes)
    commands, lines = opened(folder)
    assert commands.all() == []
    assert commands.stopped() is None
    assert len(lines) == 1
    assert said in lines[0]


def test_torn_unsealed_and_strange_files_are_not_followed(folder: Path) -> None:
    whole = raw(folder)
    content = whole.read_bytes()
    whole.unlink()
    os.mkfifo(folder / f"{1:012d}-{'2' * 32}.json")
    (folder / f"{1:012d}-{'3' * 32}.json").symlink_to("/dev/zero")
    (folder / f"{1:012d}-{'4' * 32}.json").write_bytes(b" " * 300_000)
    unsealed = json.loads(content)
    del unsealed["sha256"]
    (folder / f"{1:012d}-{'5' * 32}.json").write_text(json.dumps(unsealed))
    (folder / f"{3:012d}-{'6' * 32}.json").write_text("[" * 100_000)
    (folder / "..json").write_text("stop")
    (folder / f".{whole.name}.abc").write_bytes(content)
    commands, lines = opened(folder)
    for size in range(0, len(content), 20):
        whole.write_bytes(content[:size])
        assert commands.all() == []
    assert any("has no checksum" in line for line in lines)
    whole.write_bytes(content)
    assert [command.kind for command in commands.all()] == ["stop"]
    before = len(lines)
    commands.all()
    assert len(lines) == before, "told once"


def test_a_folder_that_goes_and_comes_back_forgets_nothing(folder: Path, tmp_path: Path) -> None:
    commands, _ = opened(folder)
    commands.give("stop", "anna")
    folder.rename(tmp_path / "away")
    assert commands.stopped() is not None
    with pytest.raises(StoreError):
        commands.give("start", "anna")
    (tmp_path / "away").rename(folder)
    commands.give("start", "anna")
    assert commands.stopped() is None


def test_a_full_disk_gives_no_half_command(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "32k") as disk:
        commands, _ = opened(disk)
        commands.give("stop", "anna")
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(b"x" * 32_768)
        with pytest.raises(StoreError, match="No space"):
            commands.give("start", "anna")
        assert commands.stopped() is not None
        assert len(opened(disk)[0].all()) == 1


def test_who_gives_nonsense_is_told_at_once(folder: Path) -> None:
    commands, _ = opened(folder)
    for kind, episode, label in (
        ("discard", "", None),
        ("stop", EPISODE, None),
        ("label", EPISODE, {"annotator": "anna"}),
    ):
        with pytest.raises(ConfigError, match=f"command {kind}"):
            commands.give(kind, "anna", episode, label)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="author"):
        commands.give("stop", "")
    assert list(folder.iterdir()) == []


def test_commands_survive_their_own_round_trip(folder: Path) -> None:
    given_one = opened(folder)[0].give("label", "anna", EPISODE, LABEL)
    there = opened(folder)[0].all()
    assert there == [given_one]
    assert isinstance(there[0], Command)
    assert there[0].said_label().end is not None
