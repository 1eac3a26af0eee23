"""The report of tasks that declare events or counts: their measures lead, success only if asked."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_run import EVALUATIONS, Page, make_run

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.measures import EpisodeFacts, Measured
from softflow.data.task_profile import Measure
from softflow.pages.measure_charts import interval_text, value_text
from softflow.pages.run_record import read_run
from softflow.pages.run_report import write_report
from softflow.utils.files import write_json
from softflow.utils.metrics import MetricLogger

TURNS = Measure("per_minute", "turned", "turns_per_minute", "turns/min", per_event=0.25)
DROPS = Measure("before_failure", "turned", "turns_before_drop", "turns", per_event=0.25)
STAGE_LABELS = ["imitation", "offline_rl", "online_rl"]


def measured(measure: Measure, *numbers: float | None) -> dict[str, Any]:
    """A measure as a result file holds it."""
    return Measured(measure, *numbers, 100).to_json()  # type: ignore[arg-type]


def counting_run(path: Path, labels: list[str], **measures: list[dict[str, Any]]) -> Path:
    """A run whose evaluations hold these measures (label -> measures) and count turns."""
    make_run(path, labels=labels, videos=False)
    for label, found in measures.items():
        file = path / "evaluations" / f"{label}.json"
        value = json.loads(file.read_text()) | {"measures": found, "success_rate": 0.0}
        for index, episode in enumerate(value["episodes"]):
            episode |= {"success": False, "events": {"turned": index % 4, "dropped": 1}}
        write_json(file, value)
    write_report(path)
    return path


@pytest.mark.slow
def test_the_count_is_the_headline(tmp_path: Path) -> None:
    path = counting_run(
        tmp_path / "run",
        STAGE_LABELS,
        imitation=[measured(TURNS, 1.49, 1.2, 1.8), measured(DROPS, 0.3, 0.2, 0.4)],
        offline_rl=[measured(TURNS, 3.0, 1.5, 4.5), measured(DROPS, 0.6, 0.4, 0.8)],
        online_rl=[measured(TURNS, 6.25, 5.1, 7.4), measured(DROPS, 1.01, 0.9, 1.2)],
    )
    text = Page.read(path).text
    assert "Turns per minute after Imitation: 1.49 turns/min. After 100 online episodes" in text
    assert "robot steps (21 min): 6.25 turns/min." in text
    assert "95 % intervals 1.2–1.8 and 5.1–7.4: they do not overlap." in text
    assert "succe" not in text.lower()
    for title in ("Turns per minute", "Turns before drop"):
        assert f"{title} after each stage" in text
        assert f"{title} against robot steps" in text
    assert "turns per minute (turns/min) over 100 evaluation episodes. Bar: 95 % bootstrap" in text
    assert "What happened, and the number of control steps." in text
    assert "turned × 3, dropped · 200" in text
    assert "✗" not in text


def chart(page: Page, title: str) -> list[tuple[str, dict[str, str | None]]]:
    """The marks of the chart whose description starts so."""
    marks: list[tuple[str, dict[str, str | None]]] = []
    inside = False
    for tag, attrs in page.tags:
        if tag == "svg" and "aria-label" in attrs:
            inside = (attrs["aria-label"] or "").startswith(title)
        elif inside:
            marks.append((tag, attrs))
    return marks


def test_a_count_is_drawn_from_zero_to_the_end_of_its_highest_interval(tmp_path: Path) -> None:
    path = counting_run(
        tmp_path / "run",
        ["imitation", "offline_rl"],
        imitation=[measured(TURNS, 2.0, 1.0, 4.0)],
        offline_rl=[measured(TURNS, 8.0, 6.0, 10.0)],
    )
    marks = chart(Page.read(path), "Imitation: 2 turns/min")
    left, width = 130.0, 500.0 - 130 - 140
    dots = {
        (attrs["class"] or "").split()[1]: float(attrs["cx"] or "nan")
        for tag, attrs in marks
        if tag == "circle"
    }
    full = 1.05 * 10.0
    assert abs(dots["imitation"] - (left + width * 2.0 / full)) < 0.1
    assert abs(dots["offline_rl"] - (left + width * 8.0 / full)) < 0.1


def test_what_is_not_known_is_said_and_not_drawn(tmp_path: Path) -> None:
    path = counting_run(
        tmp_path / "run",
        ["imitation", "offline_rl"],
        imitation=[measured(DROPS, None, None, None)],
        offline_rl=[measured(DROPS, 4.0, 2.0, None)],
    )
    page = Page.read(path)
    assert "Turns before drop after Offline RL: 4 turns." in page.text
    assert "95 % interval from 2, 100 evaluation episodes." in page.text
    source = (path / "report.html").read_text()
    assert not re.search(r'="[^"]*\b(nan|inf|None)\b', source)
    path = counting_run(
        tmp_path / "none", ["imitation"], imitation=[measured(DROPS, None, None, None)]
    )
    assert "Turns before drop: not known.No episode ended with a failure." in Page.read(path).text


def test_an_end_that_is_not_known_overlaps_with_everything(tmp_path: Path) -> None:
    path = counting_run(
        tmp_path / "run",
        ["imitation", "offline_rl"],
        imitation=[measured(DROPS, 1.0, 0.5, None)],
        offline_rl=[measured(DROPS, 9.0, 8.0, 10.0)],
    )
    assert "intervals from 0.5 and 8–10: they overlap" in Page.read(path).text


def test_evaluations_from_before_and_after_an_upgrade_stand_in_one_report(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", labels=["imitation", "offline_rl"], videos=False)
    file = path / "evaluations" / "offline_rl.json"
    value = json.loads(file.read_text())
    rate = Measured(Measure("success_rate"), value["success_rate"], 0.4, 0.7, 100)
    cut = measured(Measure("event_rate", "cut"), 0.25, 0.2, 0.3)
    write_json(file, value | {"measures": [rate.to_json(), cut]})
    write_report(path)
    text = Page.read(path).text
    assert "Imitation succeeds in 41 % of episodes." in text
    assert "the policy succeeds in 58 %" in text
    assert "Cut rate after each stage" in text
    assert [len(e.measures) for e in read_run(path).evaluations] == [1, 2]


def test_the_text_of_a_unit_cannot_become_markup(tmp_path: Path) -> None:
    evil = Measure("count", "turned", "turns", "<b>turns</b>")
    path = counting_run(tmp_path / "run", ["imitation"], imitation=[measured(evil, 2.0, 1.0, 3.0)])
    assert "2 <b>turns</b>" in Page.read(path).text


def test_a_damaged_measure_is_named(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", labels=["imitation", "offline_rl"], videos=False)
    file = path / "evaluations" / "offline_rl.json"
    broken = measured(TURNS, 1.0, 0.0, 2.0) | {"kind": "median"}
    write_json(file, json.loads(file.read_text()) | {"measures": [broken]})
    write_report(path)
    text = Page.read(path).text
    assert "evaluations/offline_rl.json" in text
    assert "Imitation succeeds in 41 % of episodes." in text


def test_measures_in_metrics_are_no_learning_curves(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", labels=["imitation"], videos=False)
    with MetricLogger(path) as logger:
        logger.log({"measures/turns": 2.0, "oddity": 1.0}, stage="imitation", update_step=3000)
    write_report(path)
    text = Page.read(path).text
    assert "oddity" in text
    assert "measures/" not in text


@pytest.mark.slow
def test_learning_episodes_are_drawn_by_their_own_events(tmp_path: Path) -> None:
    """Twenty online episodes or more: their rate over the last 20 is a thin line."""
    path = make_run(tmp_path / "run", labels=list(EVALUATIONS), videos=False, rollouts=0)
    spec = DataSpec({"observation.state": (3,)}, 2, (-1.0, -1.0), (1.0, 1.0), 10.0)
    with EpisodeStore.create(path / "online", spec) as store:
        for index in range(25):
            store.append(episode(turns=8 if index >= 20 else 4))
    facts = read_run(path).rollouts
    assert facts is not None
    assert facts.facts[24] == EpisodeFacts(False, True, 60, ("turned",) * 8 + ("dropped",))
    found = measured(TURNS, 15.0, 10.0, 20.0)
    for file in (path / "evaluations").glob("*.json"):
        write_json(file, json.loads(file.read_text()) | {"measures": [found]})
    write_report(path)
    (line,) = (
        attrs
        for tag, attrs in chart(Page.read(path), "Dots: evaluations with")
        if tag == "polyline" and attrs["class"] == "line online_rl thin"
    )
    heights = [float(point.split(",")[1]) for point in (line["points"] or "").split()]
    # 4 quarter turns in 6 s are 10 turns a minute; at the end 5 of 20 episodes have twice that.
    top, bottom, full = 10.0, 226.0 - 30.0, 1.05 * 20.0
    expected = [bottom - (bottom - top) * rate / full for rate in (10.0, 10.0 * (15 + 10) / 20)]
    assert abs(heights[0] - expected[0]) < 0.1
    assert abs(heights[-1] - expected[1]) < 0.1


def episode(turns: int) -> Episode:
    """Six seconds at 10 Hz that end with a drop."""
    events = [[step, "turned"] for step in range(turns)] + [[59, "dropped"]]
    return Episode(
        {"observation.state": np.zeros((61, 3), np.float32)},
        np.zeros((60, 2), np.float32),
        np.zeros(60, np.float32),
        terminated=True,
        truncated=False,
        success=False,
        metadata={"events": events},
    )


def test_values_in_words() -> None:
    rate = Measured(Measure("event_rate", "cut"), 0.923, 0.85, 0.959, 100)
    assert (value_text(rate), interval_text(rate)) == ("92\u202f%", "85–96\u202f%")
    turns = Measured(TURNS, 6.2549, 5.0, None, 9)
    assert (value_text(turns), value_text(turns, unit=False)) == ("6.25 turns/min", "6.25")
    assert interval_text(turns) == "from 5"
    unknown = Measured(TURNS, None, None, None, 0)
    assert (value_text(unknown), interval_text(unknown)) == ("–", "not known")
