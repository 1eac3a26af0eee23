"""Environments by name: built in, imported, registered, of a package, and in worker processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import registered_worlds
from point_world import PointWorld
from registered_worlds import Factories, NamedWorld, make_world

from softflow.envs import registry
from softflow.envs.contract import RobotEnv
from softflow.envs.registry import (
    make_env,
    register_env,
    registered_families,
    registrations,
    require_known_env,
    restore_registrations,
)
from softflow.errors import ConfigError
from softflow.utils.imports import do_trusting, trust, with_my_trust
from softflow.utils.worker_pool import WorkerPool


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test registers for itself."""
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    monkeypatch.setattr(registry, "_inherited", {})


def test_unknown_environment_suggests_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match="unknown environment 'cube-singel': did you mean cube-si"
    ):
        make_env("cube-singel")
    with pytest.raises(ConfigError, match="known: adroit-door, adroit-hammer"):
        make_env("zzz")


def test_a_module_without_its_function_is_no_misspelt_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "naive_env.py").write_text("raise SystemExit('it was run')")
    monkeypatch.chdir(tmp_path)
    for ask in (make_env, require_known_env):
        with pytest.raises(ConfigError, match=r"is a module; .*: naive_env:FUNCTION"):
            ask("naive_env")
    with pytest.raises(ConfigError, match="one of your own is module:function"):
        make_env("my_envs")


def test_unknown_task_is_refused() -> None:
    with pytest.raises(ConfigError, match="cube-single has tasks 1 to 5, not 6"):
        make_env("cube-single-task6")


def test_registered_family_can_be_made_and_only_once() -> None:
    tasks = []

    def factory(family: str, task: int | None, image_size: tuple[int, int] | None) -> RobotEnv:
        tasks.append((family, task, image_size))
        return PointWorld()

    register_env("walk", factory)
    assert "walk" in registered_families()
    assert isinstance(make_env("walk-task12", image_size=(4, 6)), PointWorld)
    assert tasks == [("walk", 12, (4, 6))]
    with pytest.raises(ConfigError, match="'walk' is already registered"):
        register_env("walk", factory)


def made_with(env_id: str, image_size: tuple[int, int] | None = None) -> Any:
    env = make_env(env_id, image_size=image_size)
    assert isinstance(env, NamedWorld)
    return env.made_with


def test_a_family_is_registered_by_the_name_of_its_function() -> None:
    register_env("named", "registered_worlds:make_world")
    assert made_with("named-task2", (8, 9)) == ("named", 2, (8, 9))
    register_env("within", "registered_worlds:Factories.make")
    assert made_with("within") == ("within", None, None)


def test_a_module_and_function_is_called_without_arguments() -> None:
    trust("point_world:PointWorld")
    assert isinstance(make_env("point_world:PointWorld"), PointWorld)


@pytest.mark.parametrize(
    ("family", "factory", "message"),
    [
        ("cube-single", make_world, "'cube-single' is already registered"),
        ("my:world", make_world, "'my:world': give a name without ':'"),
        ("", make_world, "'': give a name without ':'"),
        ("world", "registered_worlds", "factory is 'registered_worlds'; give a function or 'mod"),
        ("world", 3, "factory is 3; give a function or 'module:function'"),
    ],
)
def test_a_registration_that_cannot_work_is_refused(
    family: str, factory: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        register_env(family, factory)


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("no_such_module:make", "cannot import the environment 'no_such_module:make': No module"),
        ("registered_worlds:no_such", "cannot import .* has no attribute 'no_such'; the module mu"),
        ("registered_worlds:", "cannot import the environment 'registered_worlds:'"),
        (":make", "cannot import the environment ':make'"),
        ("point_world:STEP_M", "stands for 0.15, which cannot be called"),
        (
            "registered_worlds:not_an_env",
            "is a dict, without control_hz, max_episode_steps, neutral_action, not a RobotEnv",
        ),
    ],
)
def test_what_cannot_be_made_is_named(env_id: str, message: str) -> None:
    trust(env_id)
    with pytest.raises(ConfigError, match=message):
        make_env(env_id)


def test_a_wrapped_environment_hides_what_a_robot_needs() -> None:
    register_env("wrapped", lambda *_: gymnasium.Wrapper(PointWorld()))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="'wrapped' is a Wrapper, without control_hz"):
        make_env("wrapped")


# ---- entry points ---------------------------------------------------------------------------


def install(folder: Path, package: str, lines: str) -> None:
    """What an installer leaves of a package: its name and what it offers."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[softflow.envs]\n{lines}\n")


@pytest.fixture
def site_packages(tmp_path: Path) -> Iterator[Path]:
    """A folder that Python looks into for packages."""
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))


def test_an_installed_package_offers_families(site_packages: Path) -> None:
    (site_packages / "orca_envs.py").write_text("from registered_worlds import make_world as cut\n")
    install(site_packages, "orca-envs", "tape-cutting = orca_envs:cut")
    assert "tape-cutting" in registered_families()
    assert made_with("tape-cutting-task1", (8, 8)) == ("tape-cutting", 1, (8, 8))
    with pytest.raises(ConfigError, match="did you mean tape-cutting"):
        make_env("tape-cuting")


def test_a_package_that_cannot_be_imported_is_named(site_packages: Path) -> None:
    install(site_packages, "orca-envs", "tape = orca_gone:make\ncube = registered_worlds:nothing")
    with pytest.raises(ConfigError, match="'tape-task3', which is 'orca_gone:make': No module"):
        make_env("tape-task3")
    with pytest.raises(ConfigError, match="has no attribute 'nothing'"):
        make_env("cube")


def test_two_packages_with_one_name_are_told_apart(site_packages: Path) -> None:
    install(site_packages, "one", "tape = registered_worlds:make_world")
    install(site_packages, "two", "tape = registered_worlds:Factories.make")
    with pytest.raises(ConfigError, match=r"several packages: .*\((one|two)\), .*uninstall all bu"):
        make_env("tape")


def test_what_is_registered_counts_before_a_package(site_packages: Path) -> None:
    install(site_packages, "orca-envs", "tape = orca_gone:make")
    register_env("tape", make_world)
    assert made_with("tape") == ("tape", None, None)


# ---- worker processes -----------------------------------------------------------------------


def _limit(env_id: str) -> int:
    return make_env(env_id).max_episode_steps


def _limit_where_the_package_registers_itself(env_id: str) -> int:
    registered_worlds.register_myself()
    return make_env(env_id).max_episode_steps


@pytest.mark.slow
def test_workers_know_what_their_parent_registered(site_packages: Path) -> None:
    install(site_packages, "orca-envs", "offered = registered_worlds:make_world")
    register_env("by-name", "registered_worlds:make_world")
    register_env("by-function", Factories.make)
    names = ["by-name-task1", "by-function-task2", "offered-task3", "point_world:PointWorld"]
    trust(names[-1])
    with WorkerPool(1, restore_registrations, (registrations(),)) as pool:
        calls = with_my_trust(_limit, names)
        assert list(pool.map(do_trusting, calls)) == [6, 7, 8, 14]


@pytest.mark.slow
def test_a_package_may_register_itself_in_a_worker_too() -> None:
    registered_worlds.register_myself()
    with WorkerPool(1, restore_registrations, (registrations(),)) as pool:
        (limit,) = pool.map(_limit_where_the_package_registers_itself, ["self-registered-task4"])
    assert limit == 9


@pytest.mark.slow
def test_a_function_that_workers_cannot_reach_is_named() -> None:
    register_env("local", lambda family, task, size: NamedWorld(family, task, size))
    assert made_with("local") == ("local", None, None)
    with (
        WorkerPool(1, restore_registrations, (registrations(),)) as pool,
        pytest.raises(ConfigError, match=r"'local', which is .*<lambda>.*worker processes cannot"),
    ):
        list(pool.map(_limit, ["local"]))


def test_families_are_handed_on_to_workers_of_workers() -> None:
    restore_registrations({"handed-on": "registered_worlds:make_world"})
    assert registrations() == {"handed-on": "registered_worlds:make_world"}
    assert "handed-on" in registered_families()
