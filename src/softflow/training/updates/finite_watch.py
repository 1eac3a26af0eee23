"""Whether every loss and gradient was finite, without waiting for the device in each update."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softflow.errors import NumericalError


class FiniteWatch:
    """Remembers the first loss or gradient that is not finite, on the device where it appeared.

    On a CPU it tells at once. Elsewhere asking costs a wait for everything that is queued, so it is
    asked now and then (`require`); until then `found` holds the weights where they were.

    Args:
        device: of the networks.

    Attributes:
        found: `[]` float32, 1 from the first fault on; optimisers and target networks stand still.
    """

    def __init__(self, device: torch.device) -> None:
        self.found = torch.zeros((), device=device)
        self.tells_at_once = device.type == "cpu"
        self._first = torch.zeros(2, device=device)
        self._first_of = torch.full((), -1, device=device)
        self._names: list[str] = []

    @torch.no_grad()
    def note(self, name: str, loss: Tensor, gradient_norm: Tensor) -> None:
        """Look at one update of the network called `name`, after `backward`, before the step.

        Raises:
            NumericalError: as `require`, on a CPU.
        """
        if name not in self._names:
            self._names.append(name)
        seen = torch.stack([loss.detach(), gradient_norm.detach()]).to(self._first)
        bad = ~torch.isfinite(seen).all()
        is_first = bad & (self.found == 0)
        self._first = torch.where(is_first, seen, self._first)
        self._first_of = torch.where(is_first, self._names.index(name), self._first_of)
        self.found = torch.maximum(self.found, bad.to(self.found))
        if self.tells_at_once:
            self.require()

    def require(self) -> None:
        """Raise if anything was not finite so far; waits for the device.

        Raises:
            NumericalError: says which network, and whether its loss or its gradient.
        """
        if not self.found.item():
            return
        name = self._names[int(self._first_of)]
        loss, norm = self._first.tolist()
        self.found.zero_()
        if math.isfinite(loss):
            raise NumericalError(f"the gradient of the {name} is {norm}")
        raise NumericalError(f"the {name} loss is {loss}")
