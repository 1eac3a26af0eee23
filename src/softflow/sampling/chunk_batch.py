"""Decisions with chunks and prefix as training batches.

At control step t the policy sees the observation and P committed prefix actions a[t : t+P] and
predicts the H actions a[t+P : t+P+H]. It acts for E ≤ H steps, then decides again (Sec. IV-A;
Eq. 7 with P = 0 and E = H).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from softflow.errors import DataError

_ON_CPU = frozenset({"is_offline", "episode_success", "has_action", "person_steps"})


@dataclass(frozen=True, eq=False)
class ChunkBatch:
    """B decisions. Env units: nothing is normalised. T is the length of the row's episode.

    Args:
        observation: key → `[B, history_length, ...]`, oldest first, padded at the episode's
            start by repeating its first observation. A camera's are uint8 frames `[H, W, 3]`, or
            float32 features of them `[T, F]`.
        prefix_actions: `[B, P, A]`, a[t : t+P]; past the end the last action is repeated, before
            the start the robot holds still.
        actions: `[B, H, A]`, a[t+P : t+P+H]; past the end the last action is repeated.
        step_valid: `[B, H]` bool, that action really lies inside the episode.
        rewards: `[B, E]`, r[t : t+E], zero after the end.
        num_steps: `[B]` int64, control steps until the next decision, min(E, T − t).
        next_observation: like `observation`, at t + num_steps; empty where it was left out.
        next_prefix_actions: `[B, P, A]`, a[t+num_steps : +P], the last action repeated.
        bootstrap_mask: `[B]` float32, 0 only if the episode terminated at t + num_steps.
        is_offline: `[B]` bool, the row comes from the offline data.
        episode_success: `[B]` bool, the row's episode succeeded.
        has_action: `[B]` bool, some action of the chunk lies inside the episode.
        person_steps: `[B]` int64, so many actions from the chunk's first on did a person command.
        window: `[B]` int64, the row's number in the dataset it comes from.

    `is_offline`, `episode_success`, `has_action` and `person_steps` decide which rows a loss looks
    at, so they stay on the CPU: to ask a GPU for them would wait for all that it has to do.
    """

    observation: dict[str, Shaped[Tensor, "B history ..."]]
    prefix_actions: Float[Tensor, "B P A"]
    actions: Float[Tensor, "B H A"]
    step_valid: Bool[Tensor, "B H"]
    rewards: Float[Tensor, "B E"]
    num_steps: Int[Tensor, " B"]
    next_observation: dict[str, Shaped[Tensor, "B history ..."]]
    next_prefix_actions: Float[Tensor, "B P A"]
    bootstrap_mask: Float[Tensor, " B"]
    is_offline: Bool[Tensor, " B"]
    episode_success: Bool[Tensor, " B"]
    has_action: Bool[Tensor, " B"]
    person_steps: Int[Tensor, " B"]
    window: Int[Tensor, " B"]

    @property
    def batch_size(self) -> int:
        """B, the number of rows."""
        return len(self.actions)

    def to(self, device: torch.device | str) -> ChunkBatch:
        """The same batch on `device`; to a GPU it is on its way there while this returns."""
        device = torch.device(device)
        beside = device.type == "cuda"
        return self._changed(lambda tensor: tensor.to(device, non_blocking=beside), _ON_CPU)

    def rows(self, which: slice) -> ChunkBatch:
        """A batch of some of its rows."""
        return self._changed(lambda tensor: tensor[which])

    def pinned(self) -> ChunkBatch:
        """The same batch in memory that a GPU copies from by itself.

        Raises:
            RuntimeError: there is no GPU.
        """
        return self._changed(lambda tensor: tensor.pin_memory())

    def _changed(
        self, change: Callable[[Tensor], Tensor], but: frozenset[str] = frozenset()
    ) -> ChunkBatch:
        changed: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in but:
                changed[item.name] = value
            elif isinstance(value, dict):
                tensors = cast("dict[str, Tensor]", value)
                changed[item.name] = {key: change(tensor) for key, tensor in tensors.items()}
            else:
                changed[item.name] = change(value)
        return ChunkBatch(**changed)

    @classmethod
    def concatenate(cls, batches: Sequence[ChunkBatch]) -> ChunkBatch:
        """The rows of all batches, in order.

        Raises:
            DataError: no batches, or batches of different observation keys or row shapes.
        """
        if not batches:
            raise DataError("ChunkBatch.concatenate got no batches; give at least one.")
        joined: dict[str, Any] = {}
        for item in fields(cls):
            values = [getattr(batch, item.name) for batch in batches]
            try:
                if isinstance(values[0], dict):
                    keys = values[0].keys() | {key for value in values for key in value}
                    joined[item.name] = {
                        key: torch.cat([v[key] for v in values]) for key in sorted(keys)
                    }
                else:
                    joined[item.name] = torch.cat(values)
            except (KeyError, RuntimeError) as error:
                raise DataError(
                    f"ChunkBatch.concatenate: '{item.name}' does not fit together ({error}); "
                    "the datasets need the same observations, actions and ChunkSpec."
                ) from error
        return cls(**joined)
