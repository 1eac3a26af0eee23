"""Labels for many episodes at once: from a table, by a rule, or taken back.

Everything is planned and checked first, and then written beside the episodes, whose files stay as
they are. See `softflow.data.labels` for what a label does.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from softflow.curation.conditions import Condition
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import EpisodeSummary
from softflow.data.labels import Event, Label
from softflow.errors import DataError
from softflow.utils.files import read_json, require_regular

MAX_DIGITS = 15
COLUMNS = ("episode", "step", "kind", "value", "annotator")
NOTHING = "none"
"""The kind of a row that says: looked at, nothing happened."""

OnWritten = Callable[[int], None]
"""Called with the number of labels written."""
LastStep = Callable[[int], int]
"""The last recorded control step of an episode, by its index."""


@dataclass(frozen=True)
class Change:
    """A label about to be written.

    Args:
        index: the episode.
        label: its new label.
        before, after: what is known of the episode without and with it.
    """

    index: int
    label: Label
    before: EpisodeSummary
    after: EpisodeSummary

    def __str__(self) -> str:
        return f"episode {self.index}: {_outcome(self.before)} -> {_outcome(self.after)}"


def _outcome(summary: EpisodeSummary) -> str:
    ending = "success" if summary.success else "failure" if summary.terminated else "no success"
    by = (
        f", by {summary.metadata['annotator']}" if "annotator" in summary.metadata else ", recorded"
    )
    return f"{ending}, {summary.length} steps, return {summary.return_:.4g}{by}"


def plan(store: EpisodeStore, labels: Mapping[int, Label]) -> list[Change]:
    """What labels would change; those that say what the newest one says already are left out.

    Args:
        store: open for reading or writing.
        labels: episode index → its new label.

    Raises:
        DataError: no such episode, or an event behind an episode's end; nothing is written.
        StoreError: an episode cannot be read.
    """
    changes: list[Change] = []
    for index, label in sorted(labels.items()):
        if not 0 <= index < len(store):
            raise DataError(
                f"the labels name episode {index}; '{store.path}' holds {len(store)}, numbered "
                "from 0"
            )
        history = store.labels(index)
        if history and _says(history[-1]) == _says(label):
            continue
        recorded = store.summary(index, labelled=False)
        label.rewards(recorded.length, f"episode {index}")
        after = label.summarised(recorded)
        changes.append(Change(index, label, store.summary(index), after))
    return changes


def _says(label: Label) -> tuple[Any, ...]:
    return label.annotator, label.events, label.withdrawn


def write_changes(
    store: EpisodeStore, changes: Sequence[Change], on_written: OnWritten = lambda done: None
) -> None:
    """Write planned labels; each is on the disk, whole, before the next.

    Args:
        store: what they were planned for.
        changes: what `plan` made.
        on_written: called with the number of labels that are safely there.

    Raises:
        StoreError: the disk refuses; the same plan can be made again, and holds what is missing.
    """
    for done, change in enumerate(changes, 1):
        store.label(change.index, change.label)
        on_written(done)


def labels_by_rule(
    store: EpisodeStore,
    indices: Iterable[int],
    annotator: str,
    *,
    success_when: Condition | None = None,
    failure_when: Condition | None = None,
    hold_s: float = 0.0,
    reward: float = 1.0,
) -> dict[int, Label]:
    """A label for each episode from what was recorded.

    The episode ends at the first step by which a condition has held for `hold_s`: with success and
    `reward`, or with failure, whichever is first (both at once: failure). An episode in which
    neither comes true gets a label without events: no reward, no success, and its recorded end.

    Args:
        store: where the episodes are.
        indices: the episodes to label.
        annotator: name of the rule.
        success_when, failure_when: at least one of them.
        hold_s: seconds; 0 asks for a single step.
        reward: of the step of success.

    Raises:
        DataError: no condition at all, or `hold_s` or `reward` is not usable.
        StoreError: an episode cannot be read.
    """
    if success_when is None and failure_when is None:
        raise DataError("a rule needs a condition, such as observation.state[3]>0.5")
    if not (math.isfinite(hold_s) and hold_s >= 0 and math.isfinite(reward)):
        raise DataError(f"hold_s is {hold_s} and reward {reward}; give finite numbers, hold_s >= 0")
    hold_steps = max(1, math.ceil(hold_s * store.spec.control_hz - 1e-9))
    labels: dict[int, Label] = {}
    for index in indices:
        episode = store.episode(index, with_images=False, labelled=False)
        ends = {
            kind: condition.first_step(episode, hold_steps)
            for kind, condition in (("success", success_when), ("failure", failure_when))
            if condition is not None
        }
        success, failure = ends.get("success"), ends.get("failure")
        events: tuple[Event, ...] = ()
        if failure is not None and (success is None or failure <= success):
            events = (Event(failure, "failure"),)
        elif success is not None:
            events = (Event(success, "success", reward),)
        labels[index] = Label(annotator, events)
    return labels


def last_step_of(store: EpisodeStore) -> LastStep:
    """The last recorded control step of each episode; raises StoreError if there is no such one."""
    return lambda index: store.summary(index, labelled=False).length - 1


def successes_at_end(
    store: EpisodeStore, indices: Iterable[int], annotator: str, reward: float = 1.0
) -> dict[int, Label]:
    """For each episode a label that it succeeded with its last step, as demonstrations do.

    Raises:
        DataError: there is no annotator, or the reward is not finite.
        StoreError: an episode cannot be read.
    """
    last = last_step_of(store)
    return {i: Label(annotator, (Event(last(i), "success", reward),)) for i in indices}


def labels_without(store: EpisodeStore, indices: Iterable[int], annotator: str) -> dict[int, Label]:
    """Labels that take back what one annotator said, where that counts now.

    The newest label by somebody else counts again; without one, the recording does.

    Raises:
        DataError: no episode has a newest label by this annotator; says whose there are.
        StoreError: a label cannot be read.
    """
    labels: dict[int, Label] = {}
    others: set[str] = set()
    for index in indices:
        history = store.labels(index)
        if not history or history[-1].annotator != annotator:
            others |= {label.annotator for label in history[-1:] if not label.withdrawn}
            continue
        kept = [label for label in _standing(history) if label.annotator != annotator]
        by = f"softflow data relabel --undo {annotator}"
        # Said again, so that the newest label counts as ever.
        labels[index] = replace(kept[-1], created="") if kept else Label(by, (), withdrawn=True)
    if not labels:
        known = f"labels that count are by {', '.join(sorted(others))}" if others else "none counts"
        raise DataError(f"no label by '{annotator}' counts in '{store.path}'; {known}")
    return labels


def _standing(history: Iterable[Label]) -> list[Label]:
    """A history without what was undone: a label said again takes back those after its first."""
    standing: list[Label] = []
    for label in history:
        said = [_says(other) for other in standing]
        if _says(label) in said:
            del standing[said.index(_says(label)) :]
        standing.append(label)
    return standing


def withdrawn_labels(
    store: EpisodeStore, indices: Iterable[int], annotator: str
) -> dict[int, Label]:
    """For each labelled episode a label that takes the others back: the recording counts again."""
    return {
        index: Label(annotator, (), withdrawn=True)
        for index in indices
        if (history := store.labels(index)) and not history[-1].withdrawn
    }


def read_label_table(
    path: Path, annotator: str = "", last_step: LastStep | None = None
) -> dict[int, Label]:
    """Labels from a table with the columns `COLUMNS`, one event a row.

    A `.json` file holds a list of objects, any other file is CSV with a header. `kind` is success
    (value 1 unless given), failure (0), reward (must be given) or none: looked at, nothing
    happened. Rows of one episode become one label. A success without a step is one at the end.

    Args:
        path: the table.
        annotator: of rows that name none.
        last_step: where episodes end; without it every success needs its step.

    Raises:
        DataError: a row cannot be used; names it.
        StoreError: the file cannot be read.
    """
    events: dict[int, list[Event]] = {}
    annotators: dict[int, str] = {}
    for number, row in enumerate(_rows(path), start=1):
        where = f"'{path}', row {number}"
        index, event = _event(row, where, last_step)
        events.setdefault(index, []).extend([event] if event else [])
        name = str(row.get("annotator") or annotator)
        if annotators.setdefault(index, name) != name:
            raise DataError(
                f"{where}: episode {index} has rows by '{annotators[index]}' and by '{name}'; "
                "one label has one annotator, put them in two files"
            )
    return {index: Label(annotators[index], tuple(events[index])) for index in events}


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    if path.suffix == ".json":
        rows = read_json(path)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DataError(f"'{path}' is not a list of objects with the fields {list(COLUMNS)}")
    else:
        require_regular(path)
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"cannot read the labels '{path}': {error}; give a CSV file") from error
    if not rows:
        raise DataError(f"'{path}' holds no rows below its header {','.join(COLUMNS)}")
    for number, row in enumerate(rows, start=1):
        unknown = sorted(str(key) for key in row.keys() - set(COLUMNS))
        if unknown or "episode" not in row or "kind" not in row:
            raise DataError(
                f"'{path}', row {number}, has the columns {', '.join(map(str, row))}; needed are "
                f"episode and kind, known {', '.join(COLUMNS)}"
            )
    return rows


def _event(
    row: Mapping[str, Any], where: str, last_step: LastStep | None
) -> tuple[int, Event | None]:
    """The episode of a row, and what happened."""
    kind = str(row["kind"] or NOTHING).strip()
    index = _whole(row["episode"], "episode", where)
    value = row.get("value")
    told = value not in (None, "")
    if kind == NOTHING:
        if told or row.get("step") not in (None, ""):
            raise DataError(f"{where}: kind '{NOTHING}' has neither step nor value; leave them out")
        return index, None
    if kind == "reward" and not told:
        raise DataError(f"{where}: a reward needs a value")
    try:
        number = float(value) if told else float(kind == "success")  # type: ignore[arg-type]
        return index, Event(_step(row, index, where, last_step), kind, number)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{where}: value {value!r:.60} is no number") from error
    except DataError as error:
        raise DataError(f"{where}: {str(error).removeprefix(where + ': ')}") from error


def _step(row: Mapping[str, Any], index: int, where: str, last_step: LastStep | None) -> int:
    """The step of a row; of a success that names none, the last of the episode."""
    kind, step = str(row["kind"]).strip(), row.get("step")
    if step not in (None, "") or kind not in ("success", "failure"):
        return _whole(step, "step", where)
    if kind == "failure":
        raise DataError(
            f"{where}: a failure ends the episode and needs its step; '{NOTHING}' says that there "
            "was no success, and keeps the end that was recorded"
        )
    return _whole(step, "step", where) if last_step is None else last_step(index)


def _whole(value: Any, name: str, where: str) -> int:
    """A whole number >= 0, also one that was written as text."""
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise DataError(f"{where}: {name} is {value!r:.60}; give a whole number from 0")
    return int(text)
