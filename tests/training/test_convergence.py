"""The critic's warm-up ends when the value of the data stands still, and says if it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from point_world import tiny_config

from softflow.errors import ConfigError
from softflow.training.config import WarmupConfig
from softflow.training.diagnostics import diagnose
from softflow.training.losses import Metrics
from softflow.training.run import Run
from softflow.training.stages import STAGE_FUNCTIONS
from softflow.training.updates import convergence
from softflow.training.updates.convergence import SPAN_UPDATES, Convergence
from softflow.utils.metrics import read_metrics

RunMaker = Callable[..., Run]


def test_two_spans_are_compared() -> None:
    """By hand: 0.25 on average, then 0.75, in a range of 2: a quarter of it."""
    watch = Convergence([9.0, 0.0, 0.5, 0.5, 1.0], SPAN_UPDATES // 2, 2.0)
    assert watch.drift == pytest.approx(0.25)
    assert watch.within(0.26)
    assert not watch.within(0.25)


def test_it_is_too_early_to_say_after_less_than_two_spans() -> None:
    watch = Convergence([1.0] * 3, SPAN_UPDATES // 2, 1.0)
    assert watch.drift is None
    assert not watch.within(0.99)
    watch.note(1.0)
    assert watch.drift == 0
    assert watch.within(1e-9)


def test_what_rises_in_a_straight_line_has_not_converged() -> None:
    slow = Convergence([0.001 * i for i in range(100)], 25, 1.0)
    assert slow.drift == pytest.approx(0.016)


def test_without_a_tolerance_every_update_is_done() -> None:
    assert not Convergence([1.0] * 99, 25, 1.0).within(0.0)


def warmed_up(run: Run) -> int:
    STAGE_FUNCTIONS["critic_warmup"](run)
    return run.position.update_step


@pytest.mark.slow
def test_the_warm_up_ends_when_the_critic_has_settled(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Early, and at the same update with the same weights if it is interrupted on the way."""
    monkeypatch.setattr(convergence, "SPAN_UPDATES", 50)
    config = tiny_config(eval_episodes=0)
    warmup = replace(config.critic_warmup, num_updates=300, batch_size=2, converged_within=0.1)
    config = replace(config, critic_warmup=warmup)
    run = make_run(config)
    ended = warmed_up(run)
    assert 50 < ended < 300
    assert run.convergence.within(0.1)

    class InterruptedRunError(Exception):
        pass

    again = make_run(config, folder="again")
    whole = again.learner.critic_update

    def stopping(*args: Any) -> Metrics:
        if again.position.update_step == ended - 10:
            again.save()
            raise InterruptedRunError
        return whole(*args)

    monkeypatch.setattr(again.learner, "critic_update", stopping)
    with pytest.raises(InterruptedRunError):
        warmed_up(again)
    again.close()
    continued = make_run(config, folder="again")
    assert warmed_up(continued) == ended
    pairs = zip(run.learner.critic.parameters(), continued.learner.critic.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_critic_that_still_moves_is_told_of(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tiny_config(eval_episodes=0))
    said: list[str] = []
    monkeypatch.setattr(run.progress, "say", said.append)
    run.position.enter("critic_warmup")
    run.convergence = Convergence([0.001 * i for i in range(100)], 25, 0.5)
    diagnose(run, "critic_warmup")
    assert any("careful" in line and "3.2 %" in line for line in said)
    found = {s.name: s.value[-1] for s in read_metrics(run.folder) if s.stage == "critic_warmup"}
    assert found["value_drift"] == pytest.approx(0.032)


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, float("nan")])
def test_a_tolerance_that_means_nothing_is_refused(tolerance: float) -> None:
    with pytest.raises(ConfigError, match="converged_within"):
        WarmupConfig(10, 8, 1e-3, 0.0, converged_within=tolerance)
