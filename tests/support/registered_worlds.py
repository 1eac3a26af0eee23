"""Factories as a user's package has them; worker processes import this module by its name."""

from __future__ import annotations

from typing import Any

from point_world import PointWorld

from softflow.envs.contract import RobotEnv
from softflow.envs.registry import register_env


class NamedWorld(PointWorld):
    """Knows how it was made."""

    def __init__(self, family: str, task: int | None, image_size: tuple[int, int] | None) -> None:
        self.made_with = (family, task, image_size)
        self.max_episode_steps = 5 + (task or 0)


class Factories:
    """A factory that belongs to a class."""

    @staticmethod
    def make(family: str, task: int | None, image_size: tuple[int, int] | None) -> RobotEnv:
        return NamedWorld(family, task, image_size)


def make_world(family: str, task: int | None, image_size: tuple[int, int] | None) -> RobotEnv:
    """The signature of families."""
    return NamedWorld(family, task, image_size)


def not_an_env() -> Any:
    """What a mistaken id may stand for."""
    return {"observation": 1}


def register_myself() -> None:
    """As a package does that registers its family when it is imported."""
    register_env("self-registered", make_world)
