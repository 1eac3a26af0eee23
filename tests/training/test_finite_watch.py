"""An update never waits for its device, and yet no number that is not finite moves a weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learner_updates import (
    BatchMaker,
    LearnerMaker,
    Update,
    actor,
    critic,
    imitation,
    unchanged,
    weights,
)
from torch.utils._python_dispatch import TorchDispatchMode

from softflow.errors import NumericalError

WAITS = {"_local_scalar_dense", "is_nonzero", "equal", "item"}
"""What asks a device for a number."""


class Waits(TorchDispatchMode):
    """Collects the operations of the block that would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in WAITS:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def patient(make_learner: LearnerMaker) -> Any:
    """A learner that looks only when asked, as on a GPU."""
    learner = make_learner()
    learner.watch.tells_at_once = False
    return learner


@pytest.mark.parametrize("update", [imitation, critic, actor])
def test_an_update_waits_for_nothing(patient: Any, make_batch: BatchMaker, update: Update) -> None:
    update(patient, make_batch())
    with Waits() as waits:
        update(patient, make_batch())
    assert waits.seen == []
    with Waits() as waits:
        patient.watch.require()
    assert waits.seen, "the collector sees what waits"


@pytest.mark.parametrize("update", [imitation, critic, actor])
def test_everything_stands_still_from_the_first_fault_until_it_is_told(
    patient: Any, make_batch: BatchMaker, update: Update
) -> None:
    update(patient, make_batch())
    module = patient.critic if update is critic else patient.policy
    modules = (patient.policy, patient.critic, patient.target_critic)
    before = [weights(m) for m in modules]
    optimizers = (patient.policy_optimizer, patient.critic_optimizer)
    moments = [[v.clone() for s in o.state.values() for v in s.values()] for o in optimizers]
    hook = next(module.encoder.observation.parameters()).register_hook(lambda grad: grad / 0)
    update(patient, make_batch())
    hook.remove()
    for healthy in (imitation, critic, actor):
        healthy(patient, make_batch())
    assert all(unchanged(m, b) for m, b in zip(modules, before, strict=True))
    after = [[v for s in o.state.values() for v in s.values()] for o in optimizers]
    torch.testing.assert_close([a[: len(m)] for a, m in zip(after, moments, strict=True)], moments)
    name = "critic" if update is critic else "policy"
    with pytest.raises(NumericalError, match=f"the gradient of the {name} is (nan|inf)"):
        patient.watch.require()


def test_the_first_fault_is_told(patient: Any, make_batch: BatchMaker) -> None:
    watch, fine = patient.watch, torch.tensor(1.0)
    watch.note("policy", fine, fine)
    watch.require()
    watch.note("critic", torch.tensor(float("nan")), fine)
    watch.note("policy", torch.tensor(float("inf")), fine)
    with pytest.raises(NumericalError, match="the critic loss is nan"):
        watch.require()
