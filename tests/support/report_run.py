"""A run folder as training writes it, and its report read back as text and structure."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.utils.files import write_json
from softflow.utils.intervals import wilson_interval
from softflow.utils.metrics import MetricLogger
from softflow.utils.video import write_video

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
    earlier = [{"command": "softflow train small --online-rl.num-rounds 2", "python": "3.11"}]
    versions = {"command": command, "python": "3.11", "torch": "2.14.1", "earlier": earlier * 2}
    write_json(path / "versions.json", versions)


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
        **({} if label == "imitation" else {"rule": "value", "num_candidates": 24}),
        **({"sampling_std": 0.7} if label == "online_rl" else {}),
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


class Page(HTMLParser):
    """The text and structure of a page; fails on tags that are not closed in order."""

    VOID = ("meta", "br", "link", "img", "input", "hr", "wbr")

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
