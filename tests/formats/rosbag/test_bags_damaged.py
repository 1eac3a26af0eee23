"""Bags of strangers, damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from strange_bags import (
    read_all,
    refused,
)
from strangers import OTHER_FORMATS, Outside, damaged, outcome


def test_damaged_files(bag: Path, outside: Outside) -> None:
    for file in sorted(bag.iterdir()):
        original = file.read_bytes()
        for how, content in damaged(original, cuts=3, flips=5):
            file.write_bytes(content)
            with outside.watched():
                message = outcome(lambda: read_all(bag))
            assert not message or str(bag) in message or "the definition of" in message, how
        file.write_bytes(original)


@pytest.mark.slow
def test_many_flipped_bytes(bag: Path, outside: Outside) -> None:
    for file in sorted(bag.iterdir()):
        original = file.read_bytes()
        for _, content in damaged(original, cuts=8, flips=25):
            file.write_bytes(content)
            with outside.watched():
                outcome(lambda: read_all(bag))
        file.write_bytes(original)


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_other_formats_under_those_names(bag: Path, outside: Outside, kind: str) -> None:
    for file in sorted(bag.iterdir()):
        original = file.read_bytes()
        file.write_bytes(OTHER_FORMATS[kind])
        refused(bag, outside)
        file.unlink()
        file.mkdir()
        refused(bag, outside)
        file.rmdir()
        file.write_bytes(original)
