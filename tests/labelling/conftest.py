"""Servers of the labelling page, a real browser, and stores of toy and of real episodes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from softflow.cli.label_commands import prepared
from softflow.cli.label_options import LabelPage
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.labelling.server.running import PageServer

STATE = "observation.state"
LENGTH = 40


StartServer = Callable[..., str]


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """`start_server(LabelPage option = …)`: gives the address of a page, served by a thread."""
    started: list[tuple[PageServer, Thread]] = []

    def start(dataset: Path | None = None, **options: Any) -> str:
        server = prepared(LabelPage(dataset, port=options.pop("port", 0), **options))
        thread = Thread(target=server.answer, daemon=True)
        thread.start()
        started.append((server, thread))
        return f"http://127.0.0.1:{server.port}/"

    yield start
    for server, thread in started:
        server.stop()
        thread.join(20)


@dataclass
class LabelProcess:
    """`softflow label` in a process of its own."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2].strip("/"))

    def kill(self) -> None:
        """As a power cut does."""
        self.process.kill()
        self.process.wait(20)

    def interrupt(self) -> str:
        """Ctrl-C; what it printed until it ended."""
        self.process.send_signal(signal.SIGINT)
        told, _ = self.process.communicate(timeout=20)
        return told


StartProcess = Callable[..., LabelProcess]


@pytest.fixture
def start_process() -> Iterator[StartProcess]:
    """`start_process(word, …)`: softflow label with these words, answering when it is given."""
    started: list[LabelProcess] = []

    def start(*words: object) -> LabelProcess:
        process = subprocess.Popen(
            [sys.executable, "-m", "softflow", "label", *map(str, words), "--no-open"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stdout.read()
        started.append(LabelProcess(process, found.group()))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


def toy_spec(cameras: int = 2, side: int = 32) -> DataSpec:
    """A small arm with cameras."""
    images = {f"observation.images.cam{i}": (side, side, 3) for i in range(cameras)}
    return DataSpec({STATE: (3,), **images}, 2, (-1, -1), (1, 1), 10.0)


def toy_episode(spec: DataSpec, seed: int = 0, length: int = LENGTH) -> Episode:
    """Frames that say in their brightness which step they show."""
    rng = np.random.default_rng(seed)
    frames = np.arange(length + 1, dtype=np.uint8)[:, None, None, None] * 5
    observations: dict[str, np.ndarray] = {
        STATE: np.cumsum(rng.normal(0, 0.1, (length + 1, 3)), 0).astype(np.float32)
    }
    for key in spec.image_keys:
        shape = (length + 1, *spec.observation_shapes[key])
        observations[key] = np.ascontiguousarray(np.broadcast_to(frames, shape))
    actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    rewards = np.zeros(length, np.float32)
    return Episode(observations, actions, rewards, False, True, False, {"unlabelled": True})


@pytest.fixture(scope="session")
def toy_original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `toy_store` is copied from."""
    spec, path = toy_spec(), tmp_path_factory.mktemp("label") / "toy"
    with EpisodeStore.create(path, spec) as store:
        for seed in range(4):
            store.append(toy_episode(spec, seed))
    return path


@pytest.fixture
def toy_store(tmp_path: Path, toy_original: Path) -> EpisodeStore:
    """Four episodes that nobody has labelled, two cameras."""
    shutil.copytree(toy_original, tmp_path / "toy")
    return EpisodeStore.open(tmp_path / "toy")


@pytest.fixture
def toy_parts() -> Callable[[DataSpec, int], Episode]:
    """`toy_parts(spec, seed)`: an episode that a recorder would append."""
    return toy_episode


@pytest.fixture(scope="session")
def chromium() -> str:
    """The system's browser; tests that need one skip where it is absent."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on this machine (apt install chromium)")
    return found
