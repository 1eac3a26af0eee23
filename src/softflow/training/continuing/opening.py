"""How a run that is opened goes on: from its checkpoint, from another run's networks, or anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from softflow.data.fingerprints import fingerprints
from softflow.training.config import StageName
from softflow.training.continuing.history import read_history
from softflow.training.continuing.learned_data import ONLINE
from softflow.training.continuing.starting import Start
from softflow.training.hardware.devices import machine, moved
from softflow.training.provenance import unread_observations

if TYPE_CHECKING:
    from softflow.training.run import Run


def restore(run: Run, start: Start | None) -> StageName | None:
    """Bring the networks of a run to where they go on, and say so.

    Args:
        run: its learner is fresh.
        start: what a new run starts from; without meaning where the run has a checkpoint.

    Returns:
        The last stage that its networks had behind them elsewhere; None where they began here.

    Raises:
        CheckpointError: the checkpoint is damaged, or of other dimensions.
    """
    say, encoder = run.progress.say, run.config.model.encoder
    if unread := unread_observations(run.config, run.spec):
        read = f"it reads {', '.join(encoder.keys_among(run.spec.observation_shapes))} only"
        say(f"the policy is blind to {', '.join(unread)}: {read}")
    if run.files.restore(run.learner):
        # Labels may have come since: those of now are learned from.
        learned = len(run.files.facts.get(ONLINE, ()))
        run.online.fingerprints = fingerprints(run.online.store, range(learned))
        say(f"continuing from {run.position.stage}, update {run.position.update_step}")
        if told := moved(run.files.facts, machine(run.learner.device, run.ranks.count)):
            say(told)
        origin = read_history(run.folder).origin
        return origin.stage if origin else None
    if start is not None:
        start.load_into(run.learner)
        return start.progress.stage
    if encoder.warning:
        say(encoder.warning)
    return None
