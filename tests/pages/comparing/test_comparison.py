"""Several runs on one page: which belong together, what they reached together, what differs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_run import EVALUATIONS, Page, make_run, write_evaluation

from softflow.data.task_profile import Measure
from softflow.errors import StoreError
from softflow.pages.comparing.groups import (
    BESIDE_THE_RESULT,
    RunGroup,
    differing_options,
    read_groups,
    runs_in,
)
from softflow.pages.comparing.page import default_place, write_comparison
from softflow.pages.comparing.pooling import pooled_course, pooled_finals
from softflow.training.continuing.changes import FREE_TO_CHANGE
from softflow.utils.intervals import wilson_interval
from softflow.utils.metrics import MetricLogger
from softflow.utils.sealed_json import write_sealed

OFFLINE = ["imitation", "critic_warmup", "offline_rl"]
SUCCESS = Measure("success_rate")


def run_of(path: Path, seed: int, labels: list[str] | None = None, **changes: Any) -> Path:
    """A run folder with these options, without videos."""
    make_run(path, labels=labels or OFFLINE, videos=False, rollouts=0)
    config = json.loads((path / "config.json").read_text()) | {"seed": seed, **changes}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two seeds of one setting, and one of another that was trained on another device."""
    return [
        run_of(tmp_path / "small" / "seed0", 0),
        run_of(tmp_path / "small" / "seed1", 1, num_workers=7),
        run_of(tmp_path / "large<&>", 0, discount=0.9, num_workers=8),
    ]


def page_of(folders: list[Path], out: Path) -> Page:
    write_comparison(folders, out)
    page = Page()
    page.feed(out.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


# ---- groups -------------------------------------------------------------------------------------


def test_runs_that_differ_in_their_seed_only_are_one_group(folders: list[Path]) -> None:
    groups = read_groups(folders)
    assert [(g.name, g.seeds) for g in groups] == [("small", ["0", "1"]), ("large<&>", ["0"])]
    assert differing_options(groups) == ["num_workers", "discount"]
    assert groups[0].value("num_workers") == "–, 7"


def test_what_does_not_change_what_is_learned_keeps_no_seeds_apart() -> None:
    beside = {"eval_episodes", "round_eval_episodes", "held_out_episodes"}
    assert FREE_TO_CHANGE | beside == BESIDE_THE_RESULT


def test_seeds_that_hold_out_other_episodes_are_one_group(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path / f"seed{seed}", seed, held_out_episodes=[seed, 4]) for seed in range(2)
    ]
    assert [group.seeds for group in read_groups(runs)] == [["0", "1"]]


def test_a_run_from_other_networks_is_none_from_scratch(tmp_path: Path) -> None:
    """Though their configuration is the same to the last number."""
    scratch = run_of(tmp_path / "scratch", 0)
    tuned = [started_from(run_of(tmp_path / f"tuned{s}", s), f"base/seed{s}") for s in range(2)]
    other = started_from(run_of(tmp_path / "other", 2), "elsewhere")
    groups = read_groups([scratch, *tuned, other])
    assert [group.seeds for group in groups] == [["0"], ["0", "1"], ["2"]]
    assert "from" in differing_options(groups)
    assert groups[1].value("from") == "base/seed*, 0_imitation_00000006, no critic"


def started_from(run: Path, given: str) -> Path:
    told = {"given": given, "checkpoint": "0_imitation_00000006", "stage": "imitation"}
    write_sealed(run / "history.json", {"origin": told | {"update_step": 6}, "continuations": []})
    return run


def test_the_page_tells_of_runs_that_changed_on_the_way(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / f"seed{seed}", seed) for seed in range(2)]
    change = {"what": "tau", "before": 0.1, "now": 0.2}
    entry = {"stage": "imitation", "update_step": 3, "changes": [change]}
    write_sealed(runs[1] / "history.json", {"origin": None, "continuations": [entry]})
    page = page_of(runs, tmp_path / "page.html")
    assert page.text.count("changed on the way") == 1


def test_names_of_groups(tmp_path: Path) -> None:
    alone = [run_of(tmp_path / "a" / f"seed{seed}", seed) for seed in (9, 10)]
    assert [group.name for group in read_groups(alone)] == ["a"]
    named = [run_of(tmp_path / f"lower-lr-{seed}", seed, lr=1) for seed in (0, 1)]
    assert [group.name for group in read_groups([*alone, *named])] == ["a", "lower-lr"]
    far = [run_of(tmp_path / name / "run", 0, lr=lr) for lr, name in enumerate(("x", "y"), 5)]
    assert [group.name for group in read_groups(far)] == ["x/run", "y/run"]


def test_a_folder_of_seeds_stands_for_its_runs(folders: list[Path], tmp_path: Path) -> None:
    run_of(tmp_path / "small" / "seed10", 10)
    (tmp_path / "small" / "notes").mkdir()
    found = [path.name for path in runs_in(tmp_path / "small")]
    assert found == ["seed0", "seed1", "seed10"]
    assert runs_in(folders[0]) == [folders[0]]
    assert default_place(runs_in(tmp_path / "small")) == tmp_path / "small" / "comparison.html"
    assert default_place(folders) == tmp_path / "comparison.html"


def test_a_run_named_twice_would_count_twice(folders: list[Path]) -> None:
    with pytest.raises(StoreError, match="twice"):
        read_groups([folders[0], folders[0].parent / "." / "seed0"])
    with pytest.raises(StoreError, match="no run folder"):
        read_groups([folders[0], folders[0].parent / "seed7"])


def test_a_checkpoint_is_no_run(folders: list[Path]) -> None:
    """A page in it would be a file that its manifest does not list."""
    checkpoint = folders[0] / "checkpoints" / "0_imitation_00000006"
    for folder in (checkpoint, checkpoint / "pretrained_model"):
        folder.mkdir(parents=True)
        (folder / "MANIFEST.json").write_text("{}")
        (folder / "config.json").write_text("{}")
        assert runs_in(folder) == [folder]
        with pytest.raises(StoreError, match=r"is a checkpoint.*give the run"):
            read_groups([folder])


# ---- pooling ------------------------------------------------------------------------------------


def group_with_rates(tmp_path: Path, *rates: float) -> RunGroup:
    runs = []
    for seed, rate in enumerate(rates):
        runs.append(run_of(tmp_path / f"seed{seed}", seed, ["imitation"]))
        write_evaluation(runs[-1], "imitation", rate, 0)
    return read_groups(runs)[0]


def test_seeds_are_pooled_over_all_their_episodes(tmp_path: Path) -> None:
    group = group_with_rates(tmp_path, 0.2, 0.4)
    (point,) = pooled_finals(group, SUCCESS)
    episodes = group.runs[0].evaluations[0].num_episodes
    assert point.measured.num_episodes == 2 * episodes
    assert point.measured.value == pytest.approx(0.3)
    low, high = wilson_interval(round(0.6 * episodes), 2 * episodes)
    assert (point.measured.low, point.measured.high) == pytest.approx((low, high))
    assert point.each == (0.2, 0.4)


def test_the_course_is_in_the_order_of_training(tmp_path: Path) -> None:
    group = read_groups([run_of(tmp_path / "run", 0, list(EVALUATIONS))])[0]
    course = pooled_course(group, SUCCESS)
    assert [point.label for point in course] == list(EVALUATIONS)
    assert np.all(np.diff([point.robot_steps for point in course]) >= 0)


def test_time_comes_from_the_metrics(tmp_path: Path) -> None:
    path = run_of(tmp_path / "run", 0, ["imitation"])
    update = json.loads((path / "evaluations" / "imitation.json").read_text())["update_step"]
    with MetricLogger(path) as logger:
        logger.log({"success_rate": 0.4}, stage="imitation", update_step=update)
    lines = (path / "metrics.csv").read_text().splitlines()
    lines[-1] = re.sub("^[^,]*", "754.5", lines[-1])
    (path / "metrics.csv").write_text("\n".join(lines) + "\n")
    (point,) = pooled_finals(read_groups([path])[0], SUCCESS)
    assert point.time_s == 754.5


# ---- the page -----------------------------------------------------------------------------------


def test_the_page_says_what_differs_and_leads_to_every_run(
    folders: list[Path], tmp_path: Path
) -> None:
    page = page_of(folders, tmp_path / "comparison.html")
    assert "3 runs in 2 groups" in page.text
    assert "small (2 seeds)" in page.text
    assert "discount–0.9" in page.text
    table = page.text[page.text.index("What differs") : page.text.index("Runs", 60)]
    assert "learning_rate" not in table, "only what differs"
    links = [attributes["href"] for attributes in page.all("a")]
    assert links == [
        "small/seed0/report.html",
        "small/seed1/report.html",
        "large%3C%26%3E/report.html",
    ]
    assert "Success after each stage" in page.text or "Success rate after each stage" in page.text
    assert "41 %" in page.text


def test_runs_that_measure_no_success_say_what_they_know(tmp_path: Path) -> None:
    """Data without an environment: nothing will ever be evaluated."""
    folders = []
    for index in (1, 2):
        run = run_of(tmp_path / f"run{index}", 0, discount=index / 10, eval_episodes=0)
        for file in (run / "evaluations").iterdir():
            file.unlink()
        folders.append(run)
    headline = page_of(folders, tmp_path / "out.html").text.partition("Written")[0]
    assert "Nothing has been evaluated yet" not in headline
    assert "Success is not measured in these runs" in headline


def test_curves_of_online_runs(tmp_path: Path) -> None:
    folders = [run_of(tmp_path / f"seed{seed}", seed, list(EVALUATIONS)) for seed in (0, 1)]
    page = page_of(folders, tmp_path / "comparison.html")
    assert "against robot steps" in page.text
    assert "online_rl_round_03: 80 % (71–87 %), 100 episodes, 2 seeds" in page.text
    assert "What differs" not in page.text, "one group"


def test_runs_without_any_success_rate_are_compared_by_their_curves(tmp_path: Path) -> None:
    folders = [run_of(tmp_path / f"run{i}", 0, OFFLINE, discount=i / 10) for i in (1, 2)]
    for folder in folders:
        for file in (folder / "evaluations").iterdir():
            file.unlink()
    page = page_of(folders, tmp_path / "out.html")
    assert "Nothing has been evaluated yet" in page.text
    assert "Held-out bits per dimension" in page.text
    assert "Negative log-likelihood" in page.text
