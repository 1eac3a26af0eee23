"""Several seeds of one training: side by side, resumable, and none takes the others with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from point_world import ENV_ID, write_demonstrations
from runs_compared import as_overrides

from softflow.cli.main import main
from softflow.cli.seed_runs import without_own_options
from softflow.utils.files import read_object

SUPPORT = Path(__file__).resolve().parents[1] / "support"
DEADLINE_S = 120.0


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_demonstrations(tmp_path / "demos", tuple(index % 5 != 4 for index in range(8)))


@pytest.fixture(autouse=True)
def point_world_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the processes that train."""
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{SUPPORT}{os.pathsep}{known}")


def words(dataset: Path, run: Path, *more: str) -> list[str]:
    """Imitation alone, in a size that takes seconds."""
    start = ["train", "small", "--dataset", str(dataset), "--run", str(run), *as_overrides()]
    return [*start, "--stages", "imitation", "--eval-episodes", "0", *more]


def test_the_words_of_a_seed_are_those_of_the_command_without_seeds() -> None:
    given = "small --run x --seeds 4 --seed=3 --jobs=2 --dataset d --seeds=5 --stages imitation"
    assert without_own_options(given.split()) == [
        "small",
        "--dataset",
        "d",
        "--stages",
        "imitation",
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--seeds", "0"), "--seeds is 0"),
        (("--seeds", "2", "--jobs", "-1"), "--jobs is -1"),
    ],
)
def test_numbers_that_cannot_be(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    said: str,
) -> None:
    assert main(words(dataset, tmp_path / "run", *more)) == 2
    assert said in capsys.readouterr().err


def test_a_folder_with_a_run_of_one_seed_is_not_mixed_with_several(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    assert main(words(dataset, tmp_path / "run", "--seeds", "2")) == 2
    assert "holds the run of one seed" in capsys.readouterr().err
    assert not (tmp_path / "run" / "seed0").exists()


@pytest.mark.slow
def test_seeds_train_side_by_side_and_the_same_command_goes_on(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One fails, because of a file that is in its way; once that is mended, it alone is trained."""
    run = tmp_path / "run"
    (run / "seed4").mkdir(parents=True)
    (run / "seed4" / "metrics.csv").write_text("notes of somebody else\n")
    command = words(dataset, run, "--seed", "3", "--seeds", "2", "--jobs", "2")
    assert main(command) == 2
    said = capsys.readouterr()
    assert "1 of 2 seeds failed" in said.err
    assert f"{run / 'seed4' / 'metrics.csv'} does not start with the columns" in said.err
    assert "seed 3: done" in said.out
    assert "()" not in said.out
    assert read_object(run / "seed3" / "config.json")["seed"] == 3
    assert read_object(run / "seed3" / "versions.json")["torch_threads"] == 1
    assert (run / "seed3" / "report.html").exists()
    metrics = (run / "seed3" / "metrics.csv").read_bytes()
    (run / "seed4" / "metrics.csv").unlink()
    assert main(command) == 0
    assert (run / "seed3" / "metrics.csv").read_bytes() == metrics, "it was done"
    assert read_object(run / "seed4" / "config.json")["seed"] == 4
    page = (run / "comparison.html").read_text()
    assert "(2 seeds)" in page
    assert 'href="seed4/report.html"' in page
    assert "continuing from imitation" in (run / "seed3.log").read_text()


def test_a_page_that_cannot_be_written_hides_no_failure(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    (run / "comparison.html").mkdir(parents=True)
    for seed in range(2):
        (run / f"seed{seed}").mkdir()
        (run / f"seed{seed}" / "config.json").write_text("{}")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert main(words(dataset, run, "--seeds", "2")) == 2
    said = capsys.readouterr().err
    assert "no comparison: " in said
    assert "2 of 2 seeds failed" in said


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    started_s = time.monotonic()
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - started_s < DEADLINE_S, "nothing happened"
        time.sleep(0.05)


def has_trained(run: Path) -> bool:
    file = run / "metrics.csv"
    return file.exists() and file.read_text().count("\n") > 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_every_seed_cleanly(dataset: Path, tmp_path: Path, number: int) -> None:
    run = tmp_path / "run"
    command = words(dataset, run, "--env", ENV_ID, "--seeds", "3", "--jobs", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "softflow", *command, "--imitation.num-updates", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: has_trained(run / "seed0") and has_trained(run / "seed1"), process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "The same command continues from the last checkpoint" in errors
    assert "Traceback" not in errors
    assert not (run / "seed2").exists(), "it had not begun"
    for seed in (0, 1):
        assert (run / f"seed{seed}" / "report.html").exists()
        assert "Stopped." in (run / f"seed{seed}.log").read_text()
    assert (run / "comparison.html").exists()
    assert str(run) not in _command_lines(), "no process is left"


@pytest.mark.slow
def test_seeds_end_with_the_command_that_was_killed(dataset: Path, tmp_path: Path) -> None:
    """By SIGKILL, which no process hears: they end as after Ctrl-C."""
    run = tmp_path / "run"
    command = words(dataset, run, "--seeds", "2", "--jobs", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "softflow", *command, "--imitation.num-updates", "1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: has_trained(run / "seed0") and has_trained(run / "seed1"), process)
    finally:
        process.kill()
    process.wait()
    deadline_s = time.monotonic() + DEADLINE_S
    while str(run) in _command_lines():
        assert time.monotonic() < deadline_s, "seeds train on"
        time.sleep(0.2)
    for seed in (0, 1):
        assert "Stopped." in (run / f"seed{seed}.log").read_text()
        assert (run / f"seed{seed}" / "report.html").exists()


def _command_lines() -> str:
    """Of all processes of this machine."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)
