"""softflow teacher: every option is explained, and what makes no sense is refused with its fix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from help_text import explained
from simulator_needed import skip_without_orca_hand

pytest.importorskip("rsl_rl", reason="rsl-rl-lib is not installed")

from softflow.cli.cube.teacher_commands import COMMANDS
from softflow.cli.main import main

skip_without_orca_hand()

WITH_MANY_OPTIONS = ("train", "distill")
_OPTION = re.compile(r"--[a-z][a-z0-9.-]+")


def _help(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["teacher", *words, "--help"])
    assert stop.value.code in (0, None)
    return capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - WITH_MANY_OPTIONS))
def test_help_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = explained(_help([command], capsys))
    assert [name for name in texts if name.startswith("--")]
    assert [name for name, text in texts.items() if len(text.strip()) < 8] == []


@pytest.mark.parametrize("command", WITH_MANY_OPTIONS)
def test_help_explains_every_one_of_many(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = re.sub("[│╭╰╮╯─]|-{3,}", " ", _help([command], capsys))
    _, _, text = " ".join(text.split()).partition(" options ")
    parts = re.split(r" (?=--[a-z][a-z0-9.-]+ [A-Z{\[])", text)[1:]
    assert parts
    silent = []
    for part in parts:
        said = re.sub(r"\(default: [^)]*\)|\(required\)", "", part)
        said = re.sub(r"^\S+ (\{[^}]*\}(\|\{None\})?|\S+( \S+\])?)", "", said)
        if len(said.strip()) < 8 and "default: {" not in part:
            silent.append(_OPTION.findall(part)[0])
    assert silent == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "small"], "choose one of paper, two-cores"),
        (["train", "two-cores", "--run", "RUN", "--residual", "0"], "residual"),
        (["train", "two-cores", "--run", "RUN", "--ppo.num-envs", "0"], "num_envs"),
        (["train", "two-cores", "--run", "RUN", "--cube.solver-iterations", "8"], "20 or more"),
        (["evaluate", "RUN"], "holds no teacher"),
        (["evaluate", "RUN", "--hands", "0"], "--hands"),
        (["distill", "nothing", "RUN", "--run", "RUN"], "cube-small"),
        (["distill", "cube-small", "RUN", "--run", "RUN"], "holds no teacher"),
        (["grasps", "--out", "RUN", "--count", "0"], "--count"),
        (["grasps", "--out", "RUN", "--hand", "no_such_module:HAND"], "cannot be imported"),
        (["grasps", "--out", "RUN", "--hand", "math:pi"], "name a HandDescription"),
        (["teach"], "choose one of train"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_bad_command_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    given = [word.replace("RUN", str(run)) for word in words]
    assert main(["teacher", *given]) == 2
    answer = " ".join(capsys.readouterr().err.split())
    assert said in answer
    assert "Traceback" not in answer
    assert not run.exists()
