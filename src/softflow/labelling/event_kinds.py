"""Which kinds of events a data set knows: declared once, in a TOML file beside its episodes.

    # DATASET/event_kinds.toml
    [[event]]
    name = "retrieved"
    reward = 1.0
    key = "1"
    [[event]]
    name = "cut"
    reward = 1.0
    ends = true
    success = true
    key = "2"

The paper's tasks are ready: the scissors (V-B: +1 retrieved, +1 tape cut) and the cube in the hand
(V-C: +1 for each 90 degrees, until it drops).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from softflow.data.labels import (
    EVENT_KINDS_FILE,
    MAX_NAME_LETTERS,
    MAX_REWARD,
    Event,
    Label,
    LabelledKind,
)
from softflow.data.task_profile import is_plain_name
from softflow.errors import ConfigError, DataError
from softflow.robot.toml_file import read_toml
from softflow.utils.files import is_there, write_bytes

FILE_NAME = EVENT_KINDS_FILE
PAGE = "docs/labelling.md"
MAX_KINDS = 24
RESERVED_KEYS = frozenset("aejknopxz")
"""Letters that the page itself needs: see its help."""


class EventDeclaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of event that a person may mark.

    Attributes:
        name: lower case, digits, underscores.
        reward: of the step in which it happens, each time.
        repeats: whether it may happen more than once in an episode.
        ends: whether the episode is over then.
        success: whether it has reached the goal then; only together with `ends`.
        key: the digit or letter that marks it; "" for none.
        help: what it looks like, for annotators.

    Raises:
        ConfigError: a field is unusable.
    """

    name: str
    reward: float = 0.0
    repeats: bool = False
    ends: bool = False
    success: bool = False
    key: Annotated[str, msgspec.Meta(max_length=1)] = ""
    help: Annotated[str, msgspec.Meta(max_length=200)] = ""

    def __post_init__(self) -> None:
        if not (is_plain_name(self.name) and len(self.name) <= MAX_NAME_LETTERS):
            raise ConfigError(
                f"event {self.name!r:.80}: a name has at most {MAX_NAME_LETTERS} lower-case "
                "letters, digits and underscores, a letter in front"
            )
        if not abs(self.reward) <= MAX_REWARD:
            raise ConfigError(f"event '{self.name}' has reward {self.reward}; give a finite one")
        if self.success and not self.ends:
            raise ConfigError(f"event '{self.name}' is a success: it ends the episode, ends = true")
        if self.ends and self.repeats:
            raise ConfigError(f"event '{self.name}' ends the episode, so it cannot repeat")
        self._check_key()

    def _check_key(self) -> None:
        if not self.key:
            return
        if not (self.key.isascii() and self.key.isalnum() and self.key == self.key.lower()):
            raise ConfigError(f"event '{self.name}' has key {self.key!r}; give a digit or a-z")
        if self.key in RESERVED_KEYS:
            taken = " ".join(sorted(RESERVED_KEYS))
            raise ConfigError(
                f"event '{self.name}' has key '{self.key}', which the page needs; free are digits "
                f"and all letters but {taken}"
            )

    @property
    def kind(self) -> LabelledKind:
        """What it is in a label."""
        if not self.ends:
            return "reward"
        return "success" if self.success else "failure"

    def at(self, step: int) -> Event:
        """That it happened, brought about by the action of a control step."""
        return Event(step, self.kind, self.reward, self.name)


class EventKinds(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"kinds": "event"}
):
    """All kinds of a data set.

    Attributes:
        kinds: in the order in which they are shown.

    Raises:
        ConfigError: a name or a key is used twice.
    """

    kinds: Annotated[tuple[EventDeclaration, ...], msgspec.Meta(min_length=1, max_length=MAX_KINDS)]

    def __post_init__(self) -> None:
        _require_unique((kind.name for kind in self.kinds), "name")
        _require_unique((kind.key for kind in self.kinds if kind.key), "key")

    def named(self, name: str) -> EventDeclaration:
        """The kind of that name.

        Raises:
            DataError: none is declared; names those that are.
        """
        for kind in self.kinds:
            if kind.name == name:
                return kind
        known = ", ".join(kind.name for kind in self.kinds)
        raise DataError(f"event {name!r:.80} is not declared in {FILE_NAME}; known are {known}")

    def require_fit(self, label: Label) -> None:
        """Raise unless the named events of a label are as declared; events without names may be.

        Raises:
            DataError: one is not declared, has another reward or kind, or happens twice though it
                does not repeat.
        """
        seen: set[str] = set()
        for event in label.events:
            if not event.name:
                continue
            declared = self.named(event.name)
            if declared.at(event.step) != event:
                raise DataError(
                    f"event '{event.name}' at step {event.step} is a {event.kind} of "
                    f"{event.value:g}; declared is a {declared.kind} of {declared.reward:g}"
                )
            if event.name in seen and not declared.repeats:
                raise DataError(
                    f"event '{event.name}' happens again at step {event.step}; it is declared to "
                    "happen once (repeats = false)"
                )
            seen.add(event.name)


def _require_unique(values: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise ConfigError(f"two kinds of events have the {what} '{value}'; give each its own")
        seen.add(value)


_DROPPED = EventDeclaration("dropped", ends=True, key="d", help="it fell, and nobody can go on")
READY_MADE = {
    "success": EventKinds(
        (
            EventDeclaration("reward", 1.0, repeats=True, key="1", help="a step towards the goal"),
            EventDeclaration(
                "success", 1.0, ends=True, success=True, key="s", help="the goal is reached"
            ),
            EventDeclaration("failure", ends=True, key="f", help="it can no longer succeed"),
            _DROPPED,
        )
    ),
    "scissors": EventKinds(
        (
            EventDeclaration(
                "retrieved", 1.0, key="1", help="the scissors are out of their holder"
            ),
            EventDeclaration(
                "cut", 1.0, ends=True, success=True, key="2", help="the tape is cut through"
            ),
            _DROPPED,
            EventDeclaration("failure", ends=True, key="f", help="it can no longer succeed"),
        )
    ),
    "cube": EventKinds(
        (
            EventDeclaration(
                "rotated", 1.0, repeats=True, key="1", help="the cube has turned by 90°"
            ),
            _DROPPED,
            EventDeclaration("failure", ends=True, key="f", help="it can no longer go on"),
        )
    ),
}
"""Of any task with a goal, and of the paper's two."""
DEFAULT = "success"


def read_event_kinds(store: Path) -> EventKinds:
    """What a data set declares; the set "success" if it declares nothing.

    Raises:
        ConfigError: a field of the file is unusable; names it.
        StoreError: the file cannot be read, or is no TOML.
    """
    path = store / FILE_NAME
    return read_kinds_file(path) if is_there(path) else READY_MADE[DEFAULT]


def read_kinds_file(path: Path) -> EventKinds:
    """The kinds in a TOML file; raises as `read_event_kinds`."""
    return read_toml(path, EventKinds, "the kinds of events", PAGE)


def write_event_kinds(store: Path, kinds: EventKinds) -> Path:
    """Declare what a data set knows, whole or not at all; labels that are there stay.

    Raises:
        StoreError: the disk refuses.
    """
    path = store / FILE_NAME
    write_bytes(path, _toml(kinds.kinds).encode())
    return path


def _toml(kinds: Sequence[EventDeclaration]) -> str:
    """As text; strings and numbers of JSON are those of TOML."""
    lines = [f"# What may happen in an episode; {PAGE} explains the fields."]
    for kind in kinds:
        told = {name: value for name, value in msgspec.to_builtins(kind).items() if value != ""}
        lines += ["", "[[event]]"]
        lines += [
            f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in told.items()
        ]
    return "\n".join(lines) + "\n"
