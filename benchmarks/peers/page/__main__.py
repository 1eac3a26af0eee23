"""`python -m benchmarks.peers.page`: draw the figure and write the tables from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.peers.command import run_command
from benchmarks.peers.page.figure import draw
from benchmarks.peers.page.summary import runs_of
from benchmarks.peers.page.writing import fingerprint, written
from benchmarks.peers.rows import Results
from softflow.errors import DataError
from softflow.utils.files import written_whole

DESCRIPTION = """\
Write what follows from the rows into the page, between its markers, and draw its figure. No number
of these parts is edited by hand.
"""


@dataclass(frozen=True)
class Options:
    """Where rows are, and where the page is."""

    csv: Path = Path("docs/results/peers.csv")
    """Rows of methods."""
    levers: Path = Path("docs/results/levers.csv")
    """Rows of changed settings."""
    page: Path = Path("docs/results.md")
    """A page with <!-- NAME:begin --> and <!-- NAME:end --> for peers, tasks and levers."""
    figure: Path = Path("docs/figures/peers.png")
    """The drawing, in or below the page's folder."""


def refreshed(options: Options) -> str:
    """The page as the rows give it.

    Raises:
        SoftflowError: of the rows, or of the page.
    """
    if not options.page.is_file():
        raise DataError(f"--page {options.page}: no such file")
    folder, figure = options.page.parent.resolve(), options.figure.resolve()
    if not figure.is_relative_to(folder):
        raise DataError(f"--figure {options.figure}: must lie in '{folder}', where the page is")
    link = figure.relative_to(folder).as_posix()
    return written(options.page.read_text(encoding="utf-8"), options.csv, options.levers, link)


def main(words: Sequence[str]) -> None:
    """Run the command.

    Raises:
        SoftflowError: says what is wrong with the options, or with a file.
    """
    options = tyro.cli(
        Options,
        args=list(words),
        prog="python -m benchmarks.peers.page",
        description=DESCRIPTION,
    )
    text = refreshed(options)
    if runs := runs_of(Results(options.csv).rows()):
        draw(runs, options.figure, fingerprint(options.csv))
    with written_whole(options.page) as path:
        path.write_text(text, encoding="utf-8")
    print(f"{options.page}: {len(runs)} methods × tasks")


if __name__ == "__main__":
    run_command(main, "benchmarks.peers.page")
