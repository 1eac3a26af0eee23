"""From bags to a trained policy on the command line, and the report that imports nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.formats.rosbag.reading import RosbagSource
from softflow.utils.progress import SilentProgress

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


CUT = MAPPING.replace("action_low: [0]\naction_high: [100]\n", "on_gap: split\n")


def test_a_recording_that_was_cut_off_is_left_out(
    bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It comes first, and there is a pass over all bags: neither may stop the others."""
    (bags / "run_0").mkdir()
    shutil.copy(bags / "run_1" / "run_1.mcap", bags / "run_0" / "run_0_0.mcap")
    (tmp_path / "mapping.yaml").write_text(CUT)
    words = f"data import rosbag {bags} --mapping {tmp_path / 'mapping.yaml'}".split()
    store = tmp_path / "store"
    assert main([*words, "--report"]) == 0
    reported = capsys.readouterr().out
    assert "run_0_0.mcap: nothing to import" in reported
    assert "run_2: imported from" in reported
    assert main([*words, "--check"]) == 1
    assert "damaged-file" in capsys.readouterr().out
    assert main([*words, "--out", str(store)]) == 2
    assert "ros2 bag reindex" in capsys.readouterr().err
    assert main([*words, "--out", str(store), "--skip-bad"]) == 0
    assert "left out 1 of 3 episodes" in capsys.readouterr().err
    assert len(EpisodeStore.open(store)) == 2


def test_another_mapping_does_not_go_on(
    bags: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, file = tmp_path / "store", tmp_path / "mapping.yaml"
    words = f"data import rosbag {bags} --mapping {file} --out {store}".split()
    assert main(words) == 0
    file.write_text(f"# a remark, and other bounds\n{MAPPING}")
    assert main(words) == 0
    file.write_text(MAPPING.replace("field: data}", "field: data, latency_s: 0.05}"))
    assert main(words) == 2
    assert "were imported with --mapping of fingerprint" in capsys.readouterr().err


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.bars: dict[str, list[tuple[int, str]]] = {}

    def begin(self, title: str, total: int, done: int = 0) -> None:
        self.bars[title] = [(total, "")]

    def advance(self, done: int, status: str = "") -> None:
        list(self.bars.values())[-1].append((done, status))


def test_the_pass_before_the_first_episode_shows_its_progress(bags: Path, tmp_path: Path) -> None:
    (tmp_path / "mapping.yaml").write_text(CUT)
    heard = Heard()
    source = RosbagSource(bags, tmp_path / "mapping.yaml", heard)
    assert source.spec.action_high == (38.0,)
    assert source.episodes() == ["run_1/000", "run_2/000"]
    assert list(heard.bars) == ["look through the bags"]
    (total, _), *steps = heard.bars["look through the bags"]
    assert total == 2
    assert [status for _, status in steps] == [
        "run_1 (0 messages)",
        "run_1 (actions of episode 0)",
        "run_1",
        "run_2 (0 messages)",
        "run_2 (actions of episode 0)",
        "run_2",
    ]
    assert [done for done, _ in steps] == [0, 0, 1, 1, 1, 2]
