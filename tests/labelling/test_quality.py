"""Precision and recall of proposed events, worked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from toy_episodes import EpisodeMaker

from softflow.cli.data.store_commands import run
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.labelling.proposals import ProposalFolder
from softflow.labelling.quality import Quality, quality_of


def test_quality_counts_each_true_event_once() -> None:
    quality = quality_of([9, 11, 40], [10, 60], within=2)
    assert (quality.hits, quality.proposed, quality.true) == (1, 3, 2)
    assert quality.precision == pytest.approx(1 / 3)
    assert quality.recall == 0.5
    assert quality.f1 == pytest.approx(0.4)
    assert quality_of([12], [10], within=2).differences == (2,)
    assert quality_of([7], [10], within=2).hits == 0


def test_quality_of_nothing() -> None:
    nothing = quality_of([], [], within=2)
    assert math.isnan(nothing.precision)
    assert nothing.f1 == 0.0
    assert "0 of 0" in nothing.told()
    assert sum([Quality(1, 2, 3, (4,)), Quality(1, 1, 1, (0,))], Quality()) == Quality(
        2, 3, 4, (4, 0)
    )


def test_quality_is_told_with_wilsons_intervals() -> None:
    # 8 of 10 and 8 of 16: (0.490, 0.943) and (0.280, 0.720)
    told = Quality(8, 10, 16).told()
    assert told == "precision 0.80 (0.49–0.94, 8 of 10), recall 0.50 (0.28–0.72, 8 of 16)"


RULE = """
AT = {0: 5, 1: 9, 2: 1}

def guess(episode, context):
    return [context.event("success", AT[episode.metadata["seed"]])]
"""


def test_a_rule_is_held_against_the_labels_that_are_there(
    tmp_path: Path,
    spec: DataSpec,
    make_episode: EpisodeMaker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "guessing_rule.py").write_text(RULE)
    monkeypatch.chdir(tmp_path)
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        for seed in range(3):
            store.append(make_episode(spec, length=30, seed=seed, success=False))
        store.label(0, Label("anna", (Event(7, "success", 1.0, "success"),)))  # 0.1 s at 20 Hz
        store.label(1, Label("anna", (Event(29, "success", 1.0),)))  # 1 s away, and without a name
    words = ["propose", str(store.path), "--measure", "--with"]
    assert run([*words, "guessing_rule:guess"]) == 0
    said = capsys.readouterr().out
    assert "success, within 0.5 s: precision 0.50 (0.09–0.91, 1 of 2), recall 0.50" in said
    assert "-0.10 s late (median)" in said
    assert not any(map(ProposalFolder(store).of, range(3)))
    assert (
        run(
            [
                *words,
                "gripper-lifted",
                "--set",
                "height=observation.state[0]",
                "rise=99",
                "event=reward",
            ]
        )
        == 0
    )
    assert "proposes nothing" in capsys.readouterr().out
