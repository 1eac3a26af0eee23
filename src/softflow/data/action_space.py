"""The bounds of an action space: as somebody gives them, and where those of data are too narrow.

They say which actions may be recorded and commanded, and nothing else: networks are told the range
of the data, which maps to ±0.9 whatever the bounds are, and command actions within that range only.
"""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from softflow.data.data_spec import DataSpec, require_same_spec
from softflow.errors import ConfigError, DataError

ROUNDING = 1e-6
"""Bounds often pass through float32 on one side only."""


@dataclass(frozen=True)
class ActionSpace:
    """What is known of an action space; what is left empty stays as the data have it.

    Args:
        low, high: bounds in env units, one a component, or a single one for all of them.
        neutral: the action that holds the robot still, one value a component.
    """

    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    neutral: tuple[float, ...] = ()

    def given_to(self, spec: DataSpec) -> DataSpec:
        """A spec with these bounds.

        Raises:
            ConfigError: there are more or fewer bounds than components.
            DataError: a bound is not finite, or a low one above the high one.
        """
        return replace(
            spec,
            action_low=_each("--action-low", self.low, spec) or spec.action_low,
            action_high=_each("--action-high", self.high, spec) or spec.action_high,
            neutral_action=self.neutral or spec.neutral_action,
        )


def _each(option: str, given: tuple[float, ...], spec: DataSpec) -> tuple[float, ...]:
    """One bound a component; none where none is given."""
    if len(given) not in (0, 1, spec.action_dim):
        names = ", ".join(spec.names.get("action", ()))
        raise ConfigError(
            f"{option} has {len(given)} values for {spec.action_dim} action components"
            f"{f' ({names})' * bool(names)}; give one for all, or one each"
        )
    return given * spec.action_dim if len(given) == 1 else given


def action_space_of(spec: DataSpec) -> ActionSpace:
    """The action space of a spec, for another one of as many components."""
    return ActionSpace(spec.action_low, spec.action_high, spec.neutral_action)


def lies_within(inner: DataSpec, outer: DataSpec) -> bool:
    """Whether every action that `inner` allows is one that `outer` allows, but for rounding."""
    if inner.action_dim != outer.action_dim:
        return False
    lows = zip(inner.action_low, outer.action_low, strict=True)
    highs = zip(inner.action_high, outer.action_high, strict=True)
    return all(ours >= theirs - ROUNDING for ours, theirs in lows) and all(
        ours <= theirs + ROUNDING for ours, theirs in highs
    )


def is_only_narrower(ours: DataSpec, theirs: DataSpec) -> bool:
    """Whether nothing keeps two specs apart but that the bounds of `ours` are the narrower ones."""
    if not (ours.differences(theirs) and lies_within(ours, theirs)):
        return False
    wide = replace(ours, action_low=theirs.action_low, action_high=theirs.action_high)
    return not wide.differences(theirs)


def goes_on_as(before: DataSpec, now: DataSpec) -> bool:
    """Whether what learned from `before` may go on with `now`: nothing that is learned differs.

    Bounds may be wider, and the environment another one, by what it says of itself the same: one
    is named where none was known, or its module was renamed. The action that holds the robot still
    may not differ: it is what windows at an episode's start begin with.
    """
    renewed = replace(
        before,
        action_low=now.action_low,
        action_high=now.action_high,
        neutral_action=now.neutral_action,
        env_id=now.env_id,
    )
    return renewed == now and lies_within(before, now) and before.held_still == now.held_still


def require_fits_environment(spec: DataSpec, theirs: DataSpec, store: Path) -> None:
    """Raise unless the episodes of a store are what an environment gives.

    Raises:
        DataError: they are not, with the command that names another environment; where only the
            bounds of the actions are narrower, with the one that widens them.
    """
    if is_only_narrower(spec, theirs):
        raise DataError(
            f"{narrower_bounds(spec, theirs, f'the dataset {store}')}\n"
            f"      {widening_command(store, theirs.env_id)}\n"
            "gives it those of the environment (it changes no episode, and runs go on); then give "
            "this command again"
        )
    try:
        require_same_spec(spec, theirs, f"the dataset '{store}'", "the environment")
    except DataError as error:
        another = widening_command(store, "ANOTHER", replaces=True)
        raise DataError(f"{error} To name another one: {another}") from error


def require_may_act(spec: DataSpec, theirs: DataSpec, checkpoint: Path) -> None:
    """Raise unless a policy's data are what an environment gives.

    Narrower bounds are no reason not to measure it, since it commands actions within the range of
    its data only; but they are told, because it could not learn on there.

    Raises:
        DataError: names each differing field.
    """
    if is_only_narrower(spec, theirs):
        what = f"the checkpoint {checkpoint}"
        warnings.warn(
            f"{narrower_bounds(spec, theirs, what)} It is measured all the same; to train on in "
            f"that environment: {widening_command('STORE', theirs.env_id)}",
            stacklevel=2,
        )
        return
    require_same_spec(spec, theirs, f"the checkpoint '{checkpoint}'", "the environment")


def narrower_bounds(spec: DataSpec, theirs: DataSpec, what: str) -> str:
    """What to say of data whose bounds are narrower than those of their environment."""
    told = "\n  ".join(spec.differences(theirs))
    return (
        f"{what} has narrower action bounds than the environment '{theirs.env_id}', its own first:"
        f"\n  {told}\n"
        "Where a format does not tell bounds, they are the range of what was recorded."
    )


def widening_command(store: str | os.PathLike[str], env_id: str, replaces: bool = False) -> str:
    """The command that gives a store the bounds of an environment, and its name.

    Args:
        store: the store; env_id: the environment.
        replaces: whether the store names another one.
    """
    words = ["softflow", "data", "bounds", os.fspath(store), "--env-id", env_id]
    return shlex.join(words + ["--replace-env"] * replaces)


def or_another_name(store: str | os.PathLike[str], there: DataSpec, new: DataSpec) -> str:
    """The command that makes data fit into a store that only names another environment; else ""."""
    if there.differences(replace(new, env_id=there.env_id)):
        return ""
    return f" If it is one environment: {widening_command(store, new.env_id, replaces=True)}"


def bounds_command(store: Path | str, low: Sequence[float], high: Sequence[float]) -> str:
    """The command that gives a store these bounds."""
    words = ["softflow", "data", "bounds", os.fspath(store)]
    for option, bound in (("--action-low", low), ("--action-high", high)):
        words += [option, *(f"{value:.9g}" for value in _short(bound))]
    return shlex.join(words)


def _short(bound: Sequence[float]) -> Sequence[float]:
    """One value where all are the same."""
    return bound[:1] if len(set(bound)) == 1 else bound
