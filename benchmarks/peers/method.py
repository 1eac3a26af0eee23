"""What a measuring stick is: how it acts, and what an update does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from benchmarks.peers.replay import Batch


@dataclass(frozen=True)
class Sizes:
    """Numbers of an observation and of an action, and actions of a chunk."""

    observation_dim: int
    action_dim: int
    chunk_length: int

    @property
    def chunk_dim(self) -> int:
        """Numbers of a flattened chunk."""
        return self.action_dim * self.chunk_length


@runtime_checkable
class Method(Protocol):
    """One method. See `Stick` for what most of them share."""

    def act(self, observations: Tensor, generator: torch.Generator, explore: bool) -> Tensor:
        """Observations [N, D] -> chunks [N, H, A] in [-1, 1]; `explore` while collecting."""
        ...

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One gradient update; what it measured, by name."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything it has learned."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """The inverse."""
        ...


@dataclass(frozen=True)
class MethodConfig:
    """What every measuring stick has; subclasses add their own and make the method.

    Attributes:
        chunk_length: H, actions of a chunk, all of them executed.
        hidden: widths of every network's hidden layers.
        learning_rate: of Adam, for every network.
        batch_size: transitions an update.
        discount: per control step.
        tau: how far the target critics follow in an update.
        reward_offset: added to every reward: −1 makes of a sparse reward a cost of time.
        offline_updates: before the first online episode.
        update_ratio: updates for a control step, done after each online episode.
        offline_ratio: share of demonstrations in online batches; None draws all transitions alike.
    """

    chunk_length: int = 5
    hidden: tuple[int, ...] = (256, 256, 256)
    learning_rate: float = 3e-4
    batch_size: int = 128
    discount: float = 0.99
    tau: float = 0.005
    reward_offset: float = -1.0
    offline_updates: int = 6_000
    update_ratio: float = 1.0
    offline_ratio: float | None = None

    def make(self, sizes: Sizes) -> Method:
        """The untrained method; its weights come from torch's generator."""
        raise NotImplementedError


class Stick(nn.Module):
    """Networks and one optimiser, whose state travels with the weights.

    A subclass makes its networks, with targets that need no gradient, then calls `optimised`.
    """

    optimizer: torch.optim.Optimizer

    def optimised(self, learning_rate: float) -> None:
        """Make the optimiser of all parameters that need a gradient."""
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(learned, lr=learning_rate, fused=True)

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`, a sum of losses of separate networks."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def get_extra_state(self) -> dict[str, Any]:
        """What `state_dict` holds beside weights."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """The inverse."""
        self.optimizer.load_state_dict(state)
