"""NAME=NUMBER on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
import tyro

from softflow.cli.option_types import OPTION_TYPES


@dataclass(frozen=True)
class Options:
    """Something with weights."""

    weights: Mapping[str, float] = field(default_factory=dict)
    number: int = 0


def parsed(*words: str) -> Mapping[str, float]:
    return tyro.cli(Options, args=words, registry=OPTION_TYPES).weights


def test_names_may_hold_anything_and_numbers_are_floats() -> None:
    words = ("--weights", "teleop=2", "/data/a b=c.hdf5=0.5", "--number", "3")
    assert parsed(*words) == {"teleop": 2.0, "/data/a b=c.hdf5": 0.5}
    assert parsed() == {}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("teleop", '"teleop" is not NAME=NUMBER'),
        ("=2", '"=2" is not NAME=NUMBER'),
        ("teleop=two", '"two" in "teleop=two" is not a number'),
        ("teleop=", '"" in "teleop=" is not a number'),
    ],
)
def test_what_is_wrong_is_said(
    word: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parsed("--weights", word)
    assert message in capsys.readouterr().err


def test_a_name_given_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--weights", "a=1", "a=2")
    assert '"a" is given twice' in capsys.readouterr().err
