"""Episodes without cameras are shown again by the simulator that they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.envs.contract import data_spec
from softflow.envs.registry import make_env
from softflow.errors import ConfigError, DataError
from softflow.labelling.event_kinds import READY_MADE
from softflow.labelling.server.rendered_frames import SIZE, RenderedFrames
from softflow.labelling.server.store_episodes import StoreEpisodes

pytest.importorskip("ogbench")
pytestmark = pytest.mark.slow
STEPS = 4


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of the cube on a table; the second does not say its seed."""
    path, env = tmp_path_factory.mktemp("cube") / "cube", make_env("cube-single")
    rng = np.random.default_rng(0)
    with EpisodeStore.create(path, data_spec(env, "cube-single")) as store:
        for facts in ({"seed": 7}, {}):
            states = [env.reset(seed=7)[0][STATE_KEY]]
            actions = rng.uniform(-0.5, 0.5, (STEPS, store.spec.action_dim)).astype(np.float32)
            states += [env.step(action)[0][STATE_KEY] for action in actions]
            rewards = np.zeros(STEPS, np.float32)
            seen = {STATE_KEY: np.stack(states)}
            store.append(Episode(seen, actions, rewards, False, True, False, facts))
    env.close()
    return path


def test_frames_are_rendered_once_an_episode(collected: Path) -> None:
    frames = RenderedFrames(collected)
    episodes = StoreEpisodes(collected, READY_MADE["success"])
    first = episodes.recording("episode_000000")
    (camera,) = frames.cameras
    assert frames.cameras[camera] == (*SIZE, 3)
    whole = frames(first, 0, 99)[camera]
    assert whole.shape == (STEPS + 1, *SIZE, 3)
    assert whole.std() > 5
    assert np.shares_memory(frames(first, 2, 4)[camera], whole)
    with pytest.raises(DataError, match="does not say the seed"):
        frames(episodes.recording("episode_000001"), 0, 1)
    frames.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        frames(first, 0, 1)


def test_data_with_cameras_is_not_rendered(toy_store: EpisodeStore) -> None:
    with pytest.raises(ConfigError, match="names no environment"):
        RenderedFrames(toy_store.path)
