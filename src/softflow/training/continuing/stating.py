"""What a run says, and keeps in its history, when it goes on with something changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from softflow.data.data_spec import DataSpec
from softflow.training.config import STAGES, StageName
from softflow.training.continuing.changes import (
    STATED,
    as_options,
    differences,
    flattened,
    of_stages_to_come,
)
from softflow.training.continuing.history import (
    Change,
    Continuation,
    History,
    Origin,
    history_file,
    now_utc,
    read_history,
    write_history,
)
from softflow.training.continuing.learned_data import ChangedData, changed_data, position_in
from softflow.training.continuing.starting import Start
from softflow.training.planned_work import EVALUATE, planned_work
from softflow.training.provenance import learned_from, with_earlier_weights
from softflow.training.run import Run
from softflow.utils.machine import softflow_version

_MEASURED = ("eval_episodes", "round_eval_episodes")
_NOTHING_LEFT = (
    "no update is left, so none of this counts yet: the policy stays, and acts, as it did"
)
_CHOSEN_ANEW = (
    "labels decide which demonstrations are held out: they are chosen anew, and some may have been "
    "learned from"
)


def state(run: Run, identity: Mapping[str, Any], start: Start | None = None) -> None:
    """Keep in a run's history, and say, what it starts from or goes on otherwise with.

    Args:
        run: opened, so that its folder is locked; before `write_identity`.
        identity: `identity_of` the command.
        start: what a new run starts from.

    Raises:
        StoreError: the history is damaged, or the disk refuses.
    """
    folder, data = run.folder, run.data
    if there := learned_from(folder):
        changed = changed_data(folder, data.store, run.online.store, data.fingerprints)
        now = with_earlier_weights(identity, there)
        lines = state_changes(folder, there, now, changed, data.outside)
        lines += [_NOTHING_LEFT] if lines and not _is_left(run, identity["stages"]) else []
    else:
        lines = state_start(folder, start, run.spec, data.outside() if start else [])
    for line in lines:
        run.progress.say(line)


def _is_left(run: Run, stages: Sequence[StageName]) -> bool:
    """Whether any update is ahead, or an episode to be collected."""
    work = planned_work(run.config, stages, run.position, len(run.online))
    return any(units > 0 for kind, units in work.items() if kind != EVALUATE)


def state_start(run: Path, start: Start | None, spec: DataSpec, outside: list[str]) -> list[str]:
    """Begin the history of a run that has no checkpoint yet; the lines to say.

    Raises:
        StoreError: the disk refuses.
    """
    if start is None:  # what a run left that was killed before its first checkpoint
        history_file(run).unlink(missing_ok=True)
        return []
    origin = start.origin(spec, outside)
    write_history(run, History(origin))
    return [_begun(origin), *(f"  {note}" for note in origin.notes)]


def _begun(origin: Origin) -> str:
    networks = "policy and critic" if origin.critic else "policy"
    return (
        f"starting from '{origin.given}': {networks} of {origin.stage}, update "
        f"{origin.update_step:,}; its normalisation is kept"
    )


def state_changes(
    run: Path,
    there: Mapping[str, Any],
    now: Mapping[str, Any],
    changed: ChangedData,
    outside: Callable[[], list[str]],
) -> list[str]:
    """Add what has changed since the last checkpoint to the history of a run; the lines to say.

    What the history tells of this very place is not told again: the checkpoint may be from before.

    Args:
        run: the run folder, locked.
        there: `learned_from` the run; now: `identity_of` the command, with which it may go on.
        changed: in its episodes.
        outside: what of the data lies outside of what the networks keep.

    Raises:
        StoreError: the history is damaged, or the disk refuses.
    """
    position = position_in(run)
    if position is None:
        return []
    history = read_history(run)
    before = flattened({**now, **there}) | {one.what: one.before for one in changed.contents}
    for change in history.at(position.stage, position.update_step):
        before[change.what] = change.now
    after = flattened(now) | {one.what: one.now for one in changed.contents}
    stages = there.get("stages", STAGES)
    # What went with an older checkpoint's facts is no change.
    found = [
        one
        for one in differences(before, after)
        if not _is_unknown(one, changed) and not of_stages_to_come(one, stages, position)
    ]
    if not found:
        return []
    notes = _notes(found, changed, outside)
    place = (position.stage, position.update_step)
    entry = Continuation(*place, now_utc(), softflow_version(), tuple(found), tuple(notes))
    write_history(run, History(history.origin, (*history.continuations, entry)))
    return _in_words(entry) + _way_back(entry.changes, history)


def _is_unknown(change: Change, changed: ChangedData) -> bool:
    """Whether nobody knows what the content of a store is now."""
    known = {one.what for one in changed.contents}
    return change.what.endswith("_content") and change.what not in known


def _notes(
    found: Sequence[Change], changed: ChangedData, outside: Callable[[], list[str]]
) -> list[str]:
    if not any(change.what.endswith("_content") for change in found):
        return []
    anew = [_CHOSEN_ANEW] if changed.relabelled else []
    return [*changed.grown, *anew, *outside()]


def _way_back(changes: Sequence[Change], history: History) -> list[str]:
    """The options that undo these changes: one that was forgotten looks like one that changed."""
    settings = [one for one in changes if _has_option(one)]
    told = [(one.what, one.before) for entry in history.continuations for one in entry.changes]
    taken_back = [one.what for one in settings if (one.what, one.now) in told]
    lines: list[str] = []
    if taken_back:
        lines.append(f"  careful: this takes back what the run was told ({', '.join(taken_back)})")
    if options := as_options(settings):
        lines.append(f"  to go on as before, add: {options}")
    return lines


def _has_option(change: Change) -> bool:
    """Whether it is a setting that may have been forgotten: not data, nor more updates."""
    top, _, name = change.what.partition(".")
    if top not in (*STATED, *STAGES) or change.before is None or name.startswith("weights."):
        return False
    return name not in ("num_updates", "num_rounds") or change.now < change.before


def _in_words(entry: Continuation) -> list[str]:
    lines = [
        f"goes on otherwise from {entry.stage}, update {entry.update_step:,}, on; history.json "
        "keeps this:"
    ]
    for change in entry.changes:
        if change.what == "held_out_episodes":
            lines.append(f"  {len(change.now or [])} successful episodes are held out now")
        elif not change.what.endswith("_content"):
            lines.append(f"  {change.what} is now {change.now}, before {change.before}")
    if any(change.what in _MEASURED for change in entry.changes):
        lines.append(
            "  what is measured already stays; `softflow evaluate` measures a checkpoint again"
        )
    return lines + [f"  {note}" for note in entry.notes]
