"""What networks run on: which device, in which precision, compiled or not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from softflow.errors import ConfigError, brief
from softflow.utils.machine import memory_bytes


def usable_device(name: str) -> torch.device:
    """A torch device that works here; "auto" is a GPU if PyTorch can use one, else the CPU.

    Raises:
        ConfigError: there is none of that name.
    """
    if name == "auto":
        return _best_device()
    try:
        return _tried(torch.device(name))
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f'device "{name}" cannot be used here ({reason}); use "auto" or "cpu"'
        ) from error


def _best_device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    try:
        return _tried(torch.device("cuda"))
    except RuntimeError as error:
        warnings.warn(f"there is a GPU, but it cannot be used ({brief(error)})", stacklevel=2)
        return torch.device("cpu")


def _tried(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is None:  # each process of several has its own
        device = torch.device("cuda", torch.cuda.current_device())
    torch.zeros(1, device=device)
    return device


def acting_device(name: str, reads_cameras: bool) -> str:
    """Where a policy acts in simulation: for "auto" the CPU, or a GPU for one that sees images.

    Policies from states decide within milliseconds on one thread, many simulators at once; on a GPU
    each would wait for the others, and takes some 0.5 GiB of its memory.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto" and not reads_cameras:
        return "cpu"
    return str(usable_device(name))


def memory_of(device: torch.device) -> int:
    """Bytes that this process may use of the device's memory; of a CPU's all that it has."""
    if device.type != "cuda":
        return memory_bytes()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device)


def mixed_precision(device: torch.device, precision: str) -> torch.autocast:
    """Inside, matrix products are in bfloat16 if `precision` is "bf16".

    Weights, likelihoods, returns and losses stay in float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def machine(device: torch.device, processes: int) -> dict[str, Any]:
    """What a learner runs on, as its checkpoints remember it."""
    return {"device": device.type, "processes": processes}


def moved(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """In words: that a run goes on elsewhere than so far; "" if it does not, or nobody knows."""
    if all(there.get(name, value) == value for name, value in here.items()):
        return ""
    before, now = (
        f"{facts['processes']} x {facts['device']}" for facts in ({**here, **there}, here)
    )
    return f"so far this run was on {before}, now on {now}: same batches, other random numbers"


def compile_networks(device: torch.device, *networks: nn.Module) -> list[str]:
    """Compile, in place, the parts of networks that gain by it; names of their classes.

    A part says so by `gains_by_compiling`. Weights keep their names. The work is done when a part
    is used first: minutes for large networks.

    Raises:
        ConfigError: nothing can be compiled here; says why.
    """
    parts = [
        module
        for network in networks
        for module in network.modules()
        if getattr(module, "gains_by_compiling", False)
    ]
    if parts:
        _require_compiler(device)
    for part in parts:
        part.compile()
    return sorted({type(part).__name__ for part in parts})


def _require_compiler(device: torch.device) -> None:
    """Compile next to nothing: what is missing shows now, and not in the first update."""
    try:
        torch.compile(torch.sin)(torch.zeros(1, device=device))
    except Exception as error:  # whatever a compiler says
        raise ConfigError(
            f"--compile: nothing can be compiled on {device} here ({brief(error)}); install a C++ "
            "compiler (apt install g++), or leave --compile out"
        ) from error
