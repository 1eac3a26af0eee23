"""Actions relative to the observation, all the way from data to an executed chunk (App. A3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from point_world import tiny_config

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import DatasetStatistics, compute_statistics
from softflow.errors import ConfigError
from softflow.models.action_representation import ActionRepresentation
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.models.checkpoint import last_checkpoint
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.config import TrainingConfig
from softflow.training.learner import build_policy
from softflow.training.persistence import load_selector, model_inputs
from softflow.training.run import Run
from softflow.training.stages import run_stages

RunMaker = Callable[..., Run]
RELATIVE = ActionRepresentation(delta=(0, 1), delta_state=(0, 1))


def relative_config() -> TrainingConfig:
    config = tiny_config()
    return replace(config, model=replace(config.model, actions=RELATIVE))


@pytest.mark.slow
def test_statistics_count_every_action_of_every_window(demonstrations: Path) -> None:
    store = EpisodeStore.open(demonstrations)
    statistics = compute_statistics(store, seen_actions=RELATIVE.seen_actions(5))
    seen = []
    for index in range(len(store)):
        episode = store.episode(index)
        for step in range(episode.length):
            for ahead in range(5):
                action = episode.actions[min(step + ahead, episode.length - 1)]
                seen.append(action - episode.observations[STATE_KEY][step, :2])
    assert statistics.relative_action is not None
    np.testing.assert_allclose(statistics.relative_action.minimum, np.min(seen, axis=0), rtol=1e-6)
    np.testing.assert_allclose(statistics.relative_action.maximum, np.max(seen, axis=0), rtol=1e-6)
    np.testing.assert_allclose(
        statistics.relative_action.mean, np.mean(seen, axis=0, dtype=np.float64), atol=1e-6
    )
    again = DatasetStatistics.from_json(statistics.to_json())
    np.testing.assert_array_equal(again.seen_action.std, statistics.seen_action.std)
    absolute = compute_statistics(store)
    assert absolute.relative_action is None
    np.testing.assert_array_equal(absolute.action.mean, statistics.action.mean)


@pytest.mark.slow
def test_data_comes_back_and_lies_inside_the_support(demonstrations: Path) -> None:
    store = EpisodeStore.open(demonstrations)
    statistics = compute_statistics(store, seen_actions=RELATIVE.seen_actions(5))
    model = relative_config().model
    policy = build_policy(model, model_inputs(model, store.spec, statistics))
    dataset = ChunkDataset(store, relative_config().model.chunk)
    batch = dataset.gather(np.arange(dataset.num_windows))
    seen = policy.normalize_actions(batch.actions, batch.observation)
    assert seen.abs().max() <= policy.action_normalizer.action_scale + 1e-5
    back = policy.denormalize_actions(seen, batch.observation)
    torch.testing.assert_close(back, batch.actions, rtol=0, atol=1e-5)


def test_a_chunk_moves_with_the_robot(demonstrations: Path) -> None:
    """A fresh flow ignores the observation, so the chosen chunk differs by the pose alone."""
    store = EpisodeStore.open(demonstrations)
    statistics = compute_statistics(store, seen_actions=RELATIVE.seen_actions(5))
    # Here the point's range of actions shall not cut the difference off.
    wide = replace(statistics.action, minimum=np.full(2, -100.0), maximum=np.full(2, 100.0))
    statistics = replace(statistics, action=wide)
    model = relative_config().model
    policy = build_policy(model, model_inputs(model, store.spec, statistics))
    select = ChunkSelector(policy, None, SelectionConfig(4, 0.5, "likelihood"))
    chunks = []
    for position in ([0.0, 0.0], [0.7, -0.4]):
        state = torch.tensor([[*position, 0.1, 0.2]])
        observation = {STATE_KEY: state[:, None].expand(1, 2, 4)}
        chunks.append(select(observation, torch.zeros(1, 1, 2), torch.Generator().manual_seed(1)))
    shift = torch.tensor([0.7, -0.4]).expand(1, 4, 2)
    torch.testing.assert_close(chunks[1] - chunks[0], shift, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_all_stages_run_and_a_checkpoint_remembers_the_representation(
    make_run: RunMaker, tmp_path: Path
) -> None:
    run = make_run(relative_config())
    run_stages(run, ("imitation", "critic_warmup", "offline_rl", "online_rl"))
    checkpoint = last_checkpoint(run.folder / "checkpoints")
    assert checkpoint is not None
    selector, _ = load_selector(checkpoint, SelectionConfig(4, 0.5, "likelihood"))
    assert selector.policy.inputs.actions == RELATIVE
    for ours, theirs in zip(run.learner.policy.buffers(), selector.policy.buffers(), strict=True):
        assert torch.equal(ours, theirs)
    recorded = run.online.store.episode(0)
    low, high = np.asarray(run.spec.action_low), np.asarray(run.spec.action_high)
    assert (recorded.actions >= low).all()
    assert (recorded.actions <= high).all()


def test_components_that_the_data_has_not_stop_a_run(make_run: RunMaker) -> None:
    config = tiny_config()
    wrong = ActionRepresentation(delta=(2,), delta_state=(0,))
    with pytest.raises(ConfigError, match="names component 2; the data has 0 to 1"):
        make_run(replace(config, model=replace(config.model, actions=wrong)))
