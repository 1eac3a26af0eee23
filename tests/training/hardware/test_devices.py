"""Any device: which one, nothing on the wrong one, no wait for it, and what bfloat16 may touch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import filmed_world
import jaxtyping
import numpy as np
import pytest
import torch
from learner_updates import CONFIG, BatchMaker, LearnerMaker, Update, actor, critic, imitation
from point_world import point_spec, tiny_config
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensorMode,
    unset_fake_temporarily,
)

from softflow.errors import ConfigError
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.models.policy import normal_like
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training import learner as learners
from softflow.training.config import DataConfig
from softflow.training.hardware.devices import acting_device, machine, moved, usable_device
from softflow.training.hardware.own_rows import OwnRows
from softflow.training.hardware.ranks import Ranks
from softflow.training.learner import Learner
from softflow.training.persistence import learner_parts, load_selector, restore_learner
from softflow.training.training_data import TrainingData
from softflow.training.updates.augmentation import AugmentationConfig
from softflow.training.updates.finite_watch import FiniteWatch
from softflow.training.updates.imitated_rows import ImitatedRows

UPDATES = [imitation, critic, actor]
GPU = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "filmed"
    return filmed_world.write_filmed(path, [True, True, False, True])


def move_to_a_gpu_that_is_not_there(learner: Learner) -> None:
    """In a FakeTensorMode: tensors have a device and a shape, and no numbers."""
    for network in (learner.policy, learner.critic, learner.target_critic):
        for module in network.modules():
            for name, weight in list(module._parameters.items()):
                if weight is not None:
                    there = torch.empty_like(weight, device=GPU)
                    module._parameters[name] = nn.Parameter(there, weight.requires_grad)
            for name, buffer in list(module._buffers.items()):
                if buffer is not None:
                    module._buffers[name] = torch.empty_like(buffer, device=GPU)
    learner.device, learner.watch = GPU, FiniteWatch(GPU)
    learner._followed = learner._pairs_for_polyak()
    learner.policy_optimizer = learner._adamw(learner.policy)
    learner.critic_optimizer = learner._adamw(learner.critic)


@pytest.mark.parametrize("update", UPDATES)
def test_an_update_on_a_gpu_mixes_no_devices_and_asks_for_nothing(
    make_learner: LearnerMaker,
    make_batch: BatchMaker,
    update: Update,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever would wait for the GPU has no answer here, and raises."""
    learner, batch = make_learner(), make_batch(num_online=3)
    rows = learners.imitated_rows

    def on_the_cpu(*arguments: Any) -> ImitatedRows:
        assert arguments[0].has_action.device.type == "cpu", "or asking for rows would wait"
        with unset_fake_temporarily():
            return rows(*arguments)

    def backward(loss: torch.Tensor) -> None:  # PyTorch's asks the driver for a stream
        for weight in (*learner.policy.parameters(), *learner.critic.parameters()):
            weight.grad = torch.zeros_like(weight)

    monkeypatch.setattr(learners, "imitated_rows", on_the_cpu)
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    with FakeTensorMode(allow_non_fake_inputs=True):
        move_to_a_gpu_that_is_not_there(learner)
        batch = learner.prepared(batch)
        assert batch.actions.device == GPU
        metrics = update(learner, batch)
        assert {value.device for value in metrics.values()} == {GPU}
        with pytest.raises(DataDependentOutputException):
            metrics["policy_grad_norm" if update is not critic else "q_data"].item()


def test_frames_are_prepared_on_a_gpu_without_asking_it(filmed: Path) -> None:
    """Moved, coloured, and through the frozen backbone."""
    how = AugmentationConfig(shift=4, colour_jitter=0.3)
    image = replace(filmed_world.DRAWN, finetune="frozen")
    config = filmed_world.filmed_config(image, data=DataConfig(augmentation=how))
    data = TrainingData(filmed, config)
    learner = Learner(config, data.inputs, data.value_support)
    batch = data.everything.gather(np.arange(4))
    with FakeTensorMode(allow_non_fake_inputs=True):
        move_to_a_gpu_that_is_not_there(learner)
        ready = learner.prepared(batch)
        for seen in (ready.observation, ready.next_observation):
            assert {value.device for value in seen.values()} == {GPU}
            assert seen[filmed_world.CAMERA].is_floating_point(), "these are features"


def test_a_run_of_a_cpu_goes_on_on_a_gpu(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    """Weights, moments and step counts of a checkpoint land where the networks are."""
    trained, other = make_learner(), make_learner()
    for update in UPDATES:
        update(trained, make_batch())
    parts = learner_parts(trained, point_spec(), {"stage": "offline_rl", "update_step": 1})
    with FakeTensorMode(allow_non_fake_inputs=True):
        move_to_a_gpu_that_is_not_there(other)
        restore_learner(other, parts, "here")
        for network in (other.policy, other.critic, other.target_critic):
            assert {value.device for value in network.state_dict().values()} == {GPU}
        for optimizer in (other.policy_optimizer, other.critic_optimizer):
            slots = [slot for slots in optimizer.state.values() for slot in slots.values()]
            assert slots
            assert {slot.device for slot in slots} == {GPU}


@pytest.mark.parametrize("rule", ["likelihood", "value"])
def test_a_decision_on_a_gpu_mixes_no_devices(
    make_learner: LearnerMaker, make_batch: BatchMaker, rule: Literal["likelihood", "value"]
) -> None:
    """Asked from the CPU, with a generator of the CPU, as workers do."""
    learner, batch, how = make_learner(), make_batch(), SelectionConfig(4, 0.7, rule)
    selector = ChunkSelector(learner.policy.eval(), learner.critic.eval(), how)
    # Without inference_mode, which has no fake tensors.
    decide = inspect.unwrap(ChunkSelector.__call__)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        move_to_a_gpu_that_is_not_there(learner)
        generator = torch.Generator().manual_seed(0)
        chosen = decide(selector, batch.observation, batch.prefix_actions, generator)
        assert chosen.device.type == "cpu"


@pytest.mark.parametrize("update", UPDATES)
def test_bf16_is_near_float32_and_leaves_weights_and_metrics_in_it(
    make_learner: LearnerMaker, make_batch: BatchMaker, update: Update
) -> None:
    """Losses agree to 2 %, gradients to 10 % of their norm."""
    exact, mixed = (make_learner(tiny_config(precision=p)) for p in ("float32", "bf16"))
    batch, losses, gradients = make_batch(), [], []
    for learner in (exact, mixed):
        torch.manual_seed(0)
        metrics = update(learner, batch)
        assert {value.dtype for value in metrics.values()} == {torch.float32}
        losses.append(torch.stack([metrics[n] for n in sorted(metrics) if "norm" not in n]))
        network = learner.critic if update is critic else learner.policy
        weights = list(network.parameters())
        assert {weight.dtype for weight in weights} == {torch.float32}
        gradients.append(torch.cat([w.grad.flatten() for w in weights if w.grad is not None]))
    assert not torch.equal(*gradients), "autocast did not act: nothing is tested"
    torch.testing.assert_close(losses[1], losses[0], rtol=0.02, atol=0.02)
    assert (gradients[1] - gradients[0]).norm() < 0.1 * gradients[0].norm()


def test_critic_logits_are_float32_under_autocast(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    learner, batch = make_learner(), make_batch()
    with torch.autocast("cpu", torch.bfloat16):
        tokens = learner.critic.encoder(batch.observation, batch.prefix_actions)
        logits = learner.critic(tokens, batch.actions[:, None])
        chunks = batch.actions[:, None, : learner.critic.num_read]
        assert learner.critic.members[0](tokens, chunks).dtype == torch.bfloat16
    assert logits.dtype == torch.float32


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Networks as users have them: a compiler need not read the checks of the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_shapes")
def test_compiled_networks_do_the_same_update(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    config = tiny_config(compile=True)
    plain, compiled = make_learner(), make_learner(config)
    assert compiled.compiled == ["CouplingNetwork", "TransformerCritic"]
    assert list(compiled.policy.state_dict()) == list(plain.policy.state_dict())
    still = replace(CONFIG.imitation, dropout=0.0)
    for learner in (plain, compiled):
        learner.set_up(still)
        torch.manual_seed(0)
        learner.imitation_update(make_batch())
    for ours, theirs in zip(compiled.policy.parameters(), plain.policy.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def test_compiling_without_a_compiler_is_told(
    make_learner: LearnerMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any) -> Any:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", nothing)
    with pytest.raises(ConfigError, match=r"--compile: nothing can be compiled .*no C\+\+ comp"):
        make_learner(tiny_config(compile=True))


def test_auto_is_what_there_is() -> None:
    assert usable_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert acting_device("auto", False) == "cpu"
    assert acting_device("auto", True) == str(usable_device("auto"))
    with pytest.raises(ConfigError, match="abacus"):
        acting_device("abacus", False)


def test_a_generator_of_the_cpu_draws_the_same_for_every_device() -> None:
    """Candidates of an episode do not depend on where the policy decides."""
    layer = nn.Linear(2, 2, device="meta")
    drawn = normal_like(layer, (3,), torch.Generator().manual_seed(0))
    assert drawn.device.type == "meta"


def test_a_policy_is_loaded_on_the_device_asked_for(tmp_path: Path, make_run: Any) -> None:
    run = make_run()
    checkpoint = run.save()
    selector, _ = load_selector(checkpoint, SelectionConfig(2, 0.7, "likelihood"), "meta")
    assert {p.device.type for p in selector.policy.parameters()} == {"meta"}


def test_a_run_that_moves_says_so() -> None:
    here = machine(torch.device("cpu"), 2)
    assert moved({}, here) == "", "a checkpoint of softflow 0.1 does not know"
    assert moved(here, here) == ""
    assert moved(machine(GPU, 1), here) == (
        "so far this run was on 1 x cuda, now on 2 x cpu: same batches, other random numbers"
    )


# ---- a real GPU ----------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use"
)


@needs_gpu
def test_an_update_of_a_gpu_is_that_of_a_cpu(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    """Nothing is random in it."""
    stage, taught = replace(CONFIG.imitation, dropout=0.0), []
    for device in ("cpu", "cuda"):
        learner = make_learner(tiny_config(device=device, noise_std=0.0))
        learner.set_up(stage)
        taught.append(learner.imitation_update(make_batch()))
    for name, value in taught[0].items():
        torch.testing.assert_close(taught[1][name].cpu(), value, rtol=1e-3, atol=1e-4)


@needs_gpu
def test_what_is_prepared_ahead_for_a_gpu_is_pinned(make_batch: BatchMaker) -> None:
    class Same:
        data_version = 0

        def batch(self, update_step: int) -> ChunkBatch:
            return make_batch()

    with OwnRows(Same(), Ranks().rows).ahead(0, 2, 1, GPU) as batches:
        assert batches.batch(0).actions.is_pinned()
