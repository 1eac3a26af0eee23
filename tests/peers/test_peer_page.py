"""docs/results.md is what the rows give, and says of them what is so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.peers.page import __main__ as command
from benchmarks.peers.page.cells import number, share
from benchmarks.peers.page.estimates import Estimate, joined, pooled
from benchmarks.peers.page.figure import apart, draw
from benchmarks.peers.page.levers import lever_tables
from benchmarks.peers.page.summary import runs_of
from benchmarks.peers.page.tables import cost_table, overview, success_table
from benchmarks.peers.page.writing import PARTS, fingerprint, written
from benchmarks.peers.rows import Results, Row
from softflow.errors import DataError, StoreError
from softflow.utils.intervals import Interval, wilson_interval

ROOT = Path(__file__).parents[2]


def row(successes: int, episodes: int = 100, **changes: Any) -> Row:
    what = Row(
        method="qc",
        settings="",
        task="cube-single",
        seed=0,
        demonstrations=120,
        offline_updates=6000,
        online_updates=0,
        online_episodes=0,
        robot_steps=0,
        collected_successes=0,
        eval_episodes=episodes,
        successes=successes,
        success=successes / episodes,
        mean_steps=60.0 if successes else None,
        median_steps=60.0 if successes else None,
        update_cpu_ms=16.0,
        decision_cpu_ms=1.0,
        cpu_s=100.0,
        command="python -m benchmarks.peers --method qc --seed 0",
        commit="abc",
        versions="torch==2",
    )
    return replace(what, **changes)


def curve(successes: Sequence[int], **changes: Any) -> list[Row]:
    """After 0, 50 and 100 online episodes, as far as there are numbers."""
    return [
        row(number, online_episodes=count, cpu_s=100.0 + count, **changes)
        for number, count in zip(successes, (0, 50, 100), strict=False)
    ]


# ---- estimates ------------------------------------------------------------------------------


def test_seeds_that_differ_are_drawn_again() -> None:
    """Four seeds that always succeed, four that never do: drawn again, Binomial(8, ½) of 8.

    P(0) = 1/256 < 2.5 % < P(0) + P(1) = 9/256: the interval is from 1/8 to 7/8.
    """
    found = pooled([row(100)] * 4 + [row(0)] * 4)
    assert found == Estimate(0.5, Interval(0.125, 0.875), 8)


def test_episodes_of_a_seed_are_drawn_again() -> None:
    """Of two seeds at ½, the mean is Binomial(2 k, ½) of 2 k: for k = 8 from 4 to 12 of 16."""
    found = pooled([row(4, 8)] * 2)
    wilson = wilson_interval(8, 16)
    assert found.interval == (min(wilson.low, 4 / 16), max(wilson.high, 12 / 16))
    assert found.interval.low == 4 / 16


@pytest.mark.parametrize("rows", [[row(100)] * 4, [row(0)] * 4, [row(73)]])
def test_an_interval_is_never_narrower_than_wilsons(rows: list[Row]) -> None:
    successes = sum(one.successes for one in rows)
    assert pooled(rows).interval == wilson_interval(successes, 100 * len(rows))


def test_the_middle_half_of_tasks_and_seeds_counts() -> None:
    assert joined([[row(20), row(40)], [row(60), row(80)]]).rate == pytest.approx(0.5)
    assert joined([[row(0), row(40)], [row(60), row(80)]]).rate == pytest.approx(0.5)


def test_seeds_are_drawn_again_within_their_task() -> None:
    assert joined([[row(0)] * 2, [row(100)] * 2]).interval == (0.5, 0.5)


# ---- summary --------------------------------------------------------------------------------


def test_seeds_that_never_come_so_far_count_in_the_median() -> None:
    rows = [*curve([10, 95, 90]), *curve([10, 80, 92], seed=1), *curve([10, 20, 30], seed=2)]
    (runs,) = runs_of(rows)
    assert runs.first(0.9, lambda one: one.cpu_s) == (200.0, 2)
    assert runs.first(0.95, lambda one: one.cpu_s) == (math.inf, 1)
    assert runs.first(0.1, lambda one: one.online_episodes) == (0, 3)
    assert "| 200 (2 of 3) | 50 (2 of 3) |" in cost_table([runs])


def test_steps_are_those_of_successes() -> None:
    rows = [row(90, mean_steps=50.0), row(10, mean_steps=100.0, seed=1), row(0, seed=2)]
    (runs,) = runs_of(rows)
    assert runs.steps_to_success(0) == pytest.approx(55.0)


def test_two_rows_of_the_same_are_refused() -> None:
    with pytest.raises(StoreError, match="seed 0, 0 online episodes: only one can be shown"):
        runs_of([row(1), row(2, 50)])


def test_commands_name_all_seeds_and_no_places() -> None:
    said = "python -m benchmarks.peers --method qc --data {} --tau 0.1 --seed {} --jobs=2"
    rows = [row(1, seed=seed, command=said.format("/a b", seed)) for seed in (2, 0)]
    rows.append(row(1, seed=1, command="python -m benchmarks.peers --seed 1 3 --method qc"))
    (runs,) = runs_of(rows)
    assert runs.commands == [
        "python -m benchmarks.peers --method qc --tau 0.1 --seed 0 2",
        "python -m benchmarks.peers --method qc --seed 1",
    ]


# ---- tables ---------------------------------------------------------------------------------


def test_the_best_is_marked_and_what_overlaps_it() -> None:
    rows = [
        *curve([30, 90, 99], method="softflow-plus"),
        *curve([50, 80, 98], method="qc"),
        *curve([10, 20], method="rlpd"),
        *curve([12, 10], method="rlpd", seed=1),
    ]
    found = success_table(runs_of(rows)).splitlines()
    assert found[2:] == [
        "| softflow-plus | 1 | .300 (.22–.40) | **.900 (.83–.94)** | **.990 (.95–1.00)** | .99 |",
        "| qc | 1 | **.500 (.40–.60)** | .800 (.71–.87) ≈ | .980 (.93–.99) ≈ | .98 |",
        "| rlpd | 2 | .110 (.07–.16) | .150 (.07–.24) | – | – |",
    ]


def test_seeds_that_have_not_come_so_far_are_told_of() -> None:
    rows = [*curve([50, 60, 70]), *curve([50, 60], seed=1)]
    found = success_table(runs_of(rows)).splitlines()[2]
    assert found.endswith("| .700 (.60–.78) [1] | .70 |")


def test_all_tasks_together_are_of_methods_that_have_all() -> None:
    rows = [*curve([0, 50, 60]), *curve([0, 70, 80], task="door"), *curve([0, 0, 9], method="expo")]
    lines = [line.split(" | ") for line in overview(runs_of(rows)).splitlines()]
    assert lines[0] == ["| online episodes", "method", "cube-single", "door", "all 2 |"]
    cells = {(line[0].strip("| "), line[1]): line[2:] for line in lines[2:]}
    assert sorted(cells) == [("100", "expo"), ("100", "qc"), ("50", "expo"), ("50", "qc")]
    assert cells["100", "expo"][1:] == ["–", "– |"]
    assert cells["100", "qc"][2].startswith(".700 (")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, ".000"), (0.975, ".975"), (0.9996, "1.000"), (1.0, "1.000")]
)
def test_shares(value: float, text: str) -> None:
    assert share(value) == text


def test_what_is_not_known_is_a_dash() -> None:
    assert (number(None, 0), number(math.inf, 0), number(1234.5, 1)) == ("–", "–", "1,234.5")


def test_a_lever_is_beside_the_defaults_of_its_seeds() -> None:
    usual = [*curve([50, 50]), *curve([50, 50], seed=1), *curve([0, 0], seed=2)]
    lever = [*curve([51, 90], settings="tau=0.1"), *curve([51, 95], settings="tau=0.1", seed=1)]
    worse = curve([10, 49], settings="tau=0.2")
    text = lever_tables(runs_of([*lever, *worse]), runs_of(usual), "levers.csv")
    lines = text.splitlines()
    assert lines[0] == "### qc on cube-single"
    cells = [line.split(" | ")[:4] for line in lines[4:7]]
    assert [line[:2] for line in cells] == [
        ["| defaults", "2"],
        ["| `tau=0.1`", "2"],
        ["| `tau=0.2`", "1"],
    ]
    assert cells[0][2] == ".500 (.43–.57)"
    assert [[line[2][-1], line[3][-1]] for line in cells[1:]] == [[")", "↑"], ["↓", ")"]]
    assert "python -m benchmarks.peers --method qc --seed 0 1 --csv levers.csv" in text
    assert lever_tables(runs_of(usual), [], "levers.csv") == ""


# ---- figure ---------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.01, 0.1))
def test_names_are_apart_and_in_their_order(places: list[float], distance: float) -> None:
    found = apart(places, distance)
    order = sorted(range(len(places)), key=lambda index: places[index])
    heights = [found[index] for index in order]
    assert all(b - a >= distance - 1e-9 for a, b in pairwise(heights))
    assert all(height <= 1 + 1e-9 for height in heights)


def test_names_that_are_apart_stay_where_they_are() -> None:
    assert apart([0.9, 0.1, 0.5], 0.1) == pytest.approx([0.9, 0.1, 0.5])
    assert apart([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])


def test_the_same_rows_give_the_same_picture(tmp_path: Path) -> None:
    rows = [*curve([30, 90]), row(0, method="rlpd", cpu_s=0.0)]
    for name in ("one.png", "two.png"):
        draw(runs_of(rows), tmp_path / name, "sha256:abc")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert {name: picture.info.get(name) for name in ("Source", "Software")} == {
            "Source": "sha256:abc",
            "Software": None,
        }


# ---- page -----------------------------------------------------------------------------------

PAGE = "".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in PARTS)


def place(folder: Path, rows: Sequence[Row]) -> command.Options:
    """A folder with a page, and rows."""
    results = Results(folder / "rows.csv")
    for one in rows:
        results.append(one)
    (folder / "page.md").write_text(f"Before.\n{PAGE}After.\n")
    return command.Options(
        folder / "rows.csv", folder / "levers.csv", folder / "page.md", folder / "f" / "p.png"
    )


def test_a_page_is_written_from_its_rows(tmp_path: Path) -> None:
    options = place(tmp_path, curve([30, 90, 95]))
    words = [f"--{name}={value}" for name, value in vars(options).items()]
    command.main(words)
    page = options.page.read_text()
    assert page.startswith("Before.\n<!-- peers:begin -->\n\n![Success")
    assert page.endswith("<!-- levers:end -->\nAfter.\n")
    assert "](f/p.png)" in page
    assert "## cube-single" in page
    with Image.open(options.figure) as picture:
        assert picture.info["Source"] == fingerprint(options.csv)
    assert command.refreshed(options) == page


def test_a_page_without_rows_says_so(tmp_path: Path) -> None:
    options = place(tmp_path, [])
    text = command.refreshed(options)
    assert text.count("Not measured yet") == 3
    assert "png" not in text


@pytest.mark.parametrize(
    "page",
    [
        PAGE.replace("<!-- tasks:end -->", ""),
        PAGE + PAGE,
        PAGE.replace("tasks:begin", "tasks").replace("tasks:end", "tasks:begin"),
        "<!-- tasks:end -->\n" + PAGE,
    ],
)
def test_a_page_without_its_markers_is_refused(page: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="once each, in this order"):
        written(page, tmp_path / "rows.csv", tmp_path / "levers.csv", "figure.png")


def test_a_page_that_is_not_there_is_refused(tmp_path: Path) -> None:
    options = place(tmp_path, [])
    with pytest.raises(DataError, match="no such file"):
        command.refreshed(replace(options, page=tmp_path / "other.md"))
    with pytest.raises(DataError, match="must lie in"):
        command.refreshed(replace(options, figure=tmp_path.parent / "p.png"))


def test_the_results_are_what_the_committed_rows_give(monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails: python -m benchmarks.peers.page."""
    monkeypatch.chdir(ROOT)
    options = command.Options()
    assert options.page.read_text() == command.refreshed(options)
    if options.csv.exists():
        with Image.open(options.figure) as picture:
            assert picture.info["Source"] == fingerprint(options.csv)
