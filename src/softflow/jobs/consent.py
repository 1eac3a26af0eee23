"""What the user allows by naming it: code that a data set or a checkpoint asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from softflow.data.action_space import widening_command
from softflow.data.episode_store import EpisodeStore
from softflow.envs.registry import require_trusted_env
from softflow.errors import ConfigError
from softflow.training.config import ModelConfig
from softflow.utils.imports import trust


def trust_environment(store: EpisodeStore, env: str, option: str = "--env") -> None:
    """Let the environment of the data be imported, if the user named the same one.

    Args:
        store: the data; env: what the user named, "" for nothing; option: with which word.

    Raises:
        ConfigError: the data names another environment, or none; with the command that changes it.
    """
    if not env:
        return
    named = store.spec.env_id
    if env != named:
        command = widening_command(store.path, env, replaces=bool(named))
        same = f"give that name, or leave {option} out; " * bool(named)
        raise ConfigError(
            f"{option} is {env!r}, but '{store.path}' {_names(named)}; {same}to say that "
            f"{env!r} is its environment: {command}"
        )
    trust(env)


def environment_to_measure_in(named: str, env: str, replaces: bool, checkpoint: Path) -> str:
    """The environment a checkpoint is measured in, which may be imported.

    Args:
        named: by its data; env: by the user, "" for nothing.
        replaces: whether the user's may be another one.
        checkpoint: the checkpoint.

    Raises:
        ConfigError: there is none, or they differ.
        UntrustedImportError: only the checkpoint names it.
    """
    if env and named and env != named and not replaces:
        raise ConfigError(
            f"--env is {env!r}, but '{checkpoint}' {_names(named)}; give that name, or leave --env "
            f"out; to measure it in {env!r} all the same (it was renamed, it gives the same "
            "observations), add --replace-env (in Python: replace_env=True)"
        )
    if not (env or named):
        raise ConfigError(
            f"'{checkpoint}' was trained on data that names no environment, so there is none to "
            "measure success in; name one that gives the same observations (--env), or read the "
            "likelihoods in its report"
        )
    if env:
        trust(env)
    require_trusted_env(env or named)
    return env or named


def _names(env_id: str) -> str:
    return f"names the environment {env_id!r}" if env_id else "names no environment"


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
