"""From bags to a trained policy on the command line, and the report that imports nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softflow.cli import main
from softflow.data.episode_store import EpisodeStore

MAPPING = """
control_hz: 10
observation.state:
  - {topic: /joint_states, field: position, names: [j1, j2]}
action:
  - {topic: /command, field: data}
action_low: [0]
action_high: [100]
"""


@pytest.fixture
def bags(tmp_path: Path, ros: Any) -> Path:
    """Two recordings of 2 s: j1 = t and j2 = −2t at 100 Hz, a command that counts at 20 Hz."""
    times = np.arange(201) / 100
    for number in (1, 2):
        messages = [
            ("/joint_states", t, ros.joints(["j2", "j1"], [-2 * t, t], t)) for t in times.tolist()
        ]
        messages += [("/command", k / 20, ros.number(k)) for k in range(41)]
        ros.write(tmp_path / "bags" / f"run_{number}", sorted(messages, key=lambda m: m[1]))
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    return tmp_path / "bags"


def test_two_commands_train_a_policy(bags: Path, tmp_path: Path, tiny_imitation: list[str]) -> None:
    store, run = tmp_path / "store", tmp_path / "run"
    words = f"data import rosbag {bags} --mapping {tmp_path / 'mapping.yaml'} --out {store}"
    assert main([*words.split(), "--unlabelled", "success"]) == 0
    opened = EpisodeStore.open(store)
    assert [summary.success for summary in opened.summaries()] == [True, True]
    assert opened.episode(0).length == 20
    train = f"train small --dataset {store} --run {run}".split()
    assert main([*train, *tiny_imitation]) == 0
    assert (run / "checkpoints" / "last").exists()


def test_a_report_imports_nothing(
    bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    words = (
        f"data import rosbag {bags} --mapping {tmp_path / 'mapping.yaml'} --out {store} --report"
    )
    assert main(words.split()) == 0
    shown = capsys.readouterr().out
    for expected in ("run_1", "run_2", "/joint_states", "/command"):
        assert expected in shown
    assert not store.exists()
