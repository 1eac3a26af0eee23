"""The editor learns to raise values, nothing else learns by it, and a run keeps it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from learner_updates import BatchMaker, LearnerMaker, critic, unchanged, weights
from point_world import LocalPool, tiny_config
from runs_compared import metric_rows

from softflow.models.critics.chunk_editor import GROWS_OVER, ChunkEditor
from softflow.models.critics.mlp_critic import MlpCriticConfig
from softflow.training.learner import Learner
from softflow.training.losses import editor_loss
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.training.updates.normalised_rows import normalised
from softflow.utils.progress import SilentProgress

CRITIC = MlpCriticConfig(hidden_dim=16, learns="squared_error", edit_scale=0.3)
EDITING = tiny_config(model=replace(tiny_config().model, critic=CRITIC))


def with_editors(make_learner: LearnerMaker, strength: float) -> tuple[Learner, list[ChunkEditor]]:
    """A learner, and the editors of its critic and target critic, grown so far."""
    learner = make_learner(EDITING)
    editors = [one.editor for one in (learner.critic, learner.target_critic) if one.editor]
    for editor in editors:
        editor.strength.fill_(strength)
    return learner, editors


def test_editor_loss_by_hand() -> None:
    q = torch.tensor([1.0, 3.0], requires_grad=True)
    log_prob = torch.tensor([-1.0, 2.0], requires_grad=True)
    log_weight = torch.tensor(math.log(0.5), requires_grad=True)
    loss, metrics = editor_loss(q, log_prob, log_weight, -4.0)
    # Edits: (0.5 · -1 - 1 + 0.5 · 2 - 3) / 2 = -1.75; balance: -0.5 · (0.5 - 4) = 1.75.
    assert loss.item() == pytest.approx(0.0)
    loss.backward()
    assert q.grad is not None
    assert q.grad.tolist() == pytest.approx([-0.5, -0.5])
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == pytest.approx([0.25, 0.25])
    # Entropy is -0.5, above its aim of -4: the weight falls, by -0.5 · (0.5 - 4) a unit.
    assert log_weight.grad is not None
    assert log_weight.grad.item() == pytest.approx(1.75)
    told = {name: value.item() for name, value in metrics.items()}
    assert told == pytest.approx({"q_edited": 2.0, "edit_entropy": -0.5, "edit_weight": 0.5})


def test_the_editor_raises_values_and_nothing_else_learns_by_it(
    make_learner: LearnerMaker, make_batch: BatchMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a critic that wants the first action's first component large, and nothing else."""
    (learner, (editor, target)), batch = with_editors(make_learner, 1.0), make_batch()
    learner.set_up(replace(EDITING.online_rl, learning_rate=3e-3))

    def kept() -> list[dict[str, torch.Tensor]]:
        networks = (learner.policy, learner.critic, learner.target_critic)
        return [
            {n: w for n, w in weights(network).items() if not n.startswith("editor.")}
            for network in networks
        ]

    before, began = kept(), weights(editor)
    monkeypatch.setattr(learner.critic, "value", lambda tokens, chunks: 10 * chunks[:, :, 0, 0])
    torch.manual_seed(0)
    gains = [learner.editor_update(batch)["q_edited"].item() for _ in range(80)]
    assert gains[-1] > gains[0] + 1
    monkeypatch.undo()
    learner.editor_update(batch)  # by the critic itself
    for now, then in zip(kept(), before, strict=True):
        assert all(torch.equal(now[name], then[name]) for name in then)
    assert not any(torch.equal(w, began[n]) for n, w in editor.named_parameters())
    assert editor.strength == target.strength == 1
    _, prefix = normalised(learner.policy, batch)
    tokens = learner.critic.encoder(batch.observation, prefix)
    edited, _ = learner.critic.edited(tokens, torch.zeros(len(prefix), 8, 4, 2), 0.9)
    assert edited[:, :, 0, 0].mean() > 0.5 * 0.3 * 0.9
    assert edited[:, :, 1:, 0].mean().abs() < 0.1


def test_a_critic_update_moves_no_edit_and_the_target_follows(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    (learner, (editor, target)), batch = with_editors(make_learner, 0.0), make_batch()
    before = editor.strength.item(), target.strength.item()
    learner.editor_update(batch)
    assert editor.strength.item() > before[0]
    assert target.strength.item() > before[1]
    ours, theirs = weights(editor), weights(target)
    critic(learner, batch)
    assert unchanged(editor, ours)
    tau = learner.config.tau
    for name, weight in target.named_parameters():
        torch.testing.assert_close(weight.data, theirs[name].lerp(ours[name], tau))


def test_judges_sit_in_the_bootstrap_alone(make_learner: LearnerMaker) -> None:
    critic = replace(CRITIC, num_critics=4, target_members=2)
    learner = make_learner(replace(EDITING, model=replace(EDITING.model, critic=critic)))
    assert (learner.critic.num_judges, learner.target_critic.num_judges) == (0, 2)


def test_without_an_editor_there_is_nothing_to_do(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    learner = make_learner()
    before = weights(learner.critic)
    assert learner.editor_update(make_batch()) == {}
    assert unchanged(learner.critic, before)


@pytest.mark.slow
def test_edits_are_learned_online_alone_and_a_run_goes_on_with_them(
    demonstrations: Path, tmp_path: Path
) -> None:
    """Stopped after every round, it gives the same bits as in one go."""

    def trained(folder: str, rounds: int) -> Run:
        config = replace(EDITING, online_rl=replace(EDITING.online_rl, num_rounds=rounds))
        run = Run(tmp_path / folder, config, demonstrations, LocalPool(), SilentProgress())
        run_stages(run)
        run.close()
        return run

    whole = trained("whole", 2)
    editor = whole.learner.critic.editor
    assert editor is not None
    assert editor.strength.item() == pytest.approx(2 * EDITING.online_rl.num_updates / GROWS_OVER)
    names = {(row[0], row[3]) for row in metric_rows(tmp_path / "whole")[1:]}
    assert {stage for stage, name in names if name == "q_edited"} == {"online_rl"}
    trained("parts", 1)
    parts = trained("parts", 2)
    for one, other in zip(
        whole.learner.critic.state_dict().values(),
        parts.learner.critic.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, other)
