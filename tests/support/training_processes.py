"""`softflow train` on the point world in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from point_world import ENV_ID, tiny_config
from runs_compared import as_overrides
from warm_python import warm_python

SCRIPT = str(Path(__file__).parent / "point_cli.py")
"""The command line, which kills itself at the moment named in DIE_AT."""


def words_of_train(dataset: Path, run: Path, *words: str) -> list[str]:
    """The command that trains the preset `small`."""
    command = ["train", "small", "--dataset", str(dataset), "--run", str(run), "--env", ENV_ID]
    return [*command, *words]


def start(dataset: Path, run: Path, *words: str) -> subprocess.Popen[str]:
    """A tiny `softflow train` as a terminal starts it: a new Python in a group of its own."""
    return subprocess.Popen(
        [sys.executable, SCRIPT, *words_of_train(dataset, run, *as_overrides(), *words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def train(
    dataset: Path, run: Path, *words: str, die_at: str = "", preset_only: bool = False
) -> tuple[int, str]:
    """`softflow train` in a process of its own, by default tiny; its status and what it said."""
    sizes = () if preset_only else as_overrides()
    return warm_python().run(words_of_train(dataset, run, *sizes, *words), die_at)


def begun_run(demonstrations: Path, run: Path) -> None:
    """A tiny run that has imitated, with a few updates of every stage ahead."""
    sizes = as_overrides(tiny_config())
    few = ["--imitation.num-updates", "3", "--critic-warmup.num-updates", "3"]
    few += ["--offline-rl.num-updates", "3", "--online-rl.num-updates", "4"]
    words = words_of_train(
        demonstrations, run, *sizes, *few, "--stages", "imitation", "--eval-episodes", "0"
    )
    status, said = warm_python().run(words)
    assert status == 0, said
