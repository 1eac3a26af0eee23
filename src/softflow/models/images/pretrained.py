"""Weights of an image backbone from a file, checked name by name. Nothing is ever downloaded."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from softflow.errors import ConfigError, brief

_INSIDE = ("state_dict", "model", "model_state_dict")
"""Where training scripts put a state dict in their files."""


def read_weights(path: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file read without running its code.

    Raises:
        ConfigError: there is no such file, or it holds no tensors by name.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f"there is no file of weights '{path}'; give the path of one")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(_unreadable(path, error)) from error
    except pickle.UnpicklingError as error:
        # torch would have it read unsafely.
        raise ConfigError(_unreadable(path, ValueError("it is no file of tensors"))) from error
    for name in _INSIDE:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not found:
        raise ConfigError(f"'{path}' holds a {type(found).__name__}, not tensors by their names")
    if strange := [name for name, value in found.items() if not isinstance(value, Tensor)]:
        raise ConfigError(f"'{path}' holds {strange[0]!r:.60}, which is no tensor")
    return {str(name): value for name, value in found.items()}


def load_pretrained(
    network: nn.Module, tensors: Mapping[str, Tensor], where: str, unused: tuple[str, ...] = ()
) -> None:
    """Copy tensors into a network that has exactly these names and shapes.

    Args:
        network: takes them.
        tensors: by name.
        where: they come from, for messages.
        unused: beginnings of names that may be there and are left out.

    Raises:
        ConfigError: names the first that are missing, unknown or of another shape.
    """
    own = network.state_dict()
    given = {name: t for name, t in tensors.items() if not name.startswith(unused or ("\0",))}
    # Counts batches for an average that nobody takes; older files have none.
    optional = {name for name in own if name.endswith(".num_batches_tracked")}
    problems = [f"{name} is missing" for name in own.keys() - given.keys() - optional]
    problems += [f"{name} is unknown" for name in given.keys() - own.keys()]
    problems += [
        f"{name} has shape {tuple(given[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & given.keys()
        if given[name].shape != own[name].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:4])
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ConfigError(
            f"the weights of {where} are of another architecture than this image backbone: "
            f"{shown}{more}; give a file made for it, or choose its backbone with --image"
        )
    network.load_state_dict(given, strict=False)


def _unreadable(path: str, error: Exception) -> str:
    return (
        f"cannot read the weights '{path}': {brief(error)}; give a .safetensors file, or a state "
        "dict saved by torch.save (tensors by name, nothing else)"
    )
