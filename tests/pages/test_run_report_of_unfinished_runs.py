"""Reports of runs that are unfinished, damaged or empty."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from report_run import (
    EVALUATIONS,
    Page,
    make_run,
    write_config,
    write_diagnostics,
    write_evaluation,
    write_metrics,
)

from softflow.errors import StoreError
from softflow.pages.run_report import write_report
from softflow.utils.files import write_json
from softflow.utils.metrics import MetricLogger


def test_a_repeated_report_replaces_the_old_one(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", labels=["imitation"], videos=False)
    write_report(path)
    assert "Not evaluated: Critic warm-up, Offline RL, Online RL." in Page.read(path).text
    write_evaluation(path, "offline_rl", *EVALUATIONS["offline_rl"])
    assert write_report(path) == path / "report.html"
    text = Page.read(path).text
    assert "After Offline RL, without any robot time, the policy succeeds in 58 %" in text
    assert "they overlap, so this may be chance" in text


def test_only_imitation(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", labels=["imitation"], videos=False)
    write_report(path)
    page = Page.read(path)
    assert "Imitation succeeds in 41 % of episodes." in page.text
    assert "last seen at update 3,000 of Imitation" in page.text
    assert "Not in the run folder: videos." in page.text
    assert page.all("video") == []
    assert "robot steps (" not in page.text
    assert "against robot steps" not in page.text


def test_killed_within_online_rl(tmp_path: Path) -> None:
    labels = [label for label in EVALUATIONS if label not in ("online_rl", "online_rl_round_04")]
    path = make_run(tmp_path / "run", labels=labels, videos=False, rollouts=7)
    with (path / "metrics.csv").open("a") as file:
        file.write("99.0,online_rl,77,1")
    write_report(path)
    text = Page.read(path).text
    assert (
        "After 60 online episodes, 7,680 robot steps (13 min), the policy succeeds in 80 %" in text
    )
    assert "Not evaluated: Online RL." in text


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    write_report(tmp_path)
    text = Page.read(tmp_path).text
    assert "Nothing has been evaluated yet." in text
    assert "configuration, versions, metrics, diagnostics, videos" in text
    assert "does not record its command" in text


def test_damaged_files_are_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", labels=["imitation", "offline_rl"], videos=False)
    (path / "evaluations" / "offline_rl.json").write_text('{"label": "off')
    (path / "diagnostics" / "offline_rl.json").write_text("[1, 2]")
    (path / "evaluations" / "critic_warmup.json").write_text('{"label": "critic_warmup"}')
    (path / "metrics.csv").write_text("something else\nentirely\n")
    write_report(path)
    text = Page.read(path).text
    assert "Imitation succeeds in 41 % of episodes." in text
    for name in (
        "evaluations/offline_rl.json",
        "evaluations/critic_warmup.json",
        "diagnostics/offline_rl.json",
        "metrics.csv",
    ):
        assert name in text, name


def test_numbers_that_are_not_finite_do_no_harm(tmp_path: Path) -> None:
    with MetricLogger(tmp_path) as logger:
        for step in range(5):
            values = {"nll": math.nan, "q_data": math.inf if step == 2 else 1.0, "flat": 0.0}
            logger.log(values, stage="imitation", update_step=step)
    write_diagnostics(tmp_path, "offline_rl", 0)
    file = tmp_path / "diagnostics" / "offline_rl.json"
    value = json.loads(file.read_text()) | {"candidate_diversity": math.nan, "q_values": [1.0]}
    file.write_text(json.dumps(value))
    write_report(tmp_path)
    source = (tmp_path / "report.html").read_text()
    assert not re.search(r'="[^"]*\b(nan|inf)\b', source)


def test_one_stage_asked_for_is_a_complete_run(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", labels=["imitation"])
    config = json.loads((path / "config.json").read_text()) | {"stages": ["imitation"]}
    write_json(path / "config.json", config)
    write_report(path)
    assert "incomplete" not in Page.read(path).text


@pytest.mark.parametrize(
    ("env_id", "headline"),
    [
        ("", "Success is not measured: its data names no environment."),
        ("cube-single", "Success is not measured: not asked."),
    ],
)
def test_a_run_that_is_not_evaluated_is_complete_at_the_end_of_its_stages(
    tmp_path: Path, env_id: str, headline: str
) -> None:
    """Data without an environment: likelihood on held-out demonstrations is what is known."""
    stages = ["imitation", "critic_warmup"]
    write_config(tmp_path)
    changes = {"stages": stages, "eval_episodes": 0, "env_id": env_id}
    config = json.loads((tmp_path / "config.json").read_text()) | changes
    write_json(tmp_path / "config.json", config)
    write_metrics(tmp_path, set(stages))
    write_diagnostics(tmp_path, "imitation", 0)
    write_report(tmp_path)
    text = Page.read(tmp_path).text
    assert headline in text
    assert "lower is better: −1.9 after Imitation." in text
    assert "Not ended: Critic warm-up." in text
    write_diagnostics(tmp_path, "critic_warmup", 1)
    write_report(tmp_path)
    assert "incomplete" not in Page.read(tmp_path).text


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no run folder at .*nothing_here"):
        write_report(tmp_path / "nothing_here")
