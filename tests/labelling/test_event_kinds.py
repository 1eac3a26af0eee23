"""Kinds of events are declared once, in a file beside the episodes that people can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from softflow.data.labels import Event, Label
from softflow.errors import DataError
from softflow.labelling.event_kinds import (
    FILE_NAME,
    READY_MADE,
    read_event_kinds,
    write_event_kinds,
)


@pytest.mark.parametrize("name", READY_MADE)
def test_a_ready_made_set_is_what_its_file_says(name: str, tmp_path: Path) -> None:
    write_event_kinds(tmp_path, READY_MADE[name])
    assert read_event_kinds(tmp_path) == READY_MADE[name]


def test_a_data_set_that_declares_nothing_knows_success_and_failure(tmp_path: Path) -> None:
    assert read_event_kinds(tmp_path) == READY_MADE["success"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("x = 1", "unknown field 'x'"),
        ("event = []", "length >= 1"),
        ("[[event]", "no TOML"),
        ('[[event]]\nname = "<b>"', "lower-case"),
        ('[[event]]\nname = "a"\nrewrd = 1', "rewrd"),
        ('[[event]]\nname = "a"\nreward = inf', "finite"),
        ('[[event]]\nname = "a"\nkey = "z"', "the page needs"),
        ('[[event]]\nname = "a"\nkey = "12"', "length <= 1"),
        ('[[event]]\nname = "a"\nsuccess = true', "ends = true"),
        ('[[event]]\nname = "a"\nends = true\nrepeats = true', "cannot repeat"),
        ('[[event]]\nname = "a"\n[[event]]\nname = "a"', "two kinds"),
        ('[[event]]\nname = "a"\nkey = "1"\n[[event]]\nname = "b"\nkey = "1"', "the key '1'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(Exception, match=named) as caught:  # StoreError where it is no TOML
        read_event_kinds(tmp_path)
    assert FILE_NAME in str(caught.value)


def test_labels_are_held_to_what_is_declared() -> None:
    scissors = READY_MADE["scissors"]
    retrieved, cut = scissors.named("retrieved"), scissors.named("cut")
    scissors.require_fit(Label("anna", (retrieved.at(3), cut.at(9))))
    scissors.require_fit(Label("anna", (Event(3, "reward", 0.25), Event(9, "end"))))
    with pytest.raises(DataError, match="happens again at step 5"):
        scissors.require_fit(Label("anna", (retrieved.at(3), retrieved.at(5))))
    with pytest.raises(DataError, match="declared is a reward of 1"):
        scissors.require_fit(Label("anna", (Event(3, "reward", 7.0, "retrieved"),)))
    with pytest.raises(DataError, match="'rotated' is not declared"):
        scissors.require_fit(Label("anna", (Event(3, "reward", 1.0, "rotated"),)))


def test_a_turn_of_the_cube_may_happen_often() -> None:
    cube = READY_MADE["cube"]
    turns = [cube.named("rotated").at(step) for step in (3, 9, 14)]
    cube.require_fit(Label("anna", (*turns, cube.named("dropped").at(20))))
