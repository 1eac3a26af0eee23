"""The curve of held-out demonstrations: measured beside training, its best checkpoint kept."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gaussian_policy import GaussianConfig
from point_world import tiny_config
from runs_compared import metric_rows
from training_processes import train

from softflow.models.checkpoint import read_checkpoint
from softflow.training.config import DataConfig, TrainingConfig
from softflow.training.held_out.curve import HeldOutCurve, spread_windows
from softflow.training.run import Run
from softflow.training.run_folder import Position
from softflow.training.stages import run_stages
from softflow.utils.metrics import read_metrics

RunMaker = Callable[..., Run]
DATA = DataConfig(held_out=0.2)


def curve_config(**changes: Any) -> TrainingConfig:
    config = tiny_config(data=DATA, eval_episodes=0, execution_candidates=2, **changes)
    return replace(config, imitation=replace(config.imitation, num_updates=40, batch_size=128))


def measured(folder: Path, name: str) -> dict[int, float]:
    """Update -> value of a metric of imitation."""
    series = [s for s in read_metrics(folder) if (s.stage, s.name) == ("imitation", name)]
    return {int(u): float(v) for s in series for u, v in zip(s.update_step, s.value, strict=True)}


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.learner.policy.state_dict().items()}


class StoppedError(Exception):
    """What ends a run in the middle."""


def stop_at(update: int, measure: Callable[[int], None]) -> Callable[[int], None]:
    def after(done: int) -> None:
        measure(done)
        if done == update:
            raise StoppedError

    return after


def test_the_curve_and_its_best_checkpoint(make_run: RunMaker) -> None:
    run = make_run(curve_config())
    run_stages(run, ["imitation", "critic_warmup", "offline_rl"])
    nats = measured(run.folder, "held_out/nats_per_dim")
    assert len(nats) >= 4
    assert max(nats) == 40, "the end is measured too"
    whole = measured(run.folder, "held_out/log_prob")
    assert {u: v / 8 for u, v in whole.items()} == pytest.approx(nats)
    for component in range(2):
        median = measured(run.folder, f"held_out/median/{component}")
        most = measured(run.folder, f"held_out/p95/{component}")
        assert median.keys() == most.keys() == nats.keys()
        assert all(0 < median[update] <= most[update] for update in nats)
    told = json.loads((run.folder / "held_out.json").read_text())
    best = max(nats, key=lambda update: nats[update])
    name = Position("imitation", best).checkpoint_name
    assert told["best"] == {"update_step": best, "checkpoint": name}
    assert told["episodes"] == list(run.data.held_out.episode_indices)
    parts = read_checkpoint(run.folder / "checkpoints" / name)
    assert parts.document("training_state/position")["update_step"] == best
    assert f"best after update {best}" in run.held_out.in_words()


def test_the_best_is_kept_though_worse_ones_follow(make_run: RunMaker) -> None:
    """Weights that are spoiled after the first measurement leave the first one the best."""
    run = make_run(curve_config())
    first = run.held_out.every

    def spoil(update: int) -> None:
        run.held_out.after(update)
        if update == first:
            with torch.no_grad():
                for parameter in run.learner.policy.parameters():
                    parameter.add_(torch.randn_like(parameter))

    stage = run.config.imitation
    sampler = run.data.sampler("imitation", run.data.demonstrations, stage.batch_size)
    for update in run.updates("imitation", stage, 0, stage.num_updates, after=spoil):
        run.learner.imitation_update(sampler.batch(update))
    for _ in range(3):
        run.position.update_step += 1
        run.save()
    assert run.held_out.best == first
    names = {path.parent.name for path in run.folder.glob("checkpoints/[!.]*/MANIFEST.json")}
    assert Position("imitation", first).checkpoint_name in names
    assert len(names - {"last"}) == 3, "the newest two, and the best"


def test_training_does_not_notice(make_run: RunMaker) -> None:
    """Bit for bit the weights of a run that never measures."""
    one, other = make_run(curve_config(), "one"), make_run(curve_config(), "other")
    other.held_out.every = 0
    run_stages(one, ["imitation"])
    run_stages(other, ["imitation"])
    assert measured(one.folder, "held_out/nats_per_dim")
    assert not measured(other.folder, "held_out/nats_per_dim")
    ours, theirs = weights(one), weights(other)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_that_was_stopped_goes_on_with_the_same_curve(make_run: RunMaker) -> None:
    whole = make_run(curve_config(), "whole")
    run_stages(whole, ["imitation"])
    begun = make_run(curve_config(), "stopped")
    begun.held_out.after = stop_at(25, begun.held_out.after)  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        run_stages(begun, ["imitation"])
    begun.close()
    again = make_run(curve_config(), "stopped")
    assert 0 < again.position.update_step < 25, "it goes on from its best checkpoint"
    run_stages(again, ["imitation"])
    assert metric_rows(again.folder) == metric_rows(whole.folder)
    told = [(run.folder / "held_out.json").read_text() for run in (again, whole)]
    assert told[0] == told[1]
    assert again.held_out.best == whole.held_out.best


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_with_the_same_curve(
    demonstrations: Path, tmp_path: Path
) -> None:
    """SIGKILL while the best checkpoint is written, and once in the middle of updates."""
    words = ("--stages", "imitation", "--eval-episodes", "0", "--data.held-out", "0.2")
    words = (*words, "--imitation.batch-size", "128", "--checkpoint-interval-s", "0.2")
    ends = []
    for name, deaths in (("whole", ()), ("killed", ("save 1 12", "imitation_update 30 5ms"))):
        run = tmp_path / name
        for die_at in deaths:
            assert train(demonstrations, run, *words, die_at=die_at)[0] == -signal.SIGKILL
        status, said = train(demonstrations, run, *words)
        assert status == 0, said
        assert "held-out demonstrations: best after update" in said
        told = json.loads((run / "held_out.json").read_text())
        best = run / "checkpoints" / told["best"]["checkpoint"]
        digests = json.loads((best / "MANIFEST.json").read_text())["files"]
        digests.pop("pretrained_model/config.json")
        ends.append((told, metric_rows(run), digests))
    assert ends[0] == ends[1]


def test_what_was_measured_on_other_episodes_is_no_rival(make_run: RunMaker) -> None:
    run = make_run(curve_config())
    run.held_out.after = stop_at(20, run.held_out.after)  # type: ignore[method-assign]
    with pytest.raises(StoppedError):
        run_stages(run, ["imitation"])
    best = run.held_out.best
    run.save()
    run.close()
    assert best
    file = run.folder / "held_out.json"
    same = make_run(curve_config())
    assert same.held_out.best == best
    same.close()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"episodes": [0]}))
    again = make_run(curve_config())
    assert again.held_out.best is None
    run_stages(again, ["imitation"])
    assert again.held_out.best is not None
    assert again.held_out.best > 20
    assert json.loads(file.read_text())["since"] == 20


def test_a_policy_without_a_likelihood_is_judged_by_its_errors(make_run: RunMaker) -> None:
    config = curve_config()
    config = replace(config, model=replace(config.model, policy=GaussianConfig()))
    run = make_run(config)
    run_stages(run, ["imitation"])
    assert not measured(run.folder, "held_out/nats_per_dim")
    medians = [measured(run.folder, f"held_out/median/{component}") for component in range(2)]
    statistics = run.data.inputs.statistics.action
    span = statistics.maximum - statistics.minimum
    mean = {u: medians[0][u] / span[0] + medians[1][u] / span[1] for u in medians[0]}
    assert run.held_out.best == min(mean, key=lambda update: mean[update])


def test_measuring_costs_at_most_a_tenth(make_run: RunMaker) -> None:
    """Chunks read to measure, against three times those that updates read."""
    small, times = curve_config(), 0
    for number, batch_size in enumerate((8, 64, 512)):
        stage = replace(small.imitation, num_updates=1000, batch_size=batch_size)
        run = make_run(replace(small, imitation=stage), f"{number}")
        windows = min(128, run.data.held_out.num_windows)
        times = 1000 // run.held_out.every
        assert times * windows * (1 + 2) <= 0.1 * 3 * 1000 * batch_size
        assert times <= 20
    assert times == 20, "large batches are measured as often as is worth looking at"


def test_nothing_is_measured_where_nothing_is_held_out(make_run: RunMaker) -> None:
    run = make_run(replace(curve_config(), data=DataConfig(held_out=0.0)))
    run_stages(run, ["imitation"])
    assert not measured(run.folder, "held_out/median/0")
    assert not (run.folder / "held_out.json").exists()
    assert run.held_out.in_words() == ""


def test_windows_are_spread_over_all_episodes(make_run: RunMaker) -> None:
    run = make_run(curve_config())
    assert isinstance(run.held_out, HeldOutCurve)
    dataset = run.data.everything
    batch = spread_windows(dataset, 30)
    assert batch.step_valid.all(), "whole chunks alone"
    ends = np.cumsum(dataset.episode_windows)
    episodes = np.searchsorted(ends, batch.window.numpy(), side="right")
    assert len(set(episodes.tolist())) > 18
