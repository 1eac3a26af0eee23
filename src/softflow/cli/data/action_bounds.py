"""Bounds of actions from the command line: as numbers, or those of an environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from softflow.cli.data.format_options import Import
from softflow.cli.data.store_options import Bounds
from softflow.curation.action_bounds import change_bounds
from softflow.data.action_space import (
    ActionSpace,
    action_space_of,
    bounds_command,
    lies_within,
    widening_command,
)
from softflow.data.data_spec import DataSpec, require_same_spec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import (
    ConfigError,
    DataError,
    EnvironmentFaultError,
    SoftflowError,
    brief,
)
from softflow.utils.console import say
from softflow.utils.imports import trust
from softflow.utils.progress import ConsoleProgress

_SIDES = ("action_low", "action_high")


def environment_spec(env_id: str, image_size: tuple[int, int] | None = None) -> DataSpec:
    """What an environment says of its observations and actions; it is made for that.

    Args:
        env_id: its name.
        image_size: (height, width) of its cameras; None makes it without.

    Who names it as module:function on the command line lets its code run.

    Raises:
        ConfigError: nobody knows it, or what it needs is not installed.
        EnvironmentFaultError: making it failed.
        SoftflowError: it does not keep the contract.
    """
    trust(env_id)
    try:
        # Imported here: other data needs no simulator, nor gymnasium.
        from softflow.envs.contract import data_spec
        from softflow.envs.registry import make_env

        env = make_env(env_id, image_size=image_size)
        try:
            return data_spec(env, env_id)
        finally:
            env.close()
    except SoftflowError:
        raise
    except Exception as error:
        raise EnvironmentFaultError(
            f"the environment '{env_id}' cannot be made: {brief(error)}; give the bounds as "
            "numbers (--action-low, --action-high)"
        ) from error


def bounds_at_import(options: Import) -> ActionSpace:
    """The action space of imported data, as far as it is given; the rest is the format's.

    Where the environment cannot be made on this machine, the data may still be imported for
    another one: that is said.
    """
    given = ActionSpace(options.action_low, options.action_high)
    if not options.env_id or (given.low and given.high):
        return given
    try:
        theirs = action_space_of(environment_spec(options.env_id))
    except SoftflowError as error:
        say(
            f"careful: the actions keep the bounds of the recordings, because the environment "
            f"'{options.env_id}' could not be asked for its own: {error}\nLater, "
            f"{widening_command(options.out or 'STORE', options.env_id)} takes them from it",
            to_errors=True,
        )
        return given
    return _of_both(given, theirs)


def set_bounds(options: Bounds) -> None:
    """Check the actions of a store, write its bounds, and say what changed."""
    progress = ConsoleProgress(Console(stderr=True))
    with EpisodeStore.open(options.store, writable=True) as store, progress:
        before, now = store.spec, changed_spec(store.spec, options)
        if not lies_within(before, now):
            progress.begin("check actions", len(store))
        change_bounds(store, now, lambda done: progress.advance(done))
    low, high = (zip(getattr(before, side), getattr(now, side), strict=True) for side in _SIDES)
    moved = sum(a != b or c != d for (a, b), (c, d) in zip(low, high, strict=True))
    say(
        f"{options.store}: other bounds for {moved} of {now.action_dim} action components, all "
        f"within {min(now.action_low):g} to {max(now.action_high):g}"
        + f"; its environment is now '{now.env_id}'"
        * (now.env_id != before.env_id)
    )


def changed_spec(spec: DataSpec, options: Bounds) -> DataSpec:
    """The spec of a store with the bounds asked for, and the environment named if it names none.

    Raises:
        ConfigError: no bounds are given, they do not fit, or the store names another environment.
        DataError: the environment gives other observations or actions, or steps at another rate.
        SoftflowError: the environment cannot be made.
    """
    given = ActionSpace(options.action_low, options.action_high)
    if not options.env_id:
        if not (given.low or given.high):
            raise ConfigError("give --env-id, --action-low or --action-high: which bounds?")
        return given.given_to(spec)
    if spec.env_id not in ("", options.env_id) and not options.replace_env:
        raise ConfigError(
            f"--env-id is {options.env_id!r}, but this data names the environment "
            f"{spec.env_id!r}; give that, or the bounds as numbers, or say that it is replaced: "
            + widening_command(options.store, options.env_id, replaces=True)
        )
    theirs = environment_spec(options.env_id, spec.image_size)
    still = spec.neutral_action if spec.env_id in ("", options.env_id) else theirs.neutral_action
    named = replace(spec, env_id=options.env_id, neutral_action=still)
    _require_could_act(named, theirs, options.store)
    return _of_both(given, action_space_of(theirs)).given_to(named)


def _require_could_act(spec: DataSpec, theirs: DataSpec, store: Path) -> None:
    """Raise unless an environment gives what a store holds, whatever the bounds of its actions.

    Raises:
        DataError: it does not; names each differing field, and the command for the bounds alone.
    """
    low, high = theirs.action_low, theirs.action_high
    fits = theirs.action_dim == spec.action_dim
    wide = replace(spec, action_low=low, action_high=high, neutral_action=()) if fits else spec
    try:
        require_same_spec(
            wide, theirs, f"the data in '{store}'", f"the environment '{theirs.env_id}'"
        )
    except DataError as error:
        bounds = f" For its bounds alone: {bounds_command(store, low, high)}" if fits else ""
        raise DataError(f"{error}{bounds}") from error


def _of_both(given: ActionSpace, theirs: ActionSpace) -> ActionSpace:
    """The given numbers where there are any, else the environment's."""
    return ActionSpace(given.low or theirs.low, given.high or theirs.high, theirs.neutral)
