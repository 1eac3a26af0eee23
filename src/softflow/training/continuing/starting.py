"""A new run that starts from another run's networks: `softflow train --from RUN`.

Its policy and, where it has learned, its critic come along, with their optimisers' moments and
what they keep of their data. The new run saves them as its first checkpoint and needs no other.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, StoreError
from softflow.models.checkpoint import (
    MANIFEST,
    CheckpointParts,
    last_checkpoint,
    read_checkpoint,
    read_pretrained,
    stands_alone,
)
from softflow.models.images.sharing import frozen_backbones
from softflow.training.config import TrainingConfig
from softflow.training.continuing.changes import as_options, differences, flattened, in_words
from softflow.training.continuing.history import Origin, now_utc, read_history
from softflow.training.continuing.kept import Kept, kept_of
from softflow.training.files.progress import Progress, progress_of, read_progress
from softflow.training.learner import Learner
from softflow.training.persistence import (
    POLICY,
    config_to_json,
    load_critic,
    load_policy,
    policy_facts,
)
from softflow.utils.files import read_object, real_path, sha256_of
from softflow.utils.machine import softflow_version


@dataclass(frozen=True)
class Start:
    """The networks that a new run starts from.

    Attributes:
        given: as the user named them; place: the checkpoint, or the `pretrained_model/` alone.
        parts: what was read of it; progress: how far it had come.
        critic: whether its critic comes along; kept: what the networks keep of their data.
    """

    given: str
    place: Path
    parts: CheckpointParts
    progress: Progress
    critic: bool
    kept: Kept

    def load_into(self, learner: Learner) -> None:
        """Give a fresh learner these networks.

        Raises:
            CheckpointError: they are of other dimensions.
            ConfigError: pretrained weights for the cameras of a new critic are not there.
        """
        where = self.parts.where
        load_policy(learner, self.parts, where, moments=not stands_alone(self.place))
        learner.policy.take_in_correction()
        if self.critic:
            load_critic(learner, self.parts, where)
            for critic in (learner.critic, learner.target_critic):
                if critic.editor is not None:  # of another place: its edits grow from nothing again
                    critic.editor.strength.zero_()
        elif not frozen_backbones(learner.critic.encoder):  # else it looks through the policy's
            learner.critic.encoder.observation.load_pretrained()
            learner.target_critic.load_state_dict(learner.critic.state_dict())

    def origin(self, spec: DataSpec, notes: list[str]) -> Origin:
        """What the new run's history says of it; `spec`: of the new data."""
        _, theirs, _ = policy_facts(self.parts)
        other = [f"there and here, {line}" for line in theirs.differences(spec)]
        corrected = self.parts.weights(POLICY).get("correction")
        if corrected is not None and bool(corrected.any()):
            other.append(
                "its online rounds have corrected its actions; it acts as it did, and takes these "
                "data for recordings of the place where it acts"
            )
        trained_by = ""
        with suppress(StoreError):
            versions = read_object(self.place.parent.parent / "versions.json")
            trained_by = str(versions.get("softflow", ""))
        return Origin(
            given=self.given,
            checkpoint=self.place.name,
            stage=self.progress.stage,
            update_step=self.progress.update_step,
            sha256=sha256_of(self.place / MANIFEST),
            critic=self.critic,
            trained_by=trained_by,
            time=now_utc(),
            softflow=softflow_version(),
            notes=(*other, *notes),
        )


def read_start(given: str, place: Path, *, with_critic: bool = True) -> Start:
    """The networks of a checkpoint, or of a `pretrained_model/` that stands alone.

    Args:
        given: as the user named it; place: what that means.
        with_critic: take its critic along, where that has learned.

    Raises:
        CheckpointError: it is damaged or of another version.
    """
    if alone := stands_alone(place):
        parts = read_pretrained(place)
        progress = progress_of(parts)
    else:
        parts, progress = read_checkpoint(place), read_progress(place)
    critic = with_critic and progress.critic_is_trained and not alone
    return Start(given, place, parts, progress, critic, kept_of(parts, critic=critic))


def require_start_fits(start: Start, config: TrainingConfig, spec: DataSpec) -> None:
    """Raise unless a run of this configuration, on such data, can start from these networks.

    Raises:
        ConfigError: names each size, length, key or kind that differs.
    """
    config_there, spec_there, _ = policy_facts(start.parts)
    there, now = ({"model": config_to_json(one.model)} for one in (config_there, config))
    changes = [
        change
        for change in differences(flattened(there), flattened(now))
        if start.critic or not change.what.startswith("model.critic.")
    ]
    lines = [in_words(change) for change in changes]
    if start.critic and config_there.discount != config.discount:
        lines.append(
            f"discount: there {config_there.discount}, now {config.discount}: the values of its "
            "critic are of that discount; leave the critic there (--no-from-critic)"
        )
    other_data = _of_other_data(spec_there, spec)
    if not (lines or other_data):
        return
    fixes = ["the preset and the numbers that it was trained with (its config.json says them)"]
    fixes = fixes * bool(lines) + ["data with the same keys"] * bool(other_data)
    if options := as_options(changes):
        fixes[0] += f": {options}"
    raise ConfigError(
        f"this run cannot start from '{start.given}':\n  "
        + "\n  ".join(lines + other_data)
        + f"\nGive {', and '.join(fixes)}, or train from the beginning without --from."
    )


def _of_other_data(there: DataSpec, now: DataSpec) -> list[str]:
    """Keys and sizes that networks cannot do without; bounds, names, rates are told instead."""
    renamed = there.renamed(now)
    lines = [f"what is '{old}' there seems to be '{new}' now" for old, new in renamed.items()]
    lines += [
        f"{key}: there {list(old) if old else 'missing'}, now {list(new) if new else 'missing'}"
        for key in sorted(there.observation_shapes.keys() | now.observation_shapes.keys())
        if (old := there.observation_shapes.get(key)) != (new := now.observation_shapes.get(key))
        and key not in {*renamed, *renamed.values()}
    ]
    if there.action_dim != now.action_dim:
        lines.append(f"components of an action: there {there.action_dim}, now {now.action_dim}")
    return lines


def require_same_start(run: Path, given: str) -> bool:
    """Whether a run is there already, which then has started from what the user names.

    Raises:
        ConfigError: it has started from something else.
        StoreError: its history is damaged.
    """
    if last_checkpoint(run / "checkpoints") is None:
        return False
    origin = read_history(run).origin
    if origin is None or real_path(Path(origin.given)) != real_path(Path(given)):
        began = f"from '{origin.given}'" if origin else "from the beginning"
        raise ConfigError(
            f"{run} holds a run already, which started {began}, not from '{given}'; choose another "
            "--run folder for a new one, or leave --from out to continue it"
        )
    return True
