"""Checkpoints and configurations that earlier versions of softflow wrote, as today's.

Format 1 (softflow 0.1) knew one policy, one critic and one encoder, and named none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

RENAMED_IN_FORMAT_2 = {
    "encoder.normalizer.": "encoder.observation.normalizer.",
    "encoder.state_mlp.": "encoder.observation.mlp.",
}
"""Beginnings of the names of weights in format 1 -> in format 2."""


def upgraded_weights(tensors: Mapping[str, Tensor], format_version: int) -> dict[str, Tensor]:
    """Named weights of a network, under the names they have today."""
    if format_version >= 2:
        return dict(tensors)
    return {_renamed(name): tensor for name, tensor in tensors.items()}


def upgraded_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON form of a model's configuration, with its settings named as today."""
    if "flow" not in model:
        return dict(model)
    kinds = {"policy": "flow", "encoder": "state_mlp", "critic": "transformer"}
    parts = {("policy" if key == "flow" else key): value for key, value in model.items()}
    named = {
        key: {"kind": kinds[key], **value} if key in kinds and isinstance(value, Mapping) else value
        for key, value in parts.items()
    }
    if isinstance(critic := named.get("critic"), Mapping):
        named["critic"] = {"reads": "chunk", **critic}
    return named


def _renamed(name: str) -> str:
    for old, new in RENAMED_IN_FORMAT_2.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
