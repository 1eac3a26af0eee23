"""README lists every file, and no page names one that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "softflow"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WHOLE_FOLDERS = (
    *("formats/robomimic", "formats/lerobot", "formats/minari", "formats/rosbag"),
    *("formats/act", "formats/replay_buffer"),
)
"""One line each: their reading.py and export.py are named there."""


def listed() -> list[str]:
    """Paths of README's tree below src/softflow, in its order."""
    tree = (
        (ROOT / "README.md").read_text().split("src/softflow/\n", 1)[1].split("\nexamples/", 1)[0]
    )
    paths: list[str] = []
    folder = ""
    for line in tree.splitlines():
        indent, name = re.match(r"( +)(\S+)", line).groups()  # type: ignore[union-attr]
        if len(indent) == 2:
            folder = name if name.endswith("/") else ""
        paths.append(name if len(indent) == 2 else folder + name)
    return paths


def test_every_file_has_its_line_and_every_line_its_file() -> None:
    paths = listed()
    assert len(paths) == len(set(paths))
    assert [path for path in paths if not (SOURCE / path).exists()] == []
    files = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")}
    needed = {
        path
        for path in files
        if not path.endswith("__init__.py") and not path.startswith(WHOLE_FOLDERS)
    }
    assert needed - set(paths) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_files_that_exist(page: Path) -> None:
    text = page.read_text()
    linked = re.findall(r"\]\((?!https?:)([^)#\s]+)\)", text)
    assert [name for name in linked if not (page.parent / name).exists()] == []
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text)
    known = (SOURCE, ROOT)
    missing = [name for name in named if not any((root / name).exists() for root in known)]
    # Names of files that a reader is to write.
    assert [name for name in missing if not Path(name).name.startswith("my_")] == []
