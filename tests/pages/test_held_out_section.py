"""What the report says without a simulator: held-out curves, and chunks over recordings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from report_run import Page, make_run, moving_block

from softflow.pages.evaluations.stages import label_words
from softflow.pages.held_out.charts import unit_of
from softflow.pages.html import tree_html
from softflow.pages.run_report import write_report
from softflow.utils.files import read_object, write_json
from softflow.utils.metrics import MetricLogger
from softflow.utils.video import write_video

NATS = {50: -1.0, 100: -0.25, 150: -0.75}
NAMES = ["x_m", "gripper<b>"]
BEST = "0_imitation_00000100"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of imitation without an environment, with a curve and predicted chunks."""
    run = tmp_path_factory.mktemp("runs") / "run"
    make_run(run, labels=["imitation"], rollouts=0, videos=False)
    shutil.rmtree(run / "evaluations")
    config = read_object(run / "config.json")
    write_json(run / "config.json", config | {"env_id": "", "eval_episodes": 0})
    with MetricLogger(run) as logger:
        for update, nats in NATS.items():
            sizes = {"median": 0.02, "p95": 0.3}
            errors = {f"held_out/{n}/{i}": v for i in (0, 1) for n, v in sizes.items()}
            logger.log(
                {"held_out/nats_per_dim": nats, "held_out/log_prob": 8 * nats} | errors,
                stage="imitation",
                update_step=update,
            )
    (run / "checkpoints" / BEST).mkdir(parents=True)
    (run / "checkpoints" / BEST / "MANIFEST.json").write_text("{}")
    best = {"update_step": 100, "checkpoint": BEST}
    facts = {"episodes": [3, 8], "windows": 40, "candidates": 16, "names": NAMES, "best": best}
    write_json(run / "held_out.json", facts)
    (run / "diagnostics/chunks").mkdir()
    write_json(run / "diagnostics/chunks/imitation.json", overlays())
    return run


def overlays(**changes: Any) -> dict[str, Any]:
    chunks = [{"start": 0, "actions": [[0.1, 1.0]] * 4}, {"start": 4, "actions": [[0.3, 0.0]] * 2}]
    episode = {"episode": 8, "actions": [[0.1 * step, 1.0] for step in range(6)], "chunks": chunks}
    facts = {"held_out": True, "control_hz": 10.0, "names": NAMES, "episodes": [episode]}
    return facts | changes


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def page_of(run: Path) -> Page:
    write_report(run)
    return Page.read(run)


def test_it_stands_where_success_would(run: Path) -> None:
    page = page_of(run)
    assert "at best −0.25, after update 100 of imitation" in page.text
    assert "Imitation on 2 demonstrations that no stage learns from" in page.text
    assert f"Its checkpoint is kept: checkpoints/{BEST}" in page.text
    titles = ["On held-out demonstrations", "Predicted chunks after Imitation", "Learning curves"]
    places = [page.text.index(title) for title in titles]
    assert places == sorted(places)
    assert "median 0.02, 95 % 0.3 m at the end" in page.text
    assert "Episode 8, held out" in page.text
    assert "held out/median" not in page.text, "errors are no learning curves"


def test_chunks_lie_over_the_recording(run: Path) -> None:
    page = page_of(run)
    lines = [attrs for attrs in page.all("polyline") if attrs["class"] == "line recorded"]
    assert len(lines) == 2, "one a component"
    text = (run / "report.html").read_text()
    first = text[text.index("6 recorded steps, 2 predicted chunks") :]
    figure = first[: first.index("</figure>")]
    recorded, one, two = (
        [tuple(map(float, p.split(","))) for p in points.split()]
        for points in re.findall(r'points="([^"]+)"', figure)
    )
    assert (len(recorded), len(one), len(two)) == (6, 4, 2)
    assert [x for x, _ in one + two] == [x for x, _ in recorded], "at the times of the recording"
    assert one[1][1] == recorded[1][1], "0.1 in both"


def test_episodes_that_were_learned_from_are_called_so(run: Path) -> None:
    (run / "held_out.json").unlink()
    write_json(run / "diagnostics/chunks/imitation.json", overlays(held_out=False))
    page = page_of(run)
    assert "Episode 8, learned from: none is held out" in page.text
    assert "action[0]" in page.text, "names are gone with the file"


def test_a_best_checkpoint_that_is_gone_is_not_promised(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    page = page_of(run)
    assert "checkpoint is kept" not in page.text
    assert "after update 100" in page.text


@pytest.mark.parametrize(
    "damage",
    [
        {"episodes": [{"episode": 1, "actions": [[1.0], [1.0, 2.0]], "chunks": []}]},
        {"episodes": [{"episode": 1, "actions": [[]], "chunks": []}]},
        {"episodes": [{"episode": 1, "actions": [[1e300]], "chunks": []}]},
        {"control_hz": 0},
        {"names": ["x" * 500]},
        {"episodes": 3},
    ],
)
def test_damaged_chunks_are_told_and_the_page_goes_on(run: Path, damage: dict[str, Any]) -> None:
    write_json(run / "diagnostics/chunks/imitation.json", overlays(**damage))
    page = page_of(run)
    assert "imitation.json' cannot be used" in page.text
    assert "On held-out demonstrations" in page.text
    assert "Predicted chunks" not in page.text


@pytest.mark.parametrize("damage", [{"best": 3}, {"names": [1]}, {"best": {"update_step": -1}}])
def test_a_damaged_account_of_the_curve_leaves_the_curve(run: Path, damage: dict[str, Any]) -> None:
    file = run / "held_out.json"
    write_json(file, read_object(file) | damage)
    page = page_of(run)
    assert "held_out.json' cannot be used" in page.text
    assert "Held-out log-likelihood: −0.75" in page.text


def test_names_of_strangers_are_text(run: Path) -> None:
    page_of(run)
    assert "gripper<b>" not in (run / "report.html").read_text()


def test_units_are_those_that_names_end_with() -> None:
    assert [unit_of(name) for name in ("x_m", "elbow_rad", "grip_N", "rad", "x", "a_b")] == [
        "m",
        "rad",
        "N",
        "",
        "",
        "",
    ]


def test_stages_and_rounds_in_words() -> None:
    words = {
        "imitation": "Imitation",
        "critic_warmup": "Critic warm-up",
        "online_rl_round_03": "Online RL, round 3",
        "of a stranger": "of a stranger",
    }
    assert {label: label_words(label) for label in words} == words


def test_no_raw_names_of_stages_are_shown(tmp_path: Path) -> None:
    make_run(tmp_path, labels=["imitation", "online_rl_round_01", "online_rl"])
    page = page_of(tmp_path)
    head = page.text[: page.text.index("Reproduce")]
    assert "online_rl" not in head
    assert "Online RL, round 1" in head
    assert "data_log_prob" not in head


def test_demonstrations_stand_beside_the_stages(tmp_path: Path) -> None:
    make_run(tmp_path, labels=["imitation"], videos=False)
    assert "Demonstrations" not in page_of(tmp_path).text, "not known"
    config = read_object(tmp_path / "config.json")
    told = {"dataset_episodes": 50, "dataset_successes": 30}
    write_json(tmp_path / "config.json", config | told)
    page = page_of(tmp_path)
    assert "Demonstrations: 60 % of the data's 50 episodes succeed" in page.text


@pytest.mark.parametrize("successes", [51, -1, "many", None])
def test_nonsense_about_demonstrations_is_left_out(tmp_path: Path, successes: Any) -> None:
    make_run(tmp_path, labels=["imitation"], videos=False)
    config = read_object(tmp_path / "config.json")
    told = {"dataset_episodes": 50, "dataset_successes": successes}
    write_json(tmp_path / "config.json", config | told)
    assert "Demonstrations" not in page_of(tmp_path).text


def test_one_video_of_each_outcome(tmp_path: Path) -> None:
    make_run(tmp_path, labels=["imitation", "offline_rl"])
    film = tmp_path / "videos/offline_rl.failure"
    write_video(film.with_name("offline_rl.failure.mp4"), moving_block(32, 48, 5), 20.0)
    write_json(
        film.with_name("offline_rl.failure.json"), {"success": False, "seed": 7, "length": 200}
    )
    page = page_of(tmp_path)
    assert len(page.all("video")) == 3
    assert "✗ failure, 200 steps" in page.text


def test_settings_are_short(tmp_path: Path) -> None:
    tree = {"spec": {"action_low": [-0.30000001192092896], "rate": 60.0, "empty": [], "none": ""}}
    found = tree_html("Configuration", tree)
    assert "<dd>-0.3</dd>" in found
    assert "<dd>60</dd>" in found
    assert found.count("<dd>–</dd>") == 2
