"""Environments that tests share: each costs seconds to build."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar

from softflow.envs.contract import RobotEnv
from softflow.envs.registry import make_env

Env = TypeVar("Env", bound=RobotEnv)


def built_once(kind: type[Env]) -> Callable[[str], Env]:
    """`get(env_id)`: one environment per id, of class `kind`; whoever takes it resets it."""

    @cache
    def get(env_id: str) -> Env:
        env = make_env(env_id)
        assert isinstance(env, kind)
        return env

    return get
