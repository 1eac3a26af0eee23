"""What the user allows by naming it: code that a data set or a checkpoint asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError
from softflow.training.config import ModelConfig
from softflow.utils.imports import trust


def trust_environment(spec: DataSpec, env: str, where: str) -> None:
    """Let the environment of the data be imported, if the user named the same one.

    Raises:
        ConfigError: the data names another environment.
    """
    if env and env != spec.env_id:
        fix = "give the same name, or leave --env out"
        if not spec.env_id:
            fix = f"say that it is the data's: softflow data bounds STORE --env-id {env}"
        named = f"names the environment {spec.env_id!r}" if spec.env_id else "names no environment"
        raise ConfigError(f"--env is {env!r}, but {where} {named}; {fix}")
    if env:
        trust(env)


def require_named_kinds(model: ModelConfig, named: Mapping[str, str], checkpoint: Path) -> None:
    """Raise if a network was named that the checkpoint has not; an empty name is none.

    Raises:
        ConfigError: says which it has.
    """
    for name, given in named.items():
        network = model.encoder if name == "image" else model
        there = getattr(getattr(network, name, None), "kind", "")
        if given and given != there:
            raise ConfigError(
                f"--{name} is {given!r}, but the {name} of '{checkpoint}' is {there!r}; leave "
                f"--{name} out, or give that"
            )
