"""The report of a whole run: what it says, and how it draws it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from report_run import EVALUATIONS, NUM_ROUNDS, UPDATES, Page, make_run, write_evaluation

from softflow.pages.run_report import write_report
from softflow.utils.files import read_object, write_json


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_run(tmp_path_factory.mktemp("runs") / "seed<3>", labels=list(EVALUATIONS))
    write_report(path)
    return path


@pytest.fixture(scope="module")
def full_page(full_run: Path) -> Page:
    return Page.read(full_run)


@pytest.mark.slow
def test_the_headline_states_the_measured_result(full_page: Page) -> None:
    assert (
        "Imitation succeeds in 41 % of episodes. After 100 online episodes, 12,800 robot steps "
        "(21 min), the policy succeeds in 92 %. The best stage before that, Offline RL, had 58 %."
        in full_page.text
    )
    assert "95 % intervals 32–51 % and 85–96 %: they do not overlap." in full_page.text
    assert "incomplete" not in full_page.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("online", "said"),
    [
        (0.30, "That is worse than the 58 % after Offline RL."),
        (0.55, "That is worse than the 58 % after Offline RL (by chance, perhaps: the intervals"),
    ],
)
def test_the_headline_does_not_hide_what_online_rl_lost(
    tmp_path: Path, online: float, said: str
) -> None:
    run = make_run(tmp_path / "run", labels=["imitation", "critic_warmup", "offline_rl"])
    write_evaluation(run, "online_rl", online, 100)
    write_report(run)
    assert said in Page.read(run).text


def test_imitation_by_a_critic_that_came_along_is_told_as_that(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", labels=["imitation"], videos=False)
    write_report(run)
    assert "Imitation succeeds in 41 % of episodes." in Page.read(run).text
    file = run / "evaluations/imitation.json"
    write_json(file, read_object(file) | {"rule": "value", "num_candidates": 24})
    write_report(run)
    text = Page.read(run).text
    assert "Imitation (chunks chosen by the critic that came along) succeeds in 41 %" in text
    assert "critic, of 24" in text


def test_every_evaluation_says_how_chunks_were_chosen(full_page: Page) -> None:
    for said in ("Chunk chosen by", "critic, of 24, std 0.7"):
        assert said in full_page.text


def test_all_commands_of_a_run_are_listed_in_their_order(full_page: Page) -> None:
    first, then = "softflow train small --online-rl.num-rounds 2", "--dataset 'data/cube single'"
    shown = full_page.text.partition("In this order")[2].partition("Configuration")[0]
    assert shown.count("softflow train small") == 2
    assert 0 < shown.index(first) < shown.index(then)


@pytest.mark.slow
def test_the_facts_are_the_runs(full_page: Page) -> None:
    facts = "Seed3Online episodes100Robot steps12,800Running time"
    assert facts in full_page.text


def test_the_page_makes_no_request(full_run: Path, full_page: Page) -> None:
    for tag, attrs in full_page.tags:
        assert tag not in ("link", "script", "iframe", "img"), tag
        for name in ("src", "href", "srcset", "poster"):
            assert (attrs.get(name) or "data:").startswith("data:"), (tag, name)
    source = (full_run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", source)


def test_every_part_is_there(full_page: Page) -> None:
    for heading in ("Success", "Rollouts", "Learning curves", "Diagnostics", "Episodes"):
        assert heading in full_page.text
    assert len(full_page.all("video")) == 4
    assert "✗ failure, 62 steps" in full_page.text
    for name in ("Negative log-likelihood", "Critic loss", "Held-out bits per dimension"):
        assert name in full_page.text
    assert "softflow train small --dataset 'data/cube single' --seed 3" in full_page.text
    for value in ("Online RL, round 3", "offline_ratio", "2.14.1", "200 decisions"):
        assert value in full_page.text


def test_text_of_the_run_cannot_become_markup(full_page: Page) -> None:
    assert "seed<3>" in full_page.text
    assert "3" not in {tag for tag, _ in full_page.tags}


def test_stages_keep_their_colour_in_every_chart(full_page: Page) -> None:
    marks = {"line", "band", "dot", "interval"}
    drawn: set[tuple[str, str]] = set()
    for _, attrs in full_page.tags:
        mark, *rest = (attrs.get("class") or "").split() or [""]
        if mark in marks and rest:
            drawn.add((mark, rest[0]))
    for stage in UPDATES:
        assert {("line", stage), ("band", stage), ("dot", stage), ("interval", stage)} <= drawn


def lines(page: Page, chart: str) -> dict[str, list[float]]:
    """Stage -> x, in pixels, of the points of its line in the chart of that description."""
    found: dict[str, list[float]] = {}
    current = None
    for tag, attrs in page.tags:
        if tag == "svg":
            current = attrs.get("aria-label", current)
        elif tag == "polyline" and current == chart:
            stage = (attrs["class"] or "").removeprefix("line ")
            found[stage] = [float(p.split(",")[0]) for p in (attrs["points"] or "").split()]
    return found


@pytest.mark.parametrize("name", ["Q of the policy", "TD error", "Negative log-likelihood"])
def test_online_rl_is_also_drawn_against_robot_steps(full_page: Page, name: str) -> None:
    """One point a round, as far apart as its episodes were long; the whole run stands beside it."""
    assert "Learning curves against robot steps" in full_page.text
    over_training = lines(full_page, f"{name} over training")
    assert {"offline_rl", "online_rl"} <= set(over_training)
    assert over_training["online_rl"][0] > over_training["offline_rl"][-1]
    on_robot = lines(full_page, f"{name} against robot steps")
    assert list(on_robot) == ["online_rl"]
    left, right = 42, 318
    per_round = (right - left) / NUM_ROUNDS
    expected = [left + per_round * (index + 1) for index in range(NUM_ROUNDS)]
    assert on_robot["online_rl"] == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("name", ["success rate", "data log prob", "Log-prob of the data"])
def test_what_is_measured_once_a_stage_is_no_curve(full_page: Page, name: str) -> None:
    assert not lines(full_page, f"{name} over training")


def test_a_browser_draws_the_stages_in_their_colours(
    full_run: Path, colours_in_a_browser: Callable[[Path, int, float], set[object]]
) -> None:
    colours = colours_in_a_browser(full_run / "report.html", 1000, 60)
    assert {
        (0x7B, 0x83, 0x8E),
        (0x31, 0x9A, 0x63),
        (0x24, 0x73, 0xC6),
        (0xD2, 0x52, 0x1D),
    } <= colours
