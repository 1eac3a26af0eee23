"""`softflow robot` as its own process, with a trained policy in another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from exchange_parts import small_disk
from point_world import ENV_ID
from serving_process import serving
from training_processes import begun_run
from warm_python import warm_python

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.data.exploration import offset_of

CLI = Path(__file__).parents[1] / "support/point_cli.py"
pytestmark = pytest.mark.slow


def started(*words: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CLI), "robot", *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
    )


def robot(*words: object, **environment: str) -> tuple[int, str, str]:
    process = started(*words, **environment)
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "notes"


def test_a_rehearsal_in_real_time(imitated: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    limits = tmp_path / "limits.toml"
    limits.write_text("[[component]]\ncomponent = 0\nhigh = 0.25\nlow = -0.25\n")
    told = robot(imitated, "--env-id", ENV_ID, "--out", out, "--episodes", 2, "--limits", limits)
    assert told[0] == 0, told[2]
    store = EpisodeStore.open(out)
    assert len(store) == 2
    for index in range(2):
        episode = store.episode(index)
        assert abs(episode.actions[:, 0]).max() <= 0.25
        assert episode.metadata["source"] == "robot"
        assert episode.metadata["policy_version"] == (imitated / "checkpoints/last").resolve().name
        loop = episode.metadata["loop"]
        assert sum(loop["decisions"].values()) >= 1
        assert episode.observations[STATE_KEY].shape == (episode.length + 1, 4)
    assert "decisions took" in told[1]


def test_exploring_is_written_into_each_episode(exploring: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    given = (exploring, "--env-id", ENV_ID, "--out", out, "--episodes", 2, "--explore")
    status, _, errors = robot(*given)
    assert status == 0, errors
    told = [summary.metadata for summary in EpisodeStore.open(out).summaries()]
    assert [facts["exploration_std"] for facts in told] == [0.05, 0.05]
    offsets = [offset_of(facts, 0.05, 2, "an episode") for facts in told]
    assert offsets[0] is not None
    assert (offsets[0] != offsets[1]).all()
    status, _, errors = robot("ws://localhost:1", *given[1:])
    assert status == 2
    assert "--explore: a server's policy does not" in errors


@pytest.mark.parametrize("is_served", [False, True])
def test_an_environment_of_another_name_is_used_only_if_that_is_said(
    imitated: Path, tmp_path: Path, is_served: bool
) -> None:
    out, other = tmp_path / "out", "point_world:PointWorldRenamed"
    with serving(str(imitated)) if is_served else nullcontext() as server:
        policy = f"ws://127.0.0.1:{server[1]}" if server else imitated
        given = (policy, "--env-id", other, "--out", out)
        status, _, errors = robot(*given, "--episodes", 1)
        assert status == 2
        assert other in errors
        assert ENV_ID in errors
        assert ("add --replace-env" in errors) or is_served
        assert not out.exists()
        status, _, errors = robot(*given, "--episodes", 1, "--replace-env")
    assert status == 0, errors
    assert EpisodeStore.open(out).spec.env_id == other


def words(imitated: Path, out: Path, *more: object) -> list[Any]:
    return [imitated, "--robot", "stubborn_robot:make", "--out", out, *more]


def test_a_robot_of_ones_own_is_closed_and_nobody_else_has_it(
    imitated: Path, tmp_path: Path, notes: Path
) -> None:
    out = tmp_path / "out"
    first = started(*words(imitated, out, "--episodes", 50), STUBBORN_NOTES=str(notes))
    wait_for_line(notes, "reset")
    status, _, errors = robot(*words(imitated, tmp_path / "b"), STUBBORN_NOTES=str(notes))
    assert status == 2
    assert "there is only one robot" in errors
    wait_for_line(notes, "stop")  # the first episode is over
    time.sleep(0.5)
    first.send_signal(signal.SIGINT)
    asked_s = time.monotonic()
    while not notes.read_text().endswith("close\n"):
        assert time.monotonic() - asked_s < 10
        time.sleep(0.005)
    _, errors = first.communicate(timeout=60)
    assert "stopped by a person" in errors
    assert first.returncode == 2
    told = notes.read_text().split()
    assert (told[-2:], told.count("close")) == (["stop", "close"], 1)
    store = EpisodeStore.open(out)
    assert store.summary(len(store) - 1).metadata["ended"] == "stopped"


def wait_for_line(notes: Path, line: str) -> None:
    deadline_s = time.monotonic() + 60
    while not (notes.exists() and line in notes.read_text().split()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_killed_in_the_middle_it_loses_the_running_episode_alone(
    imitated: Path, tmp_path: Path, notes: Path
) -> None:
    out = tmp_path / "out"
    status, _, _ = robot(*words(imitated, out), STUBBORN_NOTES=str(notes), STUBBORN_DIES_AT="12")
    assert status == -signal.SIGKILL
    assert len(EpisodeStore.open(out)) == 1
    status, _, errors = robot(*words(imitated, out, "--episodes", 1), STUBBORN_NOTES=str(notes))
    assert status == 0, errors
    assert len(EpisodeStore.open(out)) == 2


def test_a_full_disk_ends_it_and_leaves_whole_episodes(
    imitated: Path, tmp_path: Path, notes: Path
) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        told = robot(*words(imitated, disk / "out", "--episodes", 50), STUBBORN_NOTES=str(notes))
        assert told[0] == 2
        assert "No space left" in told[2]
        assert "Traceback" not in told[2]
        assert notes.read_text().split()[-1] == "close"
        store = EpisodeStore.open(disk / "out")
        assert len(store) >= 1
        assert store.verify() == []


def test_with_a_policy_on_another_machine_and_it_dies(imitated: Path, tmp_path: Path) -> None:
    out, limits = tmp_path / "out", tmp_path / "limits.toml"
    limits.write_text("[watchdogs]\ndecision_s = 0.5\n")
    with serving(str(imitated)) as (server, port):
        address = f"ws://127.0.0.1:{port}"
        told = robot(address, "--env-id", ENV_ID, "--out", out, "--episodes", 1)
        assert told[0] == 0, told[2]
        (tmp_path / "notes").touch()
        process = started(
            *[address, "--robot", "stubborn_robot:make", "--out", out, "--limits", limits],
            STUBBORN_NOTES=str(tmp_path / "notes"),
        )
        wait_for_line(tmp_path / "notes", "reset")
        server.send_signal(signal.SIGSTOP)
        errors = process.communicate(timeout=120)[1]
        server.kill()
    assert process.returncode == 2
    assert "no decision of the policy for" in errors or "the policy cannot act" in errors
    assert (tmp_path / "notes").read_text().split()[-1] == "close"
    store = EpisodeStore.open(out)
    version = (imitated / "checkpoints/last").resolve().name
    assert store.summary(0).metadata["policy_version"] == version


def test_with_a_learner_episodes_arrive_and_policies_are_taken(
    demonstrations: Path, tmp_path: Path
) -> None:
    run, folder, out = tmp_path / "run", tmp_path / "exchange", tmp_path / "out"
    begun_run(demonstrations, run)
    told: dict[str, Any] = {}

    def act() -> None:
        words = [run, "--env-id", ENV_ID, "--out", out, "--exchange", folder, "--name", "arm"]
        told["robot"] = robot(*words, "--episodes", 6)

    acting = threading.Thread(target=act)
    acting.start()
    status, said = warm_python().run(["learn", str(run), "--exchange", str(folder)])
    acting.join()
    assert status == 0, said
    assert told["robot"][0] == 0, told["robot"][2]
    assert len(EpisodeStore.open(run / "online")) == 6
    mine = EpisodeStore.open(out)
    versions = [mine.summary(index).metadata["policy_version"] for index in range(len(mine))]
    assert any(name.startswith("3_online_rl") for name in versions), versions


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--robot", "stubborn_robot:not_a_robot"], "has no spec, max_episode_steps"),
        (["--robot", "stubborn_robot:nothing"], "cannot be imported"),
        (["--env-id", "cube-singel"], "cube-single"),
        (["--env-id", ENV_ID, "--take-over", "nowhere:hook"], "--take-over is 'nowhere:hook'"),
        ([], "give either --robot"),
        (["--robot", "stubborn_robot:make", "--replace-env"], "it goes with --env-id"),
        (["--env-id", ENV_ID, "--replace-env", "--exchange", "x"], "a learner takes no episodes"),
    ],
)
def test_what_cannot_be_is_told_before_anything_moves(
    imitated: Path, tmp_path: Path, notes: Path, more: list[str], said: str
) -> None:
    status, _, errors = robot(imitated, "--out", tmp_path / "out", *more, STUBBORN_NOTES=str(notes))
    assert status == 2
    assert said in errors
    assert not notes.exists()


def test_limits_of_another_robot_are_told_before_it_is_reset(
    imitated: Path, tmp_path: Path, notes: Path
) -> None:
    limits = tmp_path / "limits.toml"
    limits.write_text('[[force]]\nobservation = "observation.force"\nmost = 20.0\n')
    more = ["--limits", limits]
    status, _, errors = robot(*words(imitated, tmp_path / "out", *more), STUBBORN_NOTES=str(notes))
    assert status == 2
    assert "the limits name the observation 'observation.force'" in errors
    assert notes.read_text().split() == ["close"]
