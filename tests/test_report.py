from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softflow.data.batch import DataSpec, Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files import write_json
from softflow.errors import StoreError
from softflow.metrics import MetricLogger, wilson_interval
from softflow.report import write_report
from softflow.video import write_video

EVALUATIONS = {
    # label: (success rate, online episodes)
    "imitation": (0.41, 0),
    "critic_warmup": (0.47, 0),
    "offline_rl": (0.58, 0),
    "online_rl_round_01": (0.63, 20),
    "online_rl_round_02": (0.74, 40),
    "online_rl_round_03": (0.81, 60),
    "online_rl_round_04": (0.89, 80),
    "online_rl": (0.92, 100),
}
STEPS_PER_EPISODE = 128
NUM_ROUNDS, EPISODES_PER_ROUND = 5, 20
UPDATES = {"imitation": 3000, "critic_warmup": 1000, "offline_rl": 2000, "online_rl": 2500}


def make_run(path: Path, *, labels: list[str], videos: bool = True, rollouts: int = 100) -> Path:
    """A run folder as training writes it, with the given evaluations done."""
    stages = {label.split("_round")[0] for label in labels}
    write_config(path)
    write_metrics(path, stages)
    for index, label in enumerate(labels):
        write_evaluation(path, label, *EVALUATIONS[label])
        write_diagnostics(path, label, index)
    if videos:
        for index, stage in enumerate(sorted(stages)):
            frames = moving_block(64, 96, num_frames=40 + 10 * index)
            write_video(path / "videos" / f"{stage}.mp4", frames, fps=20.0)
            outcome = {"success": stage != "imitation", "seed": 1000, "length": 61 + index}
            write_json(path / "videos" / f"{stage}.json", outcome)
    if "online_rl" in stages and rollouts:
        write_rollouts(path / "online", rollouts)
    return path


def write_config(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    config: dict[str, Any] = {
        "seed": 3,
        "env_id": "ogbench/cube-single-task1",
        "model": {"chunk": {"chunk_length": 10, "execution_horizon": 5}, "hidden": 128},
        "imitation": {"num_updates": 3000, "learning_rate": 3e-4},
        "online_rl": {
            "num_rounds": NUM_ROUNDS,
            "episodes_per_round": EPISODES_PER_ROUND,
            "offline_ratio": 0.5,
        },
    }
    write_json(path / "config.json", config)
    command = ["softflow", "train", "small", "--dataset", "data/cube single", "--seed", "3"]
    write_json(path / "versions.json", {"command": command, "python": "3.11", "torch": "2.14.1"})


def write_metrics(path: Path, stages: set[str]) -> None:
    rng = np.random.default_rng(0)
    with MetricLogger(path) as logger:
        for stage, updates in UPDATES.items():
            if stage not in stages:
                continue
            for step in range(20, updates + 1, 20):
                done = step / updates
                values = {"nll": -20 + 45 * math.exp(-6 * done) + rng.normal(0, 1.2)}
                if stage != "imitation":
                    values = {
                        "critic_loss": 1.4 + 2.2 * math.exp(-5 * done) + rng.normal(0, 0.1),
                        "q_data": 0.42 + 0.2 * done + rng.normal(0, 0.01),
                        "td_error": 0.03 + 0.1 * math.exp(-4 * done) + rng.normal(0, 0.004),
                    }
                if stage.endswith("_rl"):
                    values["nll"] = -21 + 3 * done + rng.normal(0, 1)
                    values["q_actor"] = 0.5 + 0.3 * done + rng.normal(0, 0.01)
                values["policy_grad_norm"] = float(np.exp(rng.normal(0, 0.3)))
                rounds = math.ceil(done * NUM_ROUNDS) if stage == "online_rl" else 0
                robot_steps = rounds * EPISODES_PER_ROUND * STEPS_PER_EPISODE
                if step == updates:
                    values |= {"success_rate": 0.5, "data_log_prob": 20.0}
                logger.log(values, stage=stage, update_step=step, robot_steps=robot_steps)


def write_evaluation(path: Path, label: str, rate: float, online_episodes: int) -> None:
    stage = label.split("_round")[0]
    n = 100 if "round" not in label else 50
    rng = np.random.default_rng(online_episodes)
    order = rng.permutation(n)
    episodes: list[dict[str, Any]] = [
        {
            "seed": 1000 + i,
            "success": bool(order[i] < round(rate * n)),
            "length": int(rng.integers(50, 110)) if order[i] < round(rate * n) else 200,
            "return": float(order[i] < round(rate * n)),
        }
        for i in range(n)
    ]
    successes = sum(episode["success"] for episode in episodes)
    low, high = wilson_interval(successes, n)
    value = {
        "label": label,
        "stage": stage,
        "policy_version": 1,
        "update_step": UPDATES[stage],
        "online_episodes": online_episodes,
        "robot_steps": online_episodes * STEPS_PER_EPISODE,
        "num_episodes": n,
        "success_rate": successes / n,
        "interval_low": low,
        "interval_high": high,
        "wall_time_s": 41.5,
        "episodes": episodes,
    }
    (path / "evaluations").mkdir(exist_ok=True)
    write_json(path / "evaluations" / f"{label}.json", value)


def write_diagnostics(path: Path, label: str, index: int) -> None:
    rng = np.random.default_rng(index)
    value: dict[str, Any] = {
        "held_out_bits_per_dim": -1.9 + 0.06 * index,
        "data_log_prob": 19.0 - 0.8 * index,
        "invertibility_error": 2e-6 * (1 + index),
        "candidate_diversity": 0.31 - 0.02 * index,
    }
    if label != "imitation":
        q = rng.uniform(0.1, 0.95, 200)
        value["q_values"] = q.tolist()
        success = rng.uniform(size=200) < q
        value["realised_returns"] = (success * rng.uniform(0.75, 0.98, 200)).tolist()
    (path / "diagnostics").mkdir(exist_ok=True)
    write_json(path / "diagnostics" / f"{label}.json", value)


def write_rollouts(path: Path, num_episodes: int) -> None:
    spec = DataSpec(
        observation_shapes={"observation.state": (3,)},
        action_dim=2,
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        control_hz=10.0,
        env_id="ogbench/cube-single-task1",
    )
    rng = np.random.default_rng(1)
    with EpisodeStore.create(path, spec) as store:
        for index in range(num_episodes):
            success = bool(rng.uniform() < 0.5 + 0.4 * index / num_episodes)
            store.append(
                Episode(
                    observations={
                        "observation.state": np.zeros((STEPS_PER_EPISODE + 1, 3), np.float32)
                    },
                    actions=np.zeros((STEPS_PER_EPISODE, 2), np.float32),
                    rewards=np.zeros(STEPS_PER_EPISODE, np.float32),
                    terminated=success,
                    truncated=not success,
                    success=success,
                    metadata={},
                )
            )


def moving_block(height: int, width: int, num_frames: int) -> np.ndarray:
    frames = np.full((num_frames, height, width, 3), 225, np.uint8)
    for index, frame in enumerate(frames):
        left = 4 + index * (width - 20) // num_frames
        frame[height - 22 : height - 8, left : left + 14] = (200, 70, 40)
    return frames


@pytest.fixture(scope="module")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_run(tmp_path_factory.mktemp("runs") / "seed<3>", labels=list(EVALUATIONS))
    write_report(path)
    return path


@pytest.fixture(scope="module")
def full_page(full_run: Path) -> Page:
    return Page.read(full_run)


class Page(HTMLParser):
    """The text and structure of a page; fails on tags that are not closed in order."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    @classmethod
    def read(cls, run_dir: Path) -> Page:
        page = cls()
        page.feed((run_dir / "report.html").read_text(encoding="utf-8"))
        page.close()
        assert page.open == []
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_the_headline_states_the_measured_result(full_page: Page) -> None:
    assert (
        "Imitation succeeds in 41 % of episodes. After 100 online episodes, 12,800 robot steps "
        "(21 min), the policy succeeds in 92 %." in full_page.text
    )
    assert "95 % intervals 32–51 % and 85–96 %: they do not overlap." in full_page.text
    assert "incomplete" not in full_page.text


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
    for value in ("online_rl_round_03", "offline_ratio", "2.14.1", "200 decisions"):
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
