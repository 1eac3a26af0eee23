"""Weights by source, from two merged stores to the batches of every stage."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from point_world import demonstration, point_spec, tiny_config
from training_processes import train

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError
from softflow.models.checkpoint import weights_identity
from softflow.sampling.chunk_sampler import ChunkSampler, MixtureSampler
from softflow.sampling.mixing import FixedRatio
from softflow.training.config import DataConfig, TrainingConfig
from softflow.training.continuing.history import read_history
from softflow.training.persistence import read_run_facts
from softflow.training.run import Run
from softflow.training.stages import run_stages

RunMaker = Callable[..., Run]
OFFLINE = ("--stages", "imitation", "critic_warmup", "offline_rl", "--eval-episodes", "0")


def write_store(path: Path, source: str, seeds: range, towards_goal: bool = True) -> Path:
    with EpisodeStore.create(path, point_spec()) as store:
        for seed in seeds:
            episode = demonstration(seed, towards_goal=towards_goal)
            metadata = {**episode.metadata, "source": source}
            # The second action component tells where a row of a batch comes from.
            actions = episode.actions.copy()
            actions[:, 1] = {"teleop": 0.5, "policy": -0.5}[Path(source).stem]
            store.append(replace(episode, actions=actions, metadata=metadata))
    return path


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """Eight episodes of teleop, three of policy, of which one fails."""
    teleop = write_store(tmp_path / "teleop", "/data/teleop.hdf5", range(8))
    policy = write_store(tmp_path / "policy", "policy", range(8, 10))
    failed = write_store(tmp_path / "failed", "policy", range(10, 11), towards_goal=False)
    words = ["data", "merge", tmp_path / "merged", teleop, policy, failed]
    assert main([str(word) for word in words]) == 0
    return tmp_path / "merged"


def weighted(field: str = "source", **weights: float) -> TrainingConfig:
    return replace(tiny_config(), data=DataConfig(weights, field))


def command(dataset: Path, run: Path, *words: str) -> int:
    start = ("train", "small", "--dataset", str(dataset), "--run", str(run))
    return main([*start, *words])


@pytest.mark.slow
def test_a_run_draws_by_its_weights(make_run: RunMaker, merged: Path) -> None:
    run = make_run(weighted(teleop=1, policy=3), dataset=merged)
    data = run.data.offline
    sampler = ChunkSampler(data, 4000, 0, "imitation", run.data.weights("imitation", data))
    from_policy = (sampler.batch(0).actions[:, 0, 1] < 0).sum().item()
    assert abs(from_policy - 3000) < 5 * np.sqrt(4000 * 0.75 * 0.25)


@pytest.mark.slow
def test_only_the_offline_rows_of_a_mixture_are_weighted(make_run: RunMaker, merged: Path) -> None:
    run = make_run(weighted(teleop=0, policy=1), dataset=merged)
    with EpisodeStore.open(run.online.store.path, writable=True) as store:
        store.append(demonstration(3, towards_goal=True))
    run.online.store.refresh()
    offline, online = run.data.offline, run.online.data(1)
    weights = run.data.weights("online_rl", offline)
    batch = MixtureSampler(offline, online, 64, FixedRatio(0.5), 0, "online_rl", weights).batch(0)
    assert (batch.actions[:32, 0, 1] == -0.5).all()
    plain = MixtureSampler(offline, online, 64, FixedRatio(0.5), 0, "online_rl").batch(0)
    assert (plain.actions[:32, 0, 1] == 0.5).any()
    generator = np.random.default_rng([0, zlib.crc32(b"online_rl"), 0])
    rows = generator.integers(offline.num_windows, size=32)
    assert torch.equal(plain.actions[:32], offline.gather(rows).actions), "as it always was"


@pytest.mark.slow
def test_the_command_saves_the_weights_and_trains_with_them(merged: Path, tmp_path: Path) -> None:
    runs: dict[str, Path] = {}
    for name, words in (
        ("plain", ()),
        ("weighted", ("--data.weights", "teleop=1", "policy=4")),
        ("again", ("--data.weights", "policy=4", "teleop=1", "--data.prefetch-workers", "1")),
    ):
        runs[name] = tmp_path / name
        status, said = train(merged, runs[name], *OFFLINE, *words)
        assert status == 0, said
    identities = {n: weights_identity(r / "checkpoints/last") for n, r in runs.items()}
    assert identities["weighted"] == identities["again"]
    assert identities["weighted"] != identities["plain"]
    config = json.loads((runs["weighted"] / "config.json").read_text())
    assert config["data"]["weights"] == {"teleop": 1.0, "policy": 4.0}
    saved, _, _ = read_run_facts(runs["weighted"] / "checkpoints/last")
    assert saved.data == DataConfig({"teleop": 1, "policy": 4})


@pytest.mark.slow
def test_a_run_goes_on_with_other_weights_and_says_so(merged: Path, tmp_path: Path) -> None:
    words = (*OFFLINE, "--data.weights", "teleop=1")
    status, said = train(merged, tmp_path / "run", *words, "policy=4")
    assert status == 0, said
    status, said = train(merged, tmp_path / "run", *words, "policy=3")
    assert status == 0, said
    assert "data.weights.policy" in said
    (entry,) = read_history(tmp_path / "run").continuations
    assert [(c.what, c.before, c.now) for c in entry.changes] == [("data.weights.policy", 4.0, 3.0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("teleop=1",), "episodes of source 'policy', for which no weight is given"),
        (("teleop=1", "policy=1", "play=1"), "source 'play', of which the data"),
        (("teleop=0", "policy=0"), "give at least one above 0"),
        (("teleop=-1", "policy=1"), "weight of source 'teleop' is -1.0; give a number ≥ 0"),
        (("teleop=1", "data=1", "policy=1"), "'/data/teleop.hdf5' of "),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_learned(
    merged: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(merged, tmp_path / "run", *OFFLINE, "--data.weights", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
def test_another_field(make_run: RunMaker, merged: Path) -> None:
    run = make_run(weighted("seed", **{str(seed): seed == 4 for seed in range(11)}), dataset=merged)
    data = run.data.demonstrations
    sampler = ChunkSampler(data, 64, 0, "imitation", run.data.weights("imitation", data))
    state = run.data.store.episode(4).observations["observation.state"]
    drawn = sampler.batch(0).observation["observation.state"][:, -1].numpy()
    assert all(any(np.array_equal(row, known) for known in state) for row in drawn)


@pytest.mark.slow
def test_a_source_that_never_succeeds_leaves_imitation_to_the_others(
    tmp_path: Path, make_run: RunMaker
) -> None:
    write_store(tmp_path / "teleop", "teleop", range(3))
    write_store(tmp_path / "policy", "policy", range(3, 5), towards_goal=False)
    both = ["data", "merge", tmp_path / "both", tmp_path / "teleop", tmp_path / "policy"]
    assert main([str(word) for word in both]) == 0
    run = make_run(weighted(teleop=1, policy=1), dataset=tmp_path / "both")
    run_stages(run, ["imitation", "critic_warmup"])
    kept = run.data.weights("imitation", run.data.demonstrations)
    assert kept is not None
    assert kept.weights == {"teleop": 1.0}
    run.close()
    nothing = make_run(weighted(teleop=0, policy=1), "nothing", tmp_path / "both")
    with pytest.raises(DataError, match=r"all episodes to learn from .* 'teleop'"):
        run_stages(nothing, ["imitation"])


def test_weights_need_a_field() -> None:
    with pytest.raises(ConfigError, match=r"data.weights_field is empty"):
        DataConfig({"teleop": 1}, "")
