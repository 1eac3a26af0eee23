"""softflow teacher: every option is explained, and what makes no sense is refused with its fix."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from help_text import explained
from simulator_needed import skip_without_orca_hand

pytest.importorskip("rsl_rl", reason="rsl-rl-lib is not installed")

from softflow.cli.cube import teacher_commands
from softflow.cli.cube.teacher_commands import COMMANDS
from softflow.cli.help.examples import EXAMPLES
from softflow.cli.main import main
from softflow.teacher.config import PRESETS

skip_without_orca_hand()


def _help(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["teacher", *words, "--help"])
    assert stop.value.code in (0, None)
    return capsys.readouterr().out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_explains_every_option(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = _help([command], capsys)
    assert page.startswith(f"usage: softflow teacher {command} ")
    texts = explained(page)
    assert [name for name in texts if name.startswith("--")]
    assert [name for name, text in texts.items() if len(text.strip()) < 8] == []
    for line in EXAMPLES[f"teacher {command}"].values():
        assert line in page


@pytest.mark.parametrize(
    "example",
    [line for name in COMMANDS for line in EXAMPLES[f"teacher {name}"].values()],
)
def test_examples_are_commands_of_this_softflow(
    example: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They parse: what is done with them is cut off."""
    monkeypatch.chdir(tmp_path)
    done = []
    for name in COMMANDS:
        monkeypatch.setattr(teacher_commands, name, lambda given: done.append(type(given)))
    assert main(shlex.split(example)[1:]) == 0
    assert done == [COMMANDS[example.split()[2]]]


def test_help_shows_presets_and_the_numbers_of_the_one_that_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual, paper = _help(["train"], capsys), _help(["train", "paper"], capsys)
    assert all(f"\n  {name} " in usual for name in PRESETS)
    assert usual == _help(["train", "two-cores"], capsys)
    assert ("--ppo.num-envs 256" in usual, "--ppo.num-envs 8192" in paper) == (True, True)
    student = _help(["distill", "softflow-plus"], capsys)
    assert "\n  cube-small " in student
    assert "the numbers below are those of softflow-plus" in student


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "small"], "choose one of paper, two-cores"),
        (["distill", "softflow-pls", "--run", "RUN"], "choose one of softflow-plus"),
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
