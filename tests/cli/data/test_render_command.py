"""`softflow data render`: what it prints, that it goes on, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from robomimic_files import ROBOMIMIC, ROBOSUITE, edited
from simulator_needed import skip_without_robosuite

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.envs.demonstrations import collect_demonstrations
from softflow.envs.operators import OperatorMixture
from softflow.envs.robomimic.demonstrators import EXPERT

skip_without_robosuite()

SOURCE = Path(__file__).parents[3] / "src"


def render(*words: object) -> int:
    return main(["data", "render", *map(str, words)])


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    words = [
        "data",
        "render",
        ROBOSUITE,
        tmp_path / "killed",
        "--env-id",
        "lift",
        "--size",
        "64",
        "64",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "softflow", *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    episodes = tmp_path / "killed" / "episodes"
    while process.poll() is None and not list(episodes.glob("*.zip")):
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "killed while it was rendering"
    (first,) = episodes.glob("*.zip")
    before = first.stat().st_mtime_ns
    assert main([str(word) for word in words]) == 0
    assert first.stat().st_mtime_ns == before
    store = EpisodeStore.open(tmp_path / "killed")
    assert [summary.success for summary in store.summaries()] == [True, True]


@pytest.mark.slow
def test_a_store_that_softflow_collected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collect_demonstrations(
        "lift", 2, 5, tmp_path / "blind", mixture=OperatorMixture((EXPERT,), (1.0,))
    )
    assert render(tmp_path / "blind", tmp_path / "seeing", "--size", 16, 16) == 0
    said = capsys.readouterr().out
    assert "2 episodes rendered, 2 in all, 2 successful" in said
    assert "largest differences to what was recorded: observation.state 0" in said
    blind, seeing = (EpisodeStore.open(tmp_path / name) for name in ("blind", "seeing"))
    assert seeing.spec.rendering["shadows"] == "off"
    for index in range(2):
        before, after = blind.episode(index), seeing.episode(index)
        assert np.array_equal(before.actions, after.actions)
        assert len(after.observations["observation.images.agentview"]) == before.length + 1
    assert render(tmp_path / "blind", tmp_path / "seeing", "--size", 16, 16) == 0
    assert "0 episodes rendered, 2 in all" in capsys.readouterr().out


@pytest.mark.slow
def test_a_file_and_what_it_proves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert render(ROBOMIMIC, tmp_path / "out", "--env-id", "lift") == 0
    said = capsys.readouterr().out
    assert "largest differences to what was recorded: robot0_eef_pos " in said
    assert "mm from the next one, the gripper having moved" in said
    assert "careful" not in said
    assert EpisodeStore.open(tmp_path / "out").spec.rendering == {}, "no cameras"


STATE_KEYS = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object")


def test_importing_what_an_older_robosuite_called_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(shutil.copy(ROBOMIMIC, tmp_path / "lift.hdf5"))
    words = ["data", "import", "robomimic", str(file), "--env-id", "lift", "--cameras"]
    words += ["--state-keys", *STATE_KEYS, "--out"]
    assert main([*words, str(tmp_path / "out")]) == 0
    with edited(file) as data:
        told = json.loads(str(data.attrs["env_args"]))
        data.attrs["env_args"] = json.dumps(told | {"env_version": "1.4.1"})
    capsys.readouterr()
    assert main([*words, str(tmp_path / "older")]) == 2
    said = capsys.readouterr().err
    assert "recorded with robosuite 1.4.1, whose observation 'object' has another order" in said
    assert "softflow data render" in said


def test_a_file_of_another_controller_is_refused_by_import_and_render(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(shutil.copy(ROBOMIMIC, tmp_path / "absolute.hdf5"))
    with edited(file) as data:
        told = json.loads(str(data.attrs["env_args"]))
        arm = told["env_kwargs"]["controller_configs"]["body_parts"]["right"]
        arm["input_type"] = "absolute"
        data.attrs["env_args"] = json.dumps(told)
    importing = ["data", "import", "robomimic", str(file), "--out", str(tmp_path / "out")]
    assert main([*importing, "--env-id", "lift"]) == 2
    assert "another environment than 'lift': controller's is_delta False, not True" in (
        capsys.readouterr().err
    )
    assert render(file, tmp_path / "out", "--env-id", "lift") == 2
    assert "controller's is_delta False" in capsys.readouterr().err
    assert render(ROBOMIMIC, tmp_path / "out", "--env-id", "can") == 2
    assert "task Lift, not PickPlaceCan" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(importing) == 0, "without an environment actions are what they are"


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert render(ROBOMIMIC, tmp_path / "out") == 2
    assert "name the environment that was recorded" in capsys.readouterr().err
    assert render(ROBOMIMIC, tmp_path / "out", "--env-id", "cube-single") == 2
    assert "can be set in lift, can, square, not in 'cube-single'" in capsys.readouterr().err
    assert render(ROBOMIMIC, tmp_path / "out", "--env-id", "lift", "--tolerance", 0) == 2
    assert "--tolerance is 0.0; give a number above 0" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
