"""The scripts of the tables: what they run, and what they do when something fails."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import threading
import time
from pathlib import Path

import point_world
import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers.registry import METHODS
from softflow.data.episode_store import EpisodeStore

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("runs/peers_*.sh"), *ROOT.glob("runs/levers_*.sh")])


def listed(script: Path, *options: str) -> list[str]:
    asked = subprocess.run([script, "--list", *options], capture_output=True, text=True, check=True)
    return asked.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_command_is_one(script: Path) -> None:
    commands = listed(script, "--seeds", "7")
    assert commands
    assert len(commands) == len(set(commands))
    for line in commands:
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "benchmarks.peers"]
        options, config = command.parse(words[3:])
        assert options.seed == (7,)
        changed = command.settings_of(config, METHODS[options.method])
        # A lever that is the default would be the defaults once more.
        assert bool(changed) == script.stem.startswith("levers")
        assert options.csv.stem == script.stem.split("_")[0]


def test_every_run_of_a_script_has_a_folder_of_its_own_that_can_be_made(tmp_path: Path) -> None:
    names = set()
    for script in SCRIPTS:
        for line in listed(script, "--seeds", "7"):
            options, config = command.parse(shlex.split(line)[3:])
            settings = command.settings_of(config, METHODS[options.method])
            words = f"{options.method} {settings}".strip()
            names.add((words, command.folder_of(words)))
    assert len({name for _, name in names}) == len(names)
    for _, name in names:
        (tmp_path / name).mkdir()


def test_seeds_come_one_after_the_other() -> None:
    script = ROOT / "runs" / "peers_cube_single.sh"
    seeds = [line.rsplit(" ", 1)[1] for line in listed(script)]
    assert seeds == sorted(seeds)
    assert set(seeds) == set("0123")


PYTHON = """\
#!/usr/bin/env bash
echo "$*" >> asked
case $* in *rlpd*) echo no >&2; exit 1;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts, beside a Python that writes down what it is asked for and cannot do rlpd."""
    shutil.copytree(ROOT / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("*/"))
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def test_what_fails_is_told_and_the_others_are_run(checkout: Path) -> None:
    script, words = checkout / "runs" / "peers_cube_single.sh", ("--jobs", "2", "--seeds", "0 1")
    ran = subprocess.run([script, *words], capture_output=True, text=True, cwd=checkout.parent)
    assert ran.returncode != 0
    asked = (checkout / "asked").read_text().splitlines()
    assert sorted(asked[:-1]) == sorted(
        line.removeprefix("python ") for line in listed(script, *words)
    )
    assert asked[-1] == "-m benchmarks.peers.page"
    log = checkout / "runs" / "peers" / "logs" / "rlpd_--task_cube-single_--seed_1.log"
    assert log.read_text() == "no\n"
    assert ran.stderr.count("failed, see runs/peers/logs/rlpd") == 4


def test_runs_of_many_settings_have_a_log(checkout: Path) -> None:
    script = checkout / "runs" / "levers_cube_single.sh"
    ran = subprocess.run([script, "--seeds", "0"], capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    logs = list((checkout / "runs" / "peers" / "logs").iterdir())
    assert len(logs) == len(listed(script, "--seeds", "0"))


@pytest.mark.parametrize("words", [["--seed", "1"], ["--jobs"]])
def test_unusable_options_of_a_script_are_refused(words: list[str], checkout: Path) -> None:
    script = checkout / "runs" / "peers_cube_single.sh"
    ran = subprocess.run([script, *words], capture_output=True, text=True)
    assert ran.returncode == 2
    assert words[0] in ran.stderr.splitlines()[0]
    assert "--list" in ran.stderr


def test_demonstrations_are_collected_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def collect(task: str, count: int, seed: int, store: Path) -> None:
        calls.append(seed)
        time.sleep(0.1)
        point_world.write_demonstrations(store, [True] * count)

    monkeypatch.setattr(command, "collect_demonstrations", collect)
    store = tmp_path / "task" / "seed3"
    need = (store, "task", 2, 3)
    threads = [threading.Thread(target=command.require_demonstrations, args=need) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [3]
    assert len(EpisodeStore.open(store)) == 2
