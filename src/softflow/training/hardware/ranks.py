"""The processes that train one run together: each takes its rows of every batch.

    torchrun --nproc-per-node 2 -m softflow train ...
    accelerate launch --num_processes 2 -m softflow train ...

Gradients are averaged after every backward pass, so all processes hold the same weights. They are
not averaged by DistributedDataParallel: it sees a network through one `forward`, and an update here
goes through a policy in several steps (condition, likelihood, candidates). Accelerate starts the
processes' connection, NCCL on GPUs and gloo on CPUs, and reduces.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from softflow.errors import ConfigError, PeerLostError, brief

if TYPE_CHECKING:
    from accelerate import PartialState

Result = TypeVar("Result")
PATIENCE = timedelta(days=7)
"""Others wait while the first process collects episodes or evaluates."""


def launched_processes() -> int:
    """How many processes a launcher started for this command; 1 without."""
    return _told("WORLD_SIZE", 1)


def launched_rank() -> int:
    """Which of them this process is, from 0."""
    return _told("RANK", 0) if launched_processes() > 1 else 0


def _told(name: str, otherwise: int) -> int:
    said = os.environ.get(name, "")
    return int(said) if said.isascii() and said.isdigit() else otherwise


class Ranks:
    """This process among those that train a run; alone, everything here does nothing.

    Attributes:
        rank: of this process, from 0; count: of processes.

    Args:
        state: how they are connected; None: there is one process.
    """

    def __init__(self, state: PartialState | None = None) -> None:
        self._state = state
        self.rank, self.count = (state.process_index, state.num_processes) if state else (0, 1)

    @classmethod
    @contextmanager
    def joined(cls, device: str) -> Iterator[Ranks]:
        """Join the other processes of this command, if a launcher started some; leave at the end.

        Args:
            device: "cpu" connects through gloo, else each process takes the GPU of its number.

        Raises:
            ConfigError: Accelerate is not installed, the processes do not find each other, or the
                device is one for all of them.
        """
        if launched_processes() == 1:
            yield cls()
            return
        if ":" in device:
            raise ConfigError(
                f'--device {device} is one device for all {launched_processes()} processes; "cuda" '
                "gives each the GPU of its number"
            )
        state = _connected(on_cpu=device == "cpu" or not torch.cuda.is_available())
        try:
            yield cls(state)
        finally:
            state.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this process writes, evaluates and collects for all."""
        return self.rank == 0

    @property
    def rows(self) -> slice:
        """This process's rows of a batch."""
        return slice(self.rank, None, self.count)

    def require_even(self, batch_sizes: Mapping[str, int]) -> None:
        """Raise ConfigError unless batches of these sizes, by stage, can be shared evenly."""
        for stage, size in batch_sizes.items():
            if size % self.count:
                raise ConfigError(
                    f"{stage}.batch_size is {size}, which {self.count} processes cannot share "
                    f"evenly; choose a multiple of {self.count}, or start as many processes as "
                    "divide it"
                )

    def require_same(self, **facts: Any) -> None:
        """Raise ConfigError unless all processes say the same; names what differs."""
        if self.count == 1:
            return
        from accelerate.utils import gather_object

        said = self._together(lambda: gather_object([dict(facts)]))
        if differing := [name for name in facts if any(s[name] != said[0][name] for s in said)]:
            raise ConfigError(
                f"the {self.count} processes of this run do not agree on {', '.join(differing)}; "
                "start all with the same command, on the same files"
            )

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put in place of each tensor its mean over all processes, in one message."""
        if self.count == 1 or not tensors:
            return
        from accelerate.utils import reduce

        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        mean = self._together(lambda: reduce(flat, "mean"))
        parts = mean.split([tensor.numel() for tensor in tensors])  # type: ignore[union-attr]
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def total(self, weight: Tensor) -> Tensor:
        """The rows that count in the whole batch, a process: the sum of all weights / count."""
        total = weight.detach().sum()
        self.average([total])
        return total

    def averaged(self, metrics: Mapping[str, Tensor]) -> dict[str, float]:
        """Metrics of the whole batch; waits for the device."""
        values = torch.stack([value.detach().float() for value in metrics.values()])
        self.average([values])
        return dict(zip(metrics, values.tolist(), strict=True))

    def wait(self) -> None:
        """Until all processes are here.

        Raises:
            PeerLostError: one has ended.
        """
        if self._state is not None:
            self._together(self._state.wait_for_everyone)

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The block runs in the first process, then in the others; all leave it together."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()
        self.wait()

    def _together(self, action: Callable[[], Result]) -> Result:
        try:
            return action()
        except RuntimeError as error:
            raise PeerLostError(
                f"another of the {self.count} processes of this run has ended or cannot be reached "
                f"({brief(error, 120)}); what it said tells why. This one (rank {self.rank}) stops "
                "too: the same command continues from the last checkpoint"
            ) from error


def _connected(*, on_cpu: bool) -> PartialState:
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise ConfigError(
            "training with several processes needs Accelerate, which is not here: "
            "pip install 'softflow[parallel]'"
        ) from error
    try:
        # A connection through gloo must be asked for by its name where MPI is installed too.
        backend = {"backend": "gloo"} if on_cpu else {}
        return PartialState(cpu=on_cpu, timeout=PATIENCE, **backend)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"the processes of this run cannot connect ({brief(error)}); start them with torchrun "
            "or accelerate launch"
        ) from error


def gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The gradients that a backward pass has left."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
