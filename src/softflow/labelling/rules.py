"""Rules on signals that propose events, and how a function of one's own becomes one.

A rule is a function of an episode, as it was recorded, and of what it may look at and propose:

    def drawer_open(episode: Episode, context: RuleContext) -> list[ProposedEvent]:
        opening = context.signal(episode, "observation.state[drawer]")
        steps = np.flatnonzero(opening[1:] > 0.2)
        return [context.event("opened", int(steps[0]))] if len(steps) else []

`softflow data propose DATASET --with my_module:drawer_open` runs it. A third parameter, annotated
with a dataclass, is its settings, whose fields `--set NAME=VALUE` fills. A function that needs the
cameras' frames says so: `drawer_open.needs_images = True`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, cast, get_type_hints

import numpy as np

from softflow.curation.components import parse_component, rows_of
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.errors import ConfigError, DataError, brief
from softflow.labelling.event_kinds import EventKinds
from softflow.labelling.proposals import ProposedEvent
from softflow.labelling.settings import settings_as
from softflow.utils.imports import follow

RULES = {
    "cube-quarter-turn": "softflow.labelling.signal_rules:cube_quarter_turn",
    "gripper-lifted": "softflow.labelling.signal_rules:gripper_lifted",
}
"""A new rule of ours is a function and a line here."""


@dataclass(frozen=True)
class RuleContext:
    """What a rule may look at and propose.

    Attributes:
        spec: what the store holds: keys, names of components, control steps per second.
        kinds: the events that the data set declares.
    """

    spec: DataSpec
    kinds: EventKinds

    def signal(self, episode: Episode, reference: str) -> np.ndarray:
        """One component over an episode: float64 `[T+1]` of an observation, `[T]` of an action.

        Args:
            episode: the recording.
            reference: as in conditions: KEY[NUMBER] or KEY[NAME].

        Raises:
            DataError: it names nothing, or more than one component.
        """
        key, components = parse_component(reference, self.spec)
        if len(components) != 1:
            raise DataError(
                f"'{reference}' has {len(components)} components; name one, as in {reference}[0]"
            )
        return rows_of(episode, key)[:, components[0]].astype(np.float64)

    def event(self, name: str, step: int, confidence: float = 1.0) -> ProposedEvent:
        """A declared event at a control step.

        Raises:
            DataError: no such event is declared; says which are.
        """
        return ProposedEvent(self.kinds.named(name).at(step), confidence)


RuleFunction = Callable[..., Iterable[ProposedEvent]]


class RuleProposer:
    """A rule as a proposer.

    Args:
        name: of the rule, as in `RULES`, or "module:function", which the user named.
        kinds: the events that the data set declares.
        settings: name -> value as text, in place of the rule's own.

    Raises:
        ConfigError: there is no such rule, or a setting that it has not; says which there are.
    """

    note = ""

    def __init__(self, name: str, kinds: EventKinds, settings: Mapping[str, str]) -> None:
        self.name = name
        self._function = _function(name)
        self._settings = _settings(self._function, name, settings)
        self._kinds = kinds
        self.version = _version(self._function, self._settings)

    def propose(self, store: EpisodeStore, index: int) -> Iterable[ProposedEvent]:
        """What the rule says of the recording; a function that reads cameras says so.

        Raises:
            DataError: the rule cannot be applied to this data, failed, or gave events that are not
                as declared.
        """
        cameras = bool(getattr(self._function, "needs_images", False))
        episode = store.episode(index, with_images=cameras, labelled=False)
        context = RuleContext(store.spec, self._kinds)
        words = (episode, context) if self._settings is None else (episode, context, self._settings)
        try:
            found = list(self._function(*words))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise DataError(
                f"the rule '{self.name}' failed on episode {index}: {brief(error)}"
            ) from error
        for one in found:
            if not isinstance(one, ProposedEvent):
                raise DataError(
                    f"the rule '{self.name}' gave a {type(one).__name__} for episode {index}; give "
                    "what context.event(name, step) makes"
                )
        self._kinds.require_fit(Label(self.name, tuple(one.event for one in found)))
        return found


def _function(name: str) -> RuleFunction:
    path = RULES.get(name, name)
    if ":" not in path:
        known = ", ".join(RULES)
        raise ConfigError(f"there is no rule '{name}'; choose {known}, or module:function")
    try:
        found: Any = follow(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"cannot import the rule '{name}': {brief(error)}") from error
    if not callable(found):
        raise ConfigError(f"'{name}' is a {type(found).__name__}, no function of an episode")
    return cast(RuleFunction, found)


def _settings(function: RuleFunction, name: str, given: Mapping[str, str]) -> Any:
    """The rule's settings, those given and the defaults of others; None for a rule without any."""
    parameters = list(inspect.signature(function).parameters)[2:]
    kind = get_type_hints(function).get(parameters[0]) if parameters else None
    if isinstance(kind, type) and is_dataclass(kind):
        return settings_as(kind, given, f"the rule '{name}'")
    if given:
        raise ConfigError(f"the rule '{name}' has no settings; leave --set out")
    return None


def _version(function: RuleFunction, settings: Any) -> str:
    """A hash of the rule's source and its settings: the same rule says the same."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = repr(function)
    told = {} if settings is None else asdict(settings)
    told_text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.sha256((source + told_text).encode()).hexdigest()[:12]
