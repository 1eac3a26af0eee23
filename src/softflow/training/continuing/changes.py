"""What differs between two configurations of a run, and whether it can go on with the other."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from softflow.training.config import STAGES, TrainingConfig
from softflow.training.continuing.history import Change
from softflow.training.files.progress import DEPLOYED
from softflow.training.run_folder import Position

FREE_TO_CHANGE = frozenset(
    {
        "stages",
        "unread_observations",
        "num_workers",
        "device",
        "rollout_device",
        "precision",
        "compile",
        "checkpoint_interval_s",
        "keep_checkpoints",
        "data.prefetch_workers",
        "data.cache_folder",
        "model.encoder.image.weights",
        "model.encoder.image.recompute",
    }
)
"""Settings that do not change what a run learns: they may differ without a word."""
STATED = frozenset(
    {
        "sampling_std",
        "execution_candidates",
        "rl_execution_candidates",
        "noise_std",
        "critic_noise_std",
        "tau",
        "weight_decay",
        "eval_episodes",
        "round_eval_episodes",
        "data",
    }
)
"""Settings that may be others from the next update on, in every stage."""
OF_DATA = frozenset(
    {
        "dataset",
        "dataset_episodes",
        "dataset_steps",
        "dataset_successes",
        "held_out_episodes",
    }
)
"""What config.json says of the data; their episodes are compared one by one beside this. Of new
ones some are held out, none that were learned from (`held_out_episodes`)."""
COUNT_ROUNDS = frozenset({"online_rl.num_updates", "online_rl.episodes_per_round"})


def flattened(value: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names; lists as JSON has them."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{where}.{key}".lstrip(".")
        if isinstance(item, Mapping):
            flat |= flattened(item, name)
        else:
            flat[name] = list(item) if isinstance(item, tuple) else item
    return flat


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """The settings that differ, of two flat dictionaries; those that are free are left out."""
    return [
        Change(name, before.get(name), now.get(name))
        for name in {**before, **now}
        if name not in FREE_TO_CHANGE and before.get(name) != now.get(name)
    ]


def in_words(change: Change) -> str:
    """A line for a message: both values."""
    return f"{change.what}: there {change.before!r}, now {change.now!r}"


def as_options(changes: Sequence[Change]) -> str:
    """What to add to a command, so that all is as it was; "" for another kind of networks.

    Another kind has other numbers, and wants to be named first.
    """
    if any(change.what.endswith(".kind") or change.before is None for change in changes):
        return ""
    words: list[str] = []
    for change in changes:
        value = change.before
        values = value if isinstance(value, list) else [value]
        name = change.what.replace("_", "-")
        if isinstance(value, bool):
            head, _, last = name.rpartition(".")
            words.append(f"--{name}" if value else f"--{head}.no-{last}")
        else:
            words.append(shlex.join([f"--{name}", *map(str, values)]))
    return " ".join(words)


def cannot_mean_anything(
    change: Change, position: Position, knows_data: bool, now: Mapping[str, Any]
) -> str:
    """Why a run at this position cannot go on with a change; "" where it can.

    Args:
        change: of a setting that is not free.
        position: where the run is.
        knows_data: whether its checkpoint says which episodes it has learned from.
        now: all settings of now, flat.
    """
    top = change.what.partition(".")[0]
    if change.what == "data.held_out":
        return "it has learned from what would be held out, or the other way round"
    if top in STATED or (change.what in OF_DATA and knows_data):
        return ""
    if top in STAGES:
        if top in (stage for stage in STAGES if position.is_past(stage)):
            return f"{top} is behind this run, which is in {position.stage}"
        begun = position.stage == "online_rl" and position.update_step > 0
        if change.what in COUNT_ROUNDS and begun:
            return "its rounds are counted by it"
        return _less_than_done(change, position, now)
    return {
        "model": "the networks are of that kind and size",
        "data_spec": "the networks and their normalisation belong to such data",
        "discount": "the critic's values are of that discount",
        "seed": "its batches and episodes are of that seed",
    }.get(top, "the run began with it")


def _less_than_done(change: Change, position: Position, now: Mapping[str, Any]) -> str:
    """Why a stage cannot be shorter than it is already; "" where it is not to be."""
    done = position.update_step
    if change.what == f"{position.stage}.num_updates":
        return f"{done:,} updates are done" if change.now < done else ""
    if change.what == f"{position.stage}.num_rounds":
        begun = math.ceil(done / max(now["online_rl.num_updates"], 1))
        return f"{begun:,} rounds have begun" if change.now < begun else ""
    return ""


def of_stages_to_come(change: Change, stages: Sequence[str], position: Position) -> bool:
    """Whether a setting is of a stage that this run was not asked for so far, and has not begun.

    Args:
        change: of a setting.
        stages: that the command before this one has asked for.
        position: where the run is.
    """
    stage = change.what.partition(".")[0]
    if stage not in STAGES or stage in stages:
        return False
    return STAGES.index(stage) > STAGES.index(position.stage)


def as_told(config: TrainingConfig, changes: Sequence[Change]) -> TrainingConfig:
    """The configuration of a checkpoint, with how the policy shall act from its next update on.

    Args:
        config: of the checkpoint.
        changes: that were told at its place.
    """
    return replace(config, **{one.what: one.now for one in changes if one.what in DEPLOYED})
