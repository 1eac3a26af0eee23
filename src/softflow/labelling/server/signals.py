"""Signals of an episode for plots: actions, low-dimensional observations and recorded rewards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.files.episode_file import read_episode_file
from softflow.labelling.server.episodes import Recording

REWARD = "next.reward"
MAX_OF_KEY = 64
"""Components of an observation that are offered; nobody looks through more."""


def channels(spec: DataSpec) -> list[dict[str, Any]]:
    """What can be plotted: key, group and name of each, in the order of `signal_bytes`.

    Components of one array ("eef_pos.0", "eef_pos.1", …) are one group, else all of a key are.
    """
    return [
        {"key": key, "group": _group(key, name), "name": name}
        for key, count in _sizes(spec).items()
        for name in _names(spec, key, count)
    ]


def signal_bytes(recording: Recording) -> bytes:
    """Float32 `[channels, T + 1]`, little endian, channel by channel.

    Column t is what was seen, and done, at observation step t; an action and its reward stand where
    it was decided, the last column repeats the last one.

    Raises:
        StoreError: the episode cannot be read.
    """
    episode = read_episode_file(recording.path, recording.spec, with_images=False)
    rows = np.concatenate([part.T for part in _arrays(episode, recording.spec)])
    return np.ascontiguousarray(rows, "<f4").tobytes()


def _sizes(spec: DataSpec) -> dict[str, int]:
    shapes = {key: int(np.prod(spec.observation_shapes[key])) for key in spec.state_keys}
    sizes = {"action": spec.action_dim, **shapes, REWARD: 1}
    return {key: min(size, MAX_OF_KEY) for key, size in sizes.items()}


def _arrays(episode: Episode, spec: DataSpec) -> Iterator[np.ndarray]:
    """`[T + 1, components]` each."""
    for key, count in _sizes(spec).items():
        if key == REWARD or key == "action":
            values = episode.rewards[:, None] if key == REWARD else episode.actions
            values = np.concatenate([values, values[-1:]])
        else:
            values = episode.observations[key]
        yield values.reshape(len(values), -1)[:, :count]


def _names(spec: DataSpec, key: str, count: int) -> list[str]:
    names = spec.names.get(key, ())
    return list(names[:count]) if names else [f"{key}[{i}]" for i in range(count)]


def _group(key: str, name: str) -> str:
    stem, dot, last = name.rpartition(".")
    joined = dot and last.isdigit() and not name.startswith(key)
    return f"{key}: {stem}" if joined else key
