"""Windows of episodes as transitions of chunked decisions, all of them in memory.

A decision at control step t earns sum_i γ^i r[t+i] over the steps of its chunk that the episode
still had, and bootstraps with γ^steps from where it ended; not after a termination.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode


@dataclass(frozen=True)
class Batch:
    """Transitions, each of one chunk.

    Attributes:
        observations: [B, D]; next_observations: [B, D], after the chunk's last step.
        chunks: [B, H, A] in [-1, 1], behind the episode's end its last action again.
        valid: [B, H] 1 where the episode still had that step.
        rewards: [B] discounted within the chunk.
        discounts: [B] factor on the next value; 0 after a termination.
        success: [B] 1 where the episode succeeded.
    """

    observations: Tensor
    next_observations: Tensor
    chunks: Tensor
    valid: Tensor
    rewards: Tensor
    discounts: Tensor
    success: Tensor

    def __len__(self) -> int:
        return len(self.observations)

    def __getitem__(self, rows: Tensor) -> Batch:
        return Batch(*(getattr(self, item.name)[rows] for item in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """One after the other."""
        return cls(*(torch.cat([getattr(p, item.name) for p in parts]) for item in fields(cls)))


@dataclass(frozen=True)
class Windows:
    """How episodes become transitions.

    Attributes:
        chunk_length: H; discount: γ per control step.
        reward_offset: added to every reward: −1 makes of a sparse reward a cost of time.
        low, high: [A] bounds of the actions, which are scaled to [-1, 1].
        keys: the observations that are read, end to end.
    """

    chunk_length: int
    discount: float
    reward_offset: float
    low: np.ndarray
    high: np.ndarray
    keys: tuple[str, ...]

    @classmethod
    def of(cls, spec: DataSpec, length: int, discount: float, reward_offset: float) -> Windows:
        """Windows on what a store holds; cameras are left out."""
        low, high = (np.asarray(b, np.float32) for b in (spec.action_low, spec.action_high))
        return cls(length, discount, reward_offset, low, high, spec.state_keys)

    def transitions(self, episode: Episode) -> Batch:
        """One for every control step of an episode."""
        length, chunk = episode.length, self.chunk_length
        ahead = np.arange(length)[:, None] + np.arange(chunk)
        valid = ahead < length
        inside = np.minimum(ahead, length - 1)
        powers = self.discount ** np.arange(chunk)
        rewards = (episode.rewards[inside] + self.reward_offset) * valid * powers
        stops = np.minimum(np.arange(length) + chunk, length)
        bootstraps = ~((stops == length) & episode.terminated)
        states = self.flat(episode.observations)
        arrays = (
            states[:-1],
            states[stops],
            self.scaled(episode.actions)[inside],
            valid,
            rewards.sum(axis=1),
            self.discount ** valid.sum(axis=1) * bootstraps,
            np.full(length, episode.success),
        )
        return Batch(*(torch.from_numpy(np.asarray(array, np.float32)) for array in arrays))

    def flat(self, observations: dict[str, np.ndarray]) -> np.ndarray:
        """Observations [T, ...] by key -> [T, D]."""
        parts = [observations[key].reshape(len(observations[key]), -1) for key in self.keys]
        return np.concatenate(parts, axis=1)

    def scaled(self, actions: np.ndarray) -> np.ndarray:
        """The robot's units -> [-1, 1]."""
        return np.clip(2 * (actions - self.low) / (self.high - self.low) - 1, -1, 1)

    def unscaled(self, actions: np.ndarray) -> np.ndarray:
        """[-1, 1] -> the robot's units."""
        return self.low + (actions + 1) / 2 * (self.high - self.low)


class Replay:
    """Transitions of the demonstrations and of what was collected.

    Args:
        windows: how episodes become transitions.
        demonstrations: what there is from the start.
    """

    def __init__(self, windows: Windows, demonstrations: Sequence[Episode]) -> None:
        self.windows = windows
        self.offline = Batch.joined([windows.transitions(episode) for episode in demonstrations])
        self.online: Batch | None = None

    def add(self, episode: Episode) -> None:
        """A collected episode."""
        new = self.windows.transitions(episode)
        self.online = new if self.online is None else Batch.joined([self.online, new])

    def draw(self, size: int, offline_ratio: float | None) -> Batch:
        """A batch, drawn by torch's own generator.

        Args:
            size: B.
            offline_ratio: share of demonstrations; None draws all transitions alike.
        """
        if self.online is None:
            return self.offline[torch.randint(len(self.offline), (size,))]
        if offline_ratio is None:
            share = len(self.offline) / (len(self.offline) + len(self.online))
            count = int((torch.rand(size) < share).sum())
        else:
            count = round(size * offline_ratio)
        parts = [(self.offline, count), (self.online, size - count)]
        return Batch.joined([part[torch.randint(len(part), (n,))] for part, n in parts])
