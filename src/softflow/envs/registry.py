"""Environments by name."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable

from softflow.envs.contract import RobotEnv
from softflow.errors import ConfigError

EnvFactory = Callable[[str, int | None, tuple[int, int] | None], RobotEnv]


def _make_ogbench(family: str, task: int | None, image_size: tuple[int, int] | None) -> RobotEnv:
    # The simulator takes seconds to import: only those who make an environment pay for it.
    tasks = importlib.import_module("softflow.envs.ogbench.tasks")
    return tasks.OGBenchManipulation(family, task, image_size=image_size)


_OGBENCH_FAMILIES = ("cube-single", "cube-double", "scene", "puzzle-3x3")
_FACTORIES: dict[str, EnvFactory] = dict.fromkeys(_OGBENCH_FAMILIES, _make_ogbench)


def registered_families() -> tuple[str, ...]:
    """The families `make_env` knows, sorted."""
    return tuple(sorted(_FACTORIES))


def register_env(family: str, factory: EnvFactory) -> None:
    """Teach `make_env` a new family; `factory(family, task, image_size)` makes the environment.

    Raises ConfigError when the family is already taken.
    """
    if family in _FACTORIES:
        raise ConfigError(f"environment family {family!r} is already registered; choose a new name")
    _FACTORIES[family] = factory


def make_env(env_id: str, *, image_size: tuple[int, int] | None = None) -> RobotEnv:
    """Make the environment called `<family>`, `<family>-task<number>` or `<module>:<function>`.

    The last form is for environments of one's own: the function is imported and called, it must
    return one that passes `check_env`. `image_size` (height, width) in pixels adds
    `observation.images.front` to the observation of the built-in ones.
    Raises ConfigError for a name nobody registered, with the nearest names.
    """
    if ":" in env_id:
        return _import_env(env_id)
    match = re.fullmatch(r"(?P<family>.+?)(?:-task(?P<task>\d+))?", env_id)
    family = match["family"] if match else env_id
    factory = _FACTORIES.get(family)
    if factory is None:
        known = registered_families()
        near = difflib.get_close_matches(family, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise ConfigError(
            f"unknown environment {env_id!r}: {hint} (a task is chosen with a suffix, "
            f"for example {known[0]}-task1)"
        )
    task = int(match["task"]) if match and match["task"] else None
    return factory(family, task, image_size)


def _import_env(env_id: str) -> RobotEnv:
    module_name, _, attribute = env_id.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"cannot import the environment {env_id!r}: {error}; the module must be importable "
            "(installed, or on PYTHONPATH) and hold that function"
        ) from error
    return factory()
