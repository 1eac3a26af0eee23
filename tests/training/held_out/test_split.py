"""Which demonstrations are held out: the same ones whatever is added, and never learned from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from point_world import demonstration, tiny_config, write_demonstrations

from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError
from softflow.training.config import DataConfig
from softflow.training.held_out.split import (
    EVERY,
    held_out_episodes,
    in_words,
    successful_episodes,
)
from softflow.training.provenance import identity_of, require_continues, write_identity
from softflow.training.run import Run
from softflow.training.training_data import TrainingData

SHARE = 0.2


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    """40 demonstrations, of which every 4th fails."""
    outcomes = [index % 4 != 3 for index in range(40)]
    path = write_demonstrations(tmp_path_factory.mktemp("data") / "forty", outcomes)
    return EpisodeStore.open(path)


def part_of(store: EpisodeStore, path: Path, indices: list[int]) -> EpisodeStore:
    """A store of some of the episodes, in that order."""
    with EpisodeStore.create(path, store.spec) as part:
        for index in indices:
            part.append(store.episode(index))
    return EpisodeStore.open(path)


def test_a_share_of_the_successes_by_seed(forty: EpisodeStore) -> None:
    found = held_out_episodes(forty, SHARE, seed=0)
    assert found == held_out_episodes(forty, SHARE, seed=0)
    assert set(found) < set(successful_episodes(forty))
    counts = [len(held_out_episodes(forty, SHARE, seed)) for seed in range(40)]
    assert sum(counts) / 40 == pytest.approx(SHARE * 30, rel=0.2)
    assert len({tuple(held_out_episodes(forty, SHARE, seed)) for seed in range(9)}) == 9
    assert set(found) <= set(held_out_episodes(forty, 0.4, seed=0)), "a larger share adds to it"


def test_an_episode_stays_on_its_side_wherever_it_stands(
    forty: EpisodeStore, tmp_path: Path
) -> None:
    backwards = list(range(39, -1, -1))
    turned = part_of(forty, tmp_path / "turned", backwards)
    found = {backwards[index] for index in held_out_episodes(turned, SHARE, seed=0)}
    assert found == set(held_out_episodes(forty, SHARE, seed=0))


@pytest.mark.parametrize("share", [0.02, SHARE])
def test_what_was_learned_from_is_never_held_out_later(
    forty: EpisodeStore, tmp_path: Path, share: float
) -> None:
    """Also of so small a share that the lowest is held out for want of others."""
    store_path, learned = tmp_path / "grows", set[int]()
    with EpisodeStore.create(store_path, forty.spec) as store:
        for seed in range(2):
            store.append(demonstration(seed, towards_goal=True))
        for seed in range(2, 26):
            store.append(demonstration(seed, towards_goal=True))
            held_out = set(held_out_episodes(store, share, seed=1))
            assert 1 <= len(held_out) < len(store)
            assert not held_out & learned
            learned |= set(range(len(store))) - held_out


def test_little_data_keeps_something_to_learn_from(forty: EpisodeStore, tmp_path: Path) -> None:
    assert held_out_episodes(part_of(forty, tmp_path / "one", [0]), SHARE, seed=0) == []
    for seed in range(20):
        assert len(held_out_episodes(part_of(forty, tmp_path / f"{seed}", [0, 1]), 0.5, seed)) == 1


def test_none_where_it_is_turned_off(forty: EpisodeStore) -> None:
    assert held_out_episodes(forty, 0.0, seed=0) == []
    assert "no episode is kept out" in in_words(30, 0, 0.0)


def test_without_a_share_every_20th_success_as_ever(forty: EpisodeStore, tmp_path: Path) -> None:
    successes = successful_episodes(forty)
    assert held_out_episodes(forty, None, seed=0) == [successes[20]]
    few = part_of(forty, tmp_path / "few", successes[:EVERY])
    assert held_out_episodes(few, None, seed=0) == []
    assert "it takes 21" in in_words(20, 0, None)


@pytest.mark.parametrize("share", [-0.1, 0.51, float("nan")])
def test_shares_that_leave_too_little_are_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"data.held_out is .*; must lie in \[0, 0.5\]"):
        DataConfig(held_out=share)


def test_no_stage_sees_the_share(forty: EpisodeStore) -> None:
    data = TrainingData(forty.path, tiny_config(data=DataConfig(held_out=SHARE)))
    held_out = set(held_out_episodes(forty, SHARE, seed=0))
    assert set(data.held_out.episode_indices) == held_out
    assert set(data.demonstrations.episode_indices) == set(successful_episodes(forty)) - held_out
    assert set(data.offline.episode_indices) == set(range(40)) - held_out


def test_a_run_records_its_split_and_keeps_it(
    forty: EpisodeStore, tmp_path: Path, make_run: Callable[..., Run]
) -> None:
    config = tiny_config(data=DataConfig(held_out=SHARE), eval_episodes=0)
    run = make_run(config, dataset=forty.path)
    now = identity_of(forty.path, forty, ["imitation"], config)
    assert now["held_out_episodes"] == held_out_episodes(forty, SHARE, seed=0)
    write_identity(run.folder, now)
    run.save()
    other = tiny_config(data=DataConfig(held_out=0.1), eval_episodes=0)
    with pytest.raises(ConfigError, match=r"data.held_out: there 0.2, now 0.1"):
        require_continues(run.folder, identity_of(forty.path, forty, ["imitation"], other), forty)
