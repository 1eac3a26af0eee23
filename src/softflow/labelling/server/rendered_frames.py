"""Pictures of episodes that have none: played again in their simulator, from seed and actions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from softflow.data.episode_store import EpisodeStore
from softflow.envs.contract import RobotEnv
from softflow.envs.registry import make_env, require_known_env
from softflow.envs.replayed_store import ReplayedStore
from softflow.errors import ConfigError
from softflow.labelling.server.episodes import Recording

SIZE = 224, 224
TOLERANCE = 1e-3
"""How far states may differ from the recorded ones; beyond it pictures would show other things."""


class RenderedFrames:
    """Frames as `FrameBlocks` reads them. One thread renders: contexts of OpenGL belong to theirs.

    Args:
        path: a store whose episodes say their seeds, as what softflow collected does.

    Raises:
        ConfigError: the data names no environment, or one that cannot be made.
        DataError: nothing recorded is what that environment shows.
    """

    def __init__(self, path: Path) -> None:
        store = EpisodeStore.open(path)
        env_id = store.spec.env_id
        if not env_id:
            raise ConfigError(f"--render: '{path}' names no environment that could show it")
        if store.spec.image_keys:
            raise ConfigError(f"--render: '{path}' has cameras of its own; leave it out")
        require_known_env(env_id)
        self._thread = ThreadPoolExecutor(1, "rendering")
        self._env, self._replayed = self._thread.submit(_opened, path, env_id).result()
        self._index = {store.episode_path(i): i for i in range(len(store))}
        self._store = store
        self._latest: tuple[str, dict[str, np.ndarray]] = ("", {})

    @property
    def cameras(self) -> dict[str, tuple[int, ...]]:
        """Key of each camera -> shape of its frames."""
        spec = self._replayed.spec
        return {key: spec.observation_shapes[key] for key in spec.image_keys}

    def __call__(self, recording: Recording, start: int, stop: int) -> dict[str, np.ndarray]:
        """Frames of all cameras.

        Raises:
            DataError: the episode does not say its seed, or other states came than the recorded.
            StoreError: it cannot be read.
        """
        frames = self._thread.submit(self._frames, recording).result()
        return {key: values[start:stop] for key, values in frames.items()}

    def close(self) -> None:
        """End the simulator and its thread."""
        self._thread.submit(self._env.close).result()
        self._thread.shutdown()

    def _frames(self, recording: Recording) -> dict[str, np.ndarray]:
        if self._latest[0] != recording.digest:
            number = str(self._number(recording.path))
            observations = self._replayed.read(number).observations
            frames = {key: observations[key] for key in self.cameras}
            self._latest = recording.digest, frames
        return self._latest[1]

    def _number(self, path: Path) -> int:
        if path not in self._index:
            self._store.refresh()
            self._index = {self._store.episode_path(i): i for i in range(len(self._store))}
        return self._index[path]


def _opened(path: Path, env_id: str) -> tuple[RobotEnv, ReplayedStore]:
    env = make_env(env_id, image_size=SIZE)
    return env, ReplayedStore(path, env, env_id, tolerance=TOLERANCE)
