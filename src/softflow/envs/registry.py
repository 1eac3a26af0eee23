"""Environments by name: built in, registered, offered by an installed package, or imported."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import gymnasium

from softflow.envs.contract import RobotEnv
from softflow.envs.orca_cube import CUBE_FAMILIES
from softflow.envs.robomimic import ROBOMIMIC_FAMILIES
from softflow.errors import ConfigError
from softflow.utils.imports import follow, is_module, require_trusted

EnvFactory = Callable[[str, int | None, tuple[int, int] | None], RobotEnv]
"""Called with (family, task, image_size); makes the environment."""

ENTRY_POINT_GROUP = "softflow.envs"
"""Where an installed package names its families: name = family, value = `module:factory`."""

IS_ROBOT = "is_robot"
_REQUIRED = ("control_hz", "max_episode_steps", "neutral_action")


def _make_ogbench(family: str, task: int | None, image_size: tuple[int, int] | None) -> RobotEnv:
    # The simulator takes seconds to import: only those who make an environment pay for it.
    tasks = importlib.import_module("softflow.envs.ogbench.tasks")
    return tasks.OGBenchManipulation(family, task, image_size=image_size)


def _make_adroit(family: str, task: int | None, image_size: tuple[int, int] | None) -> RobotEnv:
    tasks = importlib.import_module("softflow.envs.adroit.tasks")
    return tasks.AdroitHand(family, task, image_size=image_size)


def _make_robomimic(family: str, task: int | None, image_size: tuple[int, int] | None) -> RobotEnv:
    tasks = importlib.import_module("softflow.envs.robomimic.tasks")
    return tasks.RobomimicTask(family, task, image_size=image_size)


def _make_orca_cube(family: str, task: int | None, image_size: tuple[int, int] | None) -> RobotEnv:
    tasks = importlib.import_module("softflow.envs.orca_cube.tasks")
    return tasks.OrcaCube(family, task, image_size=image_size)


OGBENCH_FAMILIES = ("cube-single", "cube-double", "scene", "puzzle-3x3")
_ADROIT_FAMILIES = ("adroit-door", "adroit-hammer", "adroit-pen", "adroit-relocate")
_BUILT_IN: dict[str, EnvFactory] = {
    **dict.fromkeys(OGBENCH_FAMILIES, _make_ogbench),
    **dict.fromkeys(_ADROIT_FAMILIES, _make_adroit),
    **dict.fromkeys(ROBOMIMIC_FAMILIES, _make_robomimic),
    **dict.fromkeys(CUBE_FAMILIES, _make_orca_cube),
}
_FACTORIES: dict[str, EnvFactory | str] = dict(_BUILT_IN)
# Apart from the others: a module that registers its family when it is imported does so in a worker
# too, where its parent's registrations are there already.
_inherited: dict[str, str] = {}


def registered_families() -> tuple[str, ...]:
    """The families `make_env` knows, sorted: built in, registered, and of installed packages."""
    offered = entry_points(group=ENTRY_POINT_GROUP).names
    return tuple(sorted(_FACTORIES.keys() | _inherited.keys() | offered))


def register_env(family: str, factory: EnvFactory | str) -> None:
    """Teach `make_env` a new family; `factory(family, task, image_size)` makes the environment.

    `factory` is a function, or "module:function" to import it when it is needed. Worker processes
    that are started afterwards know the family too; they import the function, so it must be one of
    a module, not one within another function.

    Raises:
        ConfigError: the family is already taken, its name holds ":", or the factory is neither.
    """
    if family in _FACTORIES:
        raise ConfigError(f"environment family {family!r} is already registered; choose a new name")
    if not family or ":" in family:
        raise ConfigError(
            f"environment family {family!r}: give a name without ':', which is how names of "
            "modules are told from names of families"
        )
    if not (callable(factory) or (isinstance(factory, str) and ":" in factory)):
        raise ConfigError(
            f"environment family {family!r}: the factory is {factory!r}; give a function or "
            "'module:function'"
        )
    _FACTORIES[family] = factory


def registrations() -> dict[str, str]:
    """What `register_env` was told in this process, for `restore_registrations` in another one."""
    return _inherited | {
        family: factory if isinstance(factory, str) else _import_name(factory)
        for family, factory in _FACTORIES.items()
        if family not in _BUILT_IN
    }


def restore_registrations(families: Mapping[str, str]) -> None:
    """Register families in a worker process as they are in its parent; imports nothing yet."""
    _inherited.update(families)


def make_env(env_id: str, *, image_size: tuple[int, int] | None = None) -> RobotEnv:
    """Make the environment called `<family>`, `<family>-task<number>` or `<module>:<function>`.

    A family is built in, registered (`register_env`) or an entry point of an installed package in
    the group "softflow.envs"; where two of these use a name, the first counts. Its factory gets
    (family, task, image_size), with `image_size` (height, width) in pixels of the observations
    `observation.images.<camera>`. `<module>:<function>` is imported and called without arguments,
    if the user named it (`softflow.utils.imports.trust`, or a word of the command line): a data set
    may say it too, and is not believed.

    Raises:
        UntrustedImportError: only a file names that module.
        ConfigError: nobody knows the name (the message has the nearest ones), what it stands for
            cannot be imported, or makes something that is no RobotEnv.
    """
    if ":" in env_id:
        require_trusted_env(env_id)
        return _require_env(_imported(env_id, f"the environment {env_id!r}")(), env_id)
    family, task = _family_and_task(env_id)
    return _require_env(_factory(family, env_id)(family, task, image_size), env_id)


def is_robot(env_id: str) -> bool:
    """Whether what makes this environment says that it is a robot; nothing is made to know.

    What is named by a path is imported.

    Raises:
        UntrustedImportError, ConfigError: as `make_env`.
    """
    if ":" in env_id:
        require_trusted_env(env_id)
        maker: Any = _imported(env_id, f"the environment {env_id!r}")
    else:
        maker = _factory(family_of(env_id), env_id)
    return getattr(maker, IS_ROBOT, False) is True


def require_known_env(env_id: str) -> None:
    """Raise unless somebody knows the name; nothing is imported, nothing made.

    Raises:
        ConfigError: nobody does; names the nearest ones.
    """
    family, _ = _family_and_task(env_id)
    if ":" not in env_id and not {env_id, family} & set(registered_families()):
        raise _unknown(family, env_id)


def require_trusted_env(env_id: str) -> None:
    """Raise if making this environment would run code that only a file names.

    Raises:
        UntrustedImportError: says how to allow it.
    """
    if ":" in env_id:
        require_trusted(env_id, "the environment of this data", "--env")


def family_of(env_id: str) -> str:
    """The family of an environment's name: "cube-single" of "cube-single-task2"."""
    return _family_and_task(env_id)[0]


def _family_and_task(env_id: str) -> tuple[str, int | None]:
    """ "cube-single-task2" -> ("cube-single", 2)."""
    match = re.fullmatch(r"(?P<family>.+?)(?:-task(?P<task>\d+))?", env_id)
    family = match["family"] if match else env_id
    return family, int(match["task"]) if match and match["task"] else None


def _factory(family: str, env_id: str) -> EnvFactory:
    """The factory of a family, imported."""
    factory = _FACTORIES.get(family) or _inherited.get(family)
    if factory is None:
        point = _entry_point(family, env_id)
        factory = f"{point.module}:{point.attr}"
    if isinstance(factory, str):
        return _imported(factory, f"the environment {env_id!r}, which is {factory!r}")
    return factory


def _entry_point(family: str, env_id: str) -> EntryPoint:
    """The entry point of a family; several packages may offer one, if it is the same."""
    found = list(entry_points(group=ENTRY_POINT_GROUP, name=family))
    if len({point.value for point in found}) > 1:
        offers = ", ".join(f"{point.value} ({_distribution(point)})" for point in found)
        raise ConfigError(
            f"environment family {family!r} is offered by several packages: {offers}; uninstall "
            "all but one, or name the function itself (module:function)"
        )
    if not found:
        raise _unknown(family, env_id)
    return found[0]


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"


def _unknown(family: str, env_id: str) -> ConfigError:
    if is_module(env_id):
        return ConfigError(
            f"unknown environment {env_id!r}, which is a module; name what in it makes the "
            f"environment: {env_id}:FUNCTION"
        )
    known = registered_families()
    near = difflib.get_close_matches(family, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return ConfigError(
        f"unknown environment {env_id!r}: {hint} (a task is chosen with a suffix, "
        f"for example {known[0]}-task1; one of your own is module:function)"
    )


def _import_name(factory: EnvFactory) -> str:
    """Where a worker process finds a function again."""
    module = getattr(factory, "__module__", type(factory).__module__)
    return f"{module}:{getattr(factory, '__qualname__', repr(factory))}"


def _imported(name: str, what: str) -> Callable[..., Any]:
    """The function or class called `module:function`."""
    try:
        found = follow(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"cannot import {what}: {error}; the module must be importable (installed, in this "
            "folder or on PYTHONPATH) and hold that function (worker processes cannot reach one "
            "that is defined within another function, or a lambda)"
        ) from error
    if not callable(found):
        raise ConfigError(
            f"{what} stands for {found!r}, which cannot be called; name a function or a class that "
            "makes the environment"
        )
    return found


def _require_env(env: Any, env_id: str) -> RobotEnv:
    """What a factory made, if it is a RobotEnv or another gymnasium environment with its parts."""
    missing = [name for name in _REQUIRED if not hasattr(env, name)]
    if not isinstance(env, gymnasium.Env) or missing:
        lacking = f", without {', '.join(missing)}" if missing else ""
        raise ConfigError(
            f"the environment {env_id!r} is a {type(env).__name__}{lacking}, not a RobotEnv; make "
            "the function return a softflow.envs.contract.RobotEnv (check_env tests one); "
            "softflow.envs.gymnasium_env.GymnasiumEnv makes one of a plain gymnasium environment "
            "(docs/environments.md)"
        )
    if getattr(env.unwrapped, IS_ROBOT, False) and not is_robot(env_id):
        env.close()
        raise ConfigError(
            f"the environment {env_id!r} is a robot ({IS_ROBOT}), and what makes it does not say "
            "so, which must be known before it is made: name its class, or set the attribute of "
            f"the function too (make.{IS_ROBOT} = True). It was closed"
        )
    return env  # type: ignore[return-value]
