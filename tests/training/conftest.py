"""The point world, its demonstrations and tiny runs, shared by the tests of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from point_world import LocalPool, point_spec, tiny_config, write_demonstrations

from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import compute_statistics
from softflow.models.value_distribution import ValueSupport
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.config import TrainingConfig
from softflow.training.learner import Learner
from softflow.training.persistence import model_inputs
from softflow.training.run import Run
from softflow.utils.progress import SilentProgress

OUTCOMES = tuple(index % 7 != 3 for index in range(26))
"""22 successful demonstrations, so that one of them is held out, and 4 failures."""

RunMaker = Callable[..., Run]
LearnerMaker = Callable[..., Learner]
BatchMaker = Callable[..., ChunkBatch]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks lose more than they gain by threads, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the point world that no test writes to."""
    return write_demonstrations(tmp_path_factory.mktemp("data") / "demos", OUTCOMES)


@pytest.fixture
def make_run(demonstrations: Path, tmp_path: Path) -> Iterator[RunMaker]:
    """`make_run(config, folder=…, dataset=…)`: a run with episodes in this process."""
    opened: list[Run] = []

    def make(
        config: TrainingConfig | None = None, folder: str = "run", dataset: Path | None = None
    ) -> Run:
        path = dataset or demonstrations
        run = Run(tmp_path / folder, config or tiny_config(), path, LocalPool(), SilentProgress())
        opened.append(run)
        return run

    yield make
    for run in opened:
        run.close()


def fill_randomly(module: torch.nn.Module, generator: torch.Generator) -> None:
    """No parameter is zero: behind the zeros of a fresh network's heads no gradient passes."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(1.5 * noise / parameter.shape[-1] ** 0.5)
            else:
                is_gain = name.endswith(("norm.weight", "norm1.weight", "norm2.weight"))
                parameter.copy_(0.3 * noise + is_gain)


@pytest.fixture
def make_learner(demonstrations: Path) -> LearnerMaker:
    """`make_learner(config)`: a learner for the point world, its weights random unless fresh."""

    def make(config: TrainingConfig | None = None, *, fresh: bool = False) -> Learner:
        statistics = compute_statistics(EpisodeStore.open(demonstrations))
        config = config or tiny_config()
        inputs = model_inputs(config.model, point_spec(), statistics)
        learner = Learner(config, inputs, ValueSupport(-0.2, 1.2))
        if fresh:
            return learner
        generator = torch.Generator().manual_seed(0)
        for module in (learner.policy, learner.critic, learner.target_critic):
            fill_randomly(module, generator)
        return learner

    return make


@pytest.fixture
def make_batch(demonstrations: Path) -> BatchMaker:
    """`make_batch(windows, num_online=…)`: rows of the demonstrations, the last ones as online."""

    def make(
        config: TrainingConfig | None = None, *, rows: int = 12, num_online: int = 0
    ) -> ChunkBatch:
        chunk = (config or tiny_config()).model.chunk
        dataset = ChunkDataset(EpisodeStore.open(demonstrations), chunk)
        windows = np.random.default_rng(5).choice(dataset.num_windows, rows, replace=False)
        batch = dataset.gather(windows)
        return replace(batch, is_offline=torch.arange(rows) < rows - num_online)

    return make
