"""The harness measures what it says, and goes on where it was stopped."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import point_world
import pytest
from peer_jobs import STICKS, job, small

from benchmarks.peers import __main__ as command
from benchmarks.peers.clock import CpuClock
from benchmarks.peers.harness import PeerRun, run_peer
from benchmarks.peers.job import Progress, record
from benchmarks.peers.method import MethodConfig
from benchmarks.peers.registry import METHODS
from benchmarks.peers.rows import Results, Row
from benchmarks.peers.running import run_jobs
from benchmarks.peers.softflow_run import run_softflow, softflow_config
from benchmarks.peers.sticks.expo import ExpoConfig
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, StoreError
from softflow.training.evaluation import episode_seeds
from softflow.utils.files import read_object
from softflow.utils.progress import SilentProgress

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
    assert whole[1].cpu_s <= whole[2].cpu_s
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
    assert rows[1].cpu_s <= rows[2].cpu_s
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


def test_rows_come_back_as_they_were_written(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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
    command.main(["--table", "--csv", str(asked.csv)])
    assert "| qc tau=0.1 | 1 | .000 (.00–.79) | .667 (.21–.94) | .67 |" in capsys.readouterr().out


def test_rows_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("method,seed\nqc,0\n")
    with pytest.raises(StoreError, match="has the columns"):
        Results(path).rows()


def test_evaluations_are_not_counted_as_learning(demonstrations: Path, tmp_path: Path) -> None:
    asked = job(demonstrations, tmp_path, counts=(0,), eval_episodes=40)
    run = PeerRun(asked, small(STICKS["qc"], offline_updates=0), SilentProgress())
    start_s = time.process_time()
    run.run()
    (row,) = asked.results.rows()
    assert row.cpu_s <= 0.3 * (time.process_time() - start_s) + 0.05


def test_time_apart_does_not_count() -> None:
    clock = CpuClock(2.0)
    with clock.apart():
        inside = clock.spent_s
        sum(range(10**6))
        assert clock.spent_s == inside
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
