"""Demonstrations of the Adroit hand: whole after an interruption, and what peers learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers import __main__ as peers
from benchmarks.peers.adroit_demos import RECORDED, Expert, Options, fill, in_words, main
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError
from softflow.utils.progress import SilentProgress

STATE_DIM, ACTION_DIM = 45, 24  # of the pen, which falls at once: short is enough


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that was never trained."""
    folder = tmp_path_factory.mktemp("experts")
    rng = np.random.default_rng(0)
    sizes = {"W0": (8, STATE_DIM), "W1": (8, 8), "W2": (ACTION_DIM, 8)}
    arrays: dict[str, Any] = {name: 0.3 * rng.normal(size=size) for name, size in sizes.items()}
    arrays |= {"b0": np.zeros(8), "b1": np.zeros(8), "b2": np.zeros(ACTION_DIM)}
    arrays |= {"in_shift": np.zeros(STATE_DIM), "in_scale": np.ones(STATE_DIM)}
    arrays |= {"out_shift": np.zeros(ACTION_DIM), "out_scale": np.ones(ACTION_DIM)}
    np.savez(folder / "pen_expert_policy.npz", **arrays)
    return folder


class StoppedError(Exception):
    """As if the process were killed."""


class StopAt(SilentProgress):
    """Stops when demonstration `number` is there."""

    def __init__(self, number: int) -> None:
        self.number = number

    def advance(self, done: int, status: str = "") -> None:
        if done == self.number:
            raise StoppedError


def contents(store: EpisodeStore) -> list[tuple[object, ...]]:
    episodes = [store.episode(index) for index in range(len(store))]
    return [(e.actions.tobytes(), e.rewards.tobytes(), e.metadata[RECORDED]) for e in episodes]


def test_an_interrupted_store_is_filled_up(experts: Path, tmp_path: Path) -> None:
    whole = Options(experts, data=tmp_path / "whole", episodes=2)
    cut = Options(experts, data=tmp_path / "cut", episodes=2)
    with pytest.raises(StoppedError):
        fill(cut, 5, StopAt(1))
    again = contents(fill(cut, 5, SilentProgress()))
    assert len(again) == 2
    assert again == contents(fill(whole, 5, SilentProgress()))
    other = Options(experts, data=tmp_path / "cut", episodes=2, noise_std=0.5)
    with pytest.raises(DataError, match=r"episode 0 .*'noise_std': 0.6.*choose another --data"):
        fill(other, 5, SilentProgress())


def test_the_command_and_what_peers_make_of_its_store(
    experts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(f"--experts {experts} --data {tmp_path / 'data'} --episodes 2".split())
    assert "adroit-pen/seed0: " in capsys.readouterr().out
    words = f"--task adroit-pen --data {tmp_path / 'data'} --csv {tmp_path / 'rows.csv'}"
    options, config = peers.parse(words.split())
    (job,) = peers.jobs_of(options, config, "")
    assert job.name.demonstrations == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--episodes 0", "--episodes 0 must be >= 1"),
        ("--task adroit-door", "door_expert_policy.npz is no expert policy .*--experts"),
    ],
)
def test_what_cannot_be_recorded(experts: Path, tmp_path: Path, words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(f"--experts {experts} --data {tmp_path} {words}".split())
    assert not (tmp_path / "adroit-door").exists()


def test_peers_say_where_demonstrations_come_from(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"adroit-door.seed1: record .*adroit_demos.*softflow data import"
    ):
        peers.require_demonstrations(tmp_path / "adroit-door" / "seed1", "adroit-door", 5, 1)


@pytest.mark.slow
def test_experts_whose_hand_shakes_fail_sometimes(shared_data: Path, tmp_path: Path) -> None:
    options = Options(shared_data / "adroit_experts", "adroit-hammer", data=tmp_path, episodes=12)
    store = fill(options, 0, SilentProgress())
    successes = [summary.success for summary in store.summaries()]
    assert 2 <= sum(successes) <= 10
    assert "of 12 succeed in " in in_words(store)
    steady = Expert(shared_data / "adroit_experts" / "hammer_expert_policy.npz")
    assert steady(np.zeros(46)).shape == (26,)
