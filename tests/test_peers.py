"""The measuring sticks learn, and the harness measures what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import point_world
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.peers import __main__ as command
from benchmarks.peers.clock import CpuClock
from benchmarks.peers.expo import ExpoConfig
from benchmarks.peers.gaussian import SquashedGaussian
from benchmarks.peers.harness import PeerRun, run_peer
from benchmarks.peers.job import Job, Progress, record
from benchmarks.peers.method import Method, MethodConfig, Sizes
from benchmarks.peers.networks import Critics, EnsembleLinear, EnsembleMlp, frozen
from benchmarks.peers.registry import METHODS
from benchmarks.peers.replay import Batch, Replay, Windows
from benchmarks.peers.rows import Results, Row
from benchmarks.peers.running import run_jobs
from benchmarks.peers.softflow_run import run_softflow, softflow_config
from benchmarks.peers.table import markdown
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, StoreError
from softflow.training.evaluation import episode_seeds
from softflow.utils.files import read_object
from softflow.utils.progress import SilentProgress

STICKS = {name: config for name, config in METHODS.items() if isinstance(config, MethodConfig)}


SMALLER = {"flow_steps": 5, "num_candidates": 4, "target_candidates": 2}


def small(config: MethodConfig, **changes: Any) -> MethodConfig:
    """A method for the point world that learns in a second or two."""
    tiny: dict[str, Any] = {name: n for name, n in SMALLER.items() if hasattr(config, name)}
    tiny |= {"hidden": (48, 48), "batch_size": 48, "learning_rate": 2e-3, "tau": 0.05}
    if config.chunk_length > 1:
        tiny["chunk_length"] = 3
    return replace(config, **(tiny | changes))


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 walks to the goal and 8 away from it."""
    return point_world.write_demonstrations(
        tmp_path_factory.mktemp("walks") / "store", [True, True, True, False] * 8
    )


def replay_of(store: Path, config: MethodConfig) -> Replay:
    opened = EpisodeStore.open(store)
    windows = Windows.of(opened.spec, config.chunk_length, config.discount, config.reward_offset)
    return Replay(windows, [opened.episode(i) for i in range(len(opened))])


def job(demonstrations: Path, place: Path, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "method": "qc",
        "settings": "",
        "task": point_world.ENV_ID,
        "seed": 3,
        "store": demonstrations,
        "folder": place / "run",
        "csv": place / "rows.csv",
        "counts": (0, 2, 4),
        "eval_episodes": 5,
        "command": "test",
        "commit": "abc",
    }
    return Job(**(values | changes))


# ---- replay ---------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 12),
    chunk=st.integers(1, 5),
    discount=st.floats(0.5, 1.0),
    terminated=st.booleans(),
    seed=st.integers(0, 99),
)
def test_transitions_are_those_of_a_naive_loop(
    length: int, chunk: int, discount: float, terminated: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(length + 1, 2)).astype(np.float32)
    actions = rng.uniform(-2, 4, (length, 1)).astype(np.float32)
    rewards = rng.integers(0, 2, length).astype(np.float32)
    episode = Episode({STATE_KEY: states}, actions, rewards, terminated, not terminated, terminated)
    spec = DataSpec({STATE_KEY: (2,)}, 1, (-2.0,), (4.0,), 10.0)
    found = Windows.of(spec, chunk, discount, -1.0).transitions(episode)
    for start in range(length):
        earned, factor, steps = 0.0, 1.0, 0
        for step in range(start, min(start + chunk, length)):
            earned += factor * (rewards[step] - 1)
            factor *= discount
            steps += 1
            expected = (actions[step, 0] + 2) / 3 - 1
            assert found.chunks[start, step - start, 0] == pytest.approx(expected, abs=1e-6)
        assert found.valid[start].tolist() == [1.0] * steps + [0.0] * (chunk - steps)
        assert found.rewards[start] == pytest.approx(earned, abs=1e-5)
        ended = terminated and start + chunk >= length
        assert found.discounts[start] == pytest.approx(0.0 if ended else factor, abs=1e-6)
        np.testing.assert_array_equal(found.observations[start], states[start])
        np.testing.assert_array_equal(found.next_observations[start], states[start + steps])
    assert found.success.tolist() == [float(terminated)] * length


def test_actions_go_to_the_box_and_back() -> None:
    spec = DataSpec({STATE_KEY: (2,)}, 2, (-2.0, 0.0), (4.0, 0.5), 10.0)
    windows = Windows.of(spec, 1, 0.9, 0.0)
    actions = np.array([[-2.0, 0.5], [1.0, 0.25]], np.float32)
    assert windows.scaled(actions).tolist() == [[-1.0, 1.0], [0.0, 0.0]]
    np.testing.assert_allclose(windows.unscaled(windows.scaled(actions)), actions, atol=1e-6)


def test_batches_mix_as_asked(demonstrations: Path) -> None:
    replay = replay_of(demonstrations, small(STICKS["qc"]))
    torch.manual_seed(0)
    assert len(replay.draw(10, 0.5)) == 10  # nothing was collected yet
    collected = point_world.demonstration(77, towards_goal=True)
    replay.add(collected)
    assert replay.online is not None
    known = {tuple(row) for row in replay.online.observations.tolist()}

    def online_share(ratio: float | None, draws: int = 50) -> float:
        batches = [replay.draw(64, ratio).observations.tolist() for _ in range(draws)]
        return float(np.mean([tuple(row) in known for batch in batches for row in batch]))

    assert online_share(0.25) == 0.75
    by_size = collected.length / (collected.length + len(replay.offline))
    assert online_share(None) == pytest.approx(by_size, abs=0.01)


# ---- networks -------------------------------------------------------------------------------


def test_an_ensemble_is_its_members() -> None:
    torch.manual_seed(0)
    ensemble = EnsembleMlp(3, 4, (8, 8), 2)
    for parameter in ensemble.parameters():
        torch.nn.init.normal_(parameter)
    inputs = torch.randn(5, 4)
    for member in range(3):
        rows = inputs
        *hidden, last = ensemble.layers
        for layer, scale, shift in zip(hidden, ensemble.scales, ensemble.shifts, strict=True):
            assert isinstance(layer, EnsembleLinear)
            rows = rows @ layer.weight[member] + layer.bias[member]
            rows = torch.nn.functional.layer_norm(rows, (8,), scale[member, 0], shift[member, 0])
            rows = torch.nn.functional.gelu(rows)
        assert isinstance(last, EnsembleLinear)
        rows = rows @ last.weight[member] + last.bias[member]
        torch.testing.assert_close(ensemble(inputs)[member], rows)
    some = torch.tensor([2, 0])
    torch.testing.assert_close(ensemble(inputs, some), ensemble(inputs)[some])


def test_candidates_are_valued_like_single_chunks() -> None:
    critics = Critics(2, 3, 4, (8,))
    observations, chunks = torch.randn(5, 3), torch.randn(5, 6, 4)
    values = critics.values_of_candidates(observations, chunks)
    for index in range(6):
        torch.testing.assert_close(
            values[:, :, index], critics.values(observations, chunks[:, index])
        )


def test_frozen_networks_pass_the_gradient_on() -> None:
    critics = Critics(2, 3, 4, (8,))
    chunks = torch.randn(5, 4, requires_grad=True)
    with frozen(critics):
        critics.values(torch.randn(5, 3), chunks).sum().backward()
    assert chunks.grad is not None
    assert chunks.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in critics.parameters())
    assert all(parameter.requires_grad for parameter in critics.parameters())


def test_the_squashed_gaussian_knows_its_density() -> None:
    torch.manual_seed(0)
    actor = SquashedGaussian(3, (8,), 4).double()
    inputs = torch.randn(50, 3, dtype=torch.float64)
    torch.set_default_dtype(torch.float64)
    try:
        chunks, log_prob = actor.sample(inputs)
    finally:
        torch.set_default_dtype(torch.float32)
    mean, log_std = actor.net(inputs).chunk(2, dim=-1)
    normal = torch.distributions.Normal(mean, log_std.exp())
    expected = normal.log_prob(torch.atanh(chunks)) - torch.log1p(-chunks.square())
    torch.testing.assert_close(log_prob, expected.sum(dim=-1), rtol=1e-6, atol=1e-6)


# ---- methods --------------------------------------------------------------------------------


def made(config: MethodConfig) -> Method:
    torch.manual_seed(0)
    return config.make(Sizes(4, 2, config.chunk_length))


def learned(
    method: Method, replay: Replay, config: MethodConfig, updates: int
) -> dict[str, Tensor]:
    metrics: dict[str, list[Tensor]] = {}
    for _ in range(updates):
        for name, value in method.update(replay.draw(config.batch_size, None)).items():
            metrics.setdefault(name, []).append(value)
    return {name: torch.stack(values) for name, values in metrics.items()}


@pytest.mark.parametrize("name", STICKS)
def test_updates_lower_the_losses(name: str, demonstrations: Path) -> None:
    config = small(STICKS[name])
    replay = replay_of(demonstrations, config)
    # Without a bootstrap the critic's target stands still.
    replay.offline = replace(replay.offline, discounts=torch.zeros(len(replay.offline)))
    metrics = learned(made(config), replay, config, 80)
    losses = {key: values for key, values in metrics.items() if key.endswith("loss")}
    assert "critic_loss" in losses
    for key, values in losses.items():
        assert values.isfinite().all(), key
        share = 0.85 if key == "bc_loss" else 0.3  # what noise adds cannot be learned
        assert values[-20:].mean() < share * values[:3].mean(), key


@pytest.mark.parametrize("name", STICKS)
def test_decisions_follow_from_the_generator_and_stay_in_the_box(name: str) -> None:
    config = small(STICKS[name])
    method = made(config)
    observations = 3 * torch.randn(4, 4)

    def act(seed: int) -> Tensor:
        return method.act(observations, torch.Generator().manual_seed(seed), explore=True)

    assert act(0).shape == (4, config.chunk_length, 2)
    assert act(0).abs().max() <= 1
    assert torch.equal(act(0), act(0))
    assert not torch.equal(act(0), act(1))


@pytest.mark.parametrize("name", STICKS)
def test_targets_stop_at_the_end_and_cut_chunks_have_no_value(
    name: str, demonstrations: Path
) -> None:
    config = small(STICKS[name], learning_rate=0.0)
    batch = replay_of(demonstrations, config).offline[torch.arange(40)]
    other = torch.randn(40, 4)

    def loss(batch: Batch) -> float:
        torch.manual_seed(1)
        method = config.make(Sizes(4, 2, config.chunk_length))
        return float(method.update(batch)["critic_loss"])

    ended = replace(batch, discounts=torch.zeros(40))
    assert loss(ended) == loss(replace(ended, next_observations=other))
    assert loss(batch) != loss(replace(batch, next_observations=other))
    cut = batch.valid.clone()
    cut[:, -1] = 0
    assert loss(replace(batch, valid=cut)) == 0


def test_expo_imitates_successes_alone_if_asked(demonstrations: Path) -> None:
    config = small(ExpoConfig(imitate="successes"))
    batch = replay_of(demonstrations, config).offline[torch.arange(40)]
    failed = replace(batch, success=torch.zeros(40))
    assert made(config).update(failed)["bc_loss"] == 0
    assert made(config).update(batch)["bc_loss"] > 0


def test_expo_edits_are_small_and_half_of_the_candidates_have_none() -> None:
    method: Any = made(small(ExpoConfig(edit_scale=0.1)))
    candidates = method.candidates(torch.randn(3, 4), 5)
    assert candidates.shape == (3, 10, 6)
    differences = (candidates[:, 5:] - candidates[:, :5]).abs()
    assert 0 < differences.max() <= 0.1 + 1e-6


# ---- harness --------------------------------------------------------------------------------


EASIER = {"qc-fql": {"distill_coef": 3.0}, "rlpd": {"initial_temperature": 0.1}}
EASIER["rlpd-ac"] = EASIER["rlpd"]


@pytest.mark.slow
@pytest.mark.parametrize("name", STICKS)
def test_every_method_learns_the_point_world(
    name: str, demonstrations: Path, tmp_path: Path
) -> None:
    offline = 0 if STICKS[name].offline_updates == 0 else 200
    changes = {"offline_updates": offline, "discount": 0.95} | EASIER.get(name, {})
    asked = job(demonstrations, tmp_path, seed=4, counts=(0, 25), eval_episodes=20)
    run_peer(asked, small(STICKS[name], **changes), SilentProgress())
    first, last = asked.results.rows()
    assert last.success >= first.success + 0.3
    assert (first.offline_updates, first.online_updates) == (offline, 0)
    assert last.online_updates == last.robot_steps


def run_through(demonstrations: Path, place: Path, **changes: Any) -> list[Row]:
    config = small(STICKS["qc"], offline_updates=20, hidden=(16, 16), update_ratio=0.5)
    asked = job(demonstrations, place, **changes)
    run_peer(asked, config, SilentProgress())
    return asked.results.rows()


def facts(row: Row) -> dict[str, Any]:
    """All but times."""
    times = ("update_cpu_ms", "decision_cpu_ms", "cpu_s")
    return {name: value for name, value in vars(row).items() if name not in times}


class StoppedError(Exception):
    """As if the process were killed."""


class StopAt(SilentProgress):
    """Stops when online episode `number` is there."""

    def __init__(self, number: int) -> None:
        self.number, self.title = number, ""

    def begin(self, title: str, total: int, done: int = 0) -> None:
        self.title = title

    def advance(self, done: int, status: str = "") -> None:
        if "online" in self.title and done == self.number:
            raise StoppedError


def test_a_stopped_run_goes_on_as_if_it_had_not_been(demonstrations: Path, tmp_path: Path) -> None:
    whole = run_through(demonstrations, tmp_path / "whole")
    assert [row.online_episodes for row in whole] == [0, 2, 4]
    assert whole[1].cpu_s < whole[2].cpu_s
    config = small(STICKS["qc"], offline_updates=20, hidden=(16, 16), update_ratio=0.5)
    for number in (1, 3):
        with pytest.raises(StoppedError):
            run_peer(job(demonstrations, tmp_path / "cut"), config, StopAt(number))
    assert len(Results(tmp_path / "cut" / "rows.csv").rows()) == 2
    assert list(map(facts, run_through(demonstrations, tmp_path / "cut"))) == list(
        map(facts, whole)
    )


def test_a_row_that_is_there_is_not_measured_again(demonstrations: Path, tmp_path: Path) -> None:
    run_through(demonstrations, tmp_path, counts=(0, 2))
    before = (tmp_path / "rows.csv").read_bytes()
    state = (tmp_path / "run" / "state.pt").stat().st_mtime_ns
    run_through(demonstrations, tmp_path, counts=(0, 2))
    assert (tmp_path / "rows.csv").read_bytes() == before
    assert (tmp_path / "run" / "state.pt").stat().st_mtime_ns == state
    more = run_through(demonstrations, tmp_path, counts=(0, 2, 3))
    assert [row.online_episodes for row in more] == [0, 2, 3]
    run_through(demonstrations, tmp_path, counts=(0,), settings="other", folder=tmp_path / "other")
    assert len(Results(tmp_path / "rows.csv").rows()) == 4


@pytest.mark.slow
def test_seeds_in_parallel_give_the_rows_of_one_after_the_other(
    demonstrations: Path, tmp_path: Path
) -> None:
    config = small(STICKS["qc-fql"], offline_updates=10, hidden=(16, 16), update_ratio=0.5)
    for at_a_time in (1, 2):
        place = tmp_path / str(at_a_time)
        folders = [{"seed": seed, "folder": place / str(seed)} for seed in (0, 1)]
        jobs = [job(demonstrations, place, counts=(0, 2), **folder) for folder in folders]
        run_jobs(jobs, config, at_a_time)
    one, two = (Results(tmp_path / name / "rows.csv").rows() for name in ("1", "2"))
    two.sort(key=lambda row: (row.seed, row.online_episodes))
    assert len(one) == 4
    assert list(map(facts, two)) == list(map(facts, one))


def test_a_row_that_was_taken_out_is_measured_again(demonstrations: Path, tmp_path: Path) -> None:
    whole = run_through(demonstrations, tmp_path, counts=(0, 2))
    (tmp_path / "rows.csv").unlink()
    again = run_through(demonstrations, tmp_path, counts=(0, 2))
    assert list(map(facts, again)) == list(map(facts, whole))


def test_a_run_does_not_go_on_with_other_demonstrations(
    demonstrations: Path, tmp_path: Path
) -> None:
    run_through(demonstrations, tmp_path, counts=(0,))
    other = point_world.write_demonstrations(tmp_path / "store", [True, False])
    with pytest.raises(ConfigError, match="from 32 demonstrations, not 2"):
        run_through(other, tmp_path, counts=(0,))


def test_episodes_start_as_softflows_do(demonstrations: Path, tmp_path: Path) -> None:
    run = PeerRun(job(demonstrations, tmp_path), small(STICKS["qc-fql"]), SilentProgress())
    for purpose in ("evaluation", "online"):
        played = [run._play(purpose, index, explore=False) for index in range(3)]
        assert [e.metadata["seed"] for e in played] == episode_seeds(3, purpose, 3)
        np.testing.assert_array_equal(
            played[0].observations[STATE_KEY],
            run._play(purpose, 0, explore=False).observations[STATE_KEY],
        )


@pytest.mark.slow
def test_softflow_has_the_same_rows(demonstrations: Path, tmp_path: Path) -> None:
    tiny = point_world.tiny_config()
    names = ("imitation", "critic_warmup", "offline_rl", "online_rl")
    short = {name: replace(getattr(tiny, name), num_updates=2) for name in names}
    config = point_world.tiny_config(**short)
    asked = job(demonstrations, tmp_path, method="softflow", counts=(0, 3, 6))
    with pytest.raises(ConfigError, match="which has 3 episodes"):
        run_softflow(replace(asked, counts=(0, 4)), config, SilentProgress())
    run_softflow(replace(asked, counts=(0, 3)), config, SilentProgress())
    run_softflow(asked, config, SilentProgress())
    rows = asked.results.rows()
    assert [row.online_episodes for row in rows] == [0, 3, 6]
    with pytest.raises(ConfigError, match=r"past \(0,\) online episodes"):
        run_softflow(
            replace(asked, csv=tmp_path / "new.csv", counts=(0,)), config, SilentProgress()
        )
    assert [row.offline_updates for row in rows] == [6] * 3
    assert [row.online_updates for row in rows] == [0, 2, 4]
    assert rows[1].cpu_s < rows[2].cpu_s
    summaries = EpisodeStore.open(tmp_path / "run" / "online").summaries()
    assert rows[2].robot_steps == sum(summary.length for summary in summaries)
    assert rows[2].collected_successes == sum(bool(summary.success) for summary in summaries)
    for row, label in zip(
        rows, ("offline_rl", "online_rl_round_01", "online_rl_round_02"), strict=True
    ):
        measured = read_object(tmp_path / "run" / "evaluations" / f"{label}.json")
        assert [e["seed"] for e in measured["episodes"]] == episode_seeds(3, "evaluation", 5)
        assert row.success == measured["success_rate"]
        assert row.update_cpu_ms is not None
        assert row.decision_cpu_ms is not None


def test_softflows_rounds_reach_the_counts_with_as_many_updates() -> None:
    online, usual = softflow_config("small").online_rl, command.METHODS["softflow-small"]
    assert online.episodes_per_round == 5
    assert online.num_updates == 50
    assert not isinstance(usual, MethodConfig)
    assert usual.online_rl == online


# ---- rows -----------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(demonstrations: Path, tmp_path: Path) -> None:
    asked, clock = job(demonstrations, tmp_path, settings="tau=0.1"), CpuClock(5.0)
    with clock.timed("update"):
        pass
    outcomes = [(True, 10), (False, 14), (True, 13)]
    row = record(asked, Progress(6, 5, 4, 3, 2), clock, outcomes)
    assert (row.successes, row.mean_steps, row.median_steps) == (2, 11.5, 11.5)
    assert row.decision_cpu_ms is None
    nothing = record(asked, Progress(), clock, [(False, 14)])
    assert nothing.mean_steps is None
    assert asked.results.rows() == [row, nothing]
    table = markdown(asked.results.rows())
    assert "| qc tau=0.1 | 4 | 0.667 | 0.208–0.939 |" in table
    assert len({line.count("|") for line in table.splitlines()}) == 1


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("method,seed\nqc,0\n")
    with pytest.raises(StoreError, match="has the columns"):
        Results(path).rows()


def test_time_apart_does_not_count() -> None:
    clock = CpuClock(2.0)
    with clock.apart():
        sum(range(10**6))
    before = clock.spent_s
    assert 2.0 <= before < 2.01
    with clock.timed("update"):
        sum(range(10**6))
    assert clock.spent_s > before
    mean_ms = clock.mean_ms("update")
    assert mean_ms is not None
    assert mean_ms > 0
    assert clock.mean_ms("update") is None


# ---- command --------------------------------------------------------------------------------


def test_settings_of_the_method_are_options() -> None:
    options, config = command.parse(["--method=expo", "--edit-scale", "0.1", "--seed", "0", "1"])
    assert isinstance(config, ExpoConfig)
    assert (config.edit_scale, options.seed) == (0.1, (0, 1))
    assert command.settings_of(config, METHODS["expo"]) == "edit_scale=0.1"
    _, config = command.parse(["--method", "softflow-small", "--config.online-rl.bc-coef", "0.5"])
    changed = command.settings_of(config, METHODS["softflow-small"])
    assert changed == "online_rl.bc_coef=0.5"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "qcc"], "--method qcc: choose one of qc, qc-fql"),
        (["--counts", "10", "0"], "ascending order"),
        (["--jobs", "0"], "must be >= 1"),
    ],
)
def test_unusable_options_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        command.parse(words)


def test_demonstrations_of_others_are_left_alone(demonstrations: Path, tmp_path: Path) -> None:
    stores = tmp_path / point_world.ENV_ID
    stores.mkdir()
    (stores / "seed0").symlink_to(demonstrations)
    options = command.Options(task=point_world.ENV_ID, data=tmp_path)
    (asked,) = command.jobs_of(options, replace(STICKS["qc-fql"], tau=0.1), "python")
    assert (asked.name.demonstrations, asked.settings) == (32, "tau=0.1")
    assert asked.folder == Path("runs/peers") / point_world.ENV_ID / "qc-fql_tau=0.1" / "seed0"
