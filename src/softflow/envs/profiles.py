"""What an environment reports in its steps, recorded and held against the profile it declares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from softflow.data.measures import EVENTS_KEY
from softflow.data.task_profile import TaskProfile
from softflow.errors import EnvironmentContractError


@dataclass(frozen=True)
class StepOutcome:
    """What a step returned beside its observation; `success` is `info["success"]`."""

    reward: float
    terminated: bool
    truncated: bool
    success: bool


class EventRecorder:
    """The events of one episode, as its steps report them; none under the success profile."""

    def __init__(self, profile: TaskProfile) -> None:
        self.profile = profile
        self.happened: list[tuple[int, str]] = []

    def add(self, control_step: int, info: Mapping[str, Any], where: str) -> list[str]:
        """Record a step's `info["events"]` and return it; `where` names the step in messages.

        Raises:
            EnvironmentContractError: it is no list of declared names.
        """
        if not self.profile.events:
            return []
        names = info.get("events")
        if not isinstance(names, list):
            raise EnvironmentContractError(
                f"{where}: info['events'] is {names!r}; give a list of names in every step, empty "
                "where nothing happened"
            )
        for name in names:
            self.profile.event(name, f"{where}: info['events']")
        self.happened += [(control_step, name) for name in names]
        return names

    @property
    def names(self) -> list[str]:
        """What happened so far, in order."""
        return [name for _, name in self.happened]

    def metadata(self) -> dict[str, Any]:
        """What a stored episode says of its events; nothing under the success profile."""
        if not self.profile.events:
            return {}
        return {EVENTS_KEY: [[step, name] for step, name in self.happened]}


def check_outcome(
    outcome: StepOutcome, recorder: EventRecorder, names: Sequence[str], where: str
) -> None:
    """Hold a step, in which the events `names` happened, to the declared profile.

    Raises:
        EnvironmentContractError: it earns, ends or succeeds otherwise than declared.
    """
    if recorder.profile.events:
        _check_events(outcome, recorder, names, where)
    else:
        _check_success(outcome, where)


def _check_success(outcome: StepOutcome, where: str) -> None:
    reward, success = outcome.reward, outcome.success
    if reward != float(success):
        raise EnvironmentContractError(
            f"{where}: reward is {reward} but info['success'] is {success}; the reward is 1 in the "
            "step that reaches success, else 0 (a task with other rewards declares them in "
            "task_profile)"
        )
    if outcome.terminated != success:
        raise EnvironmentContractError(
            f"{where}: terminated is {outcome.terminated} but info['success'] is {success}; the "
            "step that reaches success, and no other, terminates the episode (a task with other "
            "endings declares them in task_profile)"
        )
    if outcome.terminated and outcome.truncated:
        raise EnvironmentContractError(
            f"{where}: both terminated and truncated; success wins over the time limit"
        )


def _check_events(
    outcome: StepOutcome, recorder: EventRecorder, names: Sequence[str], where: str
) -> None:
    profile, told = recorder.profile, ", ".join(names) or "none"
    declared = profile.reward(names)
    if not math.isclose(outcome.reward, declared, rel_tol=1e-6, abs_tol=1e-6):
        raise EnvironmentContractError(
            f"{where}: reward is {outcome.reward:g}, but its events ({told}) are declared to be "
            f"worth {declared:g}; return their sum, or correct task_profile"
        )
    endings = [event.name for event in profile.endings(names)]
    if len(endings) > 1:
        raise EnvironmentContractError(
            f"{where}: the events {', '.join(endings)} all end the episode; report the one that "
            "counts: an episode ends once"
        )
    if outcome.terminated != bool(endings):
        raise EnvironmentContractError(
            f"{where}: terminated is {outcome.terminated}, but its events are: {told}; a step with "
            "an event of kind 'success' or 'failure', and no other, terminates the episode"
        )
    if outcome.terminated and outcome.truncated:
        raise EnvironmentContractError(
            f"{where}: both terminated and truncated; an event that ends the episode wins over the "
            "time limit"
        )
    if outcome.success != profile.succeeded(recorder.names):
        raise EnvironmentContractError(
            f"{where}: info['success'] is {outcome.success}, but the events so far "
            f"({', '.join(recorder.names) or 'none'}) are declared to be "
            f"{'a' if profile.succeeded(recorder.names) else 'no'} success; report what "
            "TaskProfile.succeeded says of them"
        )
