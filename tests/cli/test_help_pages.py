"""Every command's help: short, true, with examples that can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import pytest

from softflow.cli import exchange_commands
from softflow.cli.data import format_commands, store_commands
from softflow.cli.exchange_options import Learn, Serve
from softflow.cli.help.examples import EXAMPLES
from softflow.cli.main import main
from softflow.cli.option_types import parsed
from softflow.cli.run_commands import _parse_train
from softflow.cli.run_options import Collect, Demo, Evaluate, Report

Ask = Callable[..., str]
KINDS: dict[str, type] = {
    "demo": Demo,
    "collect": Collect,
    "evaluate": Evaluate,
    "report": Report,
    "learn": Learn,
    "serve": Serve,
    **{f"exchange {name}": kind for name, kind in exchange_commands.COMMANDS.items()},
    **{f"data {name}": kind for name, (kind, _) in store_commands.COMMANDS.items()},
    **{f"data import {name}": kind for name, (kind, _) in format_commands.IMPORTS.items()},
    **{f"data export {name}": kind for name, (kind, _) in format_commands.EXPORTS.items()},
}
"""All but train and teacher, whose options depend on the preset, and robot, which tells its own
examples."""
OF_TEACHERS = {name for name in EXAMPLES if name.startswith("teacher ")}
"""They need packages that may not be installed: tests/cli/test_teacher_commands.py."""


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """`ask("train", "--help")`: the page, on a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> str:
        capsys.readouterr()
        try:
            status = main(words)
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = capsys.readouterr()
        assert (status, said.err) == (0, "")
        return said.out

    return run


def test_every_command_has_examples() -> None:
    assert EXAMPLES.keys() - OF_TEACHERS == {"train", *KINDS}


@pytest.mark.parametrize(
    ("name", "example"),
    [
        (name, line)
        for name, lines in EXAMPLES.items()
        for line in lines.values()
        if name not in OF_TEACHERS
    ],
)
def test_examples_are_commands_of_this_softflow(name: str, example: str) -> None:
    words = shlex.split(example)
    command = ["softflow", *name.split()]
    assert words[: len(command)] == command
    given = words[len(command) :]
    if name == "train":
        assert _parse_train(given) is not None
    else:
        assert parsed(KINDS[name], example, given, pairs=name == "demo")


@pytest.mark.parametrize("name", ["train", *KINDS, "robot"])
def test_a_page_is_short_and_shows_an_example(ask: Ask, name: str) -> None:
    page = ask(*name.split(), "--help")
    assert page.startswith("usage: softflow ")
    assert len(page.splitlines()) < 90
    assert f"softflow {name} " in page.partition("\n")[2]
    options = page.partition("\nOptions\n")[2].splitlines()
    assert all(len(line) <= 100 for line in options)
    for line in EXAMPLES.get(name, {}).values():
        assert line in page


def test_the_page_of_train_teaches_before_it_lists(ask: Ask) -> None:
    page = ask("train", "--help")
    places = [
        page.index(text)
        for text in ("Presets", "\n  softflow-plus ", "Examples", "--stages imitation\n")
    ]
    places += [page.index(f"\n  {option}") for option in ("--dataset", "--stages", "--from")]
    places += [page.index(f"\n  --{stage}.num-updates") for stage in ("imitation", "online-rl")]
    assert places == sorted(places)
    assert "softflow train softflow-plus --help" in page
    assert "--noise-std" not in page


def test_options_of_cameras_are_found_from_a_preset_without_cameras(ask: Ask) -> None:
    page = ask("train", "small", "--help")
    assert "--model.encoder.image." in page.partition("Through cameras")[2]
    named = "softflow train small --encoder mixed --image resnet18 --help"
    assert named in page
    with_cameras = ask(*named.split()[1:])
    assert "--model.encoder.image.weights" in with_cameras
    assert len(with_cameras.splitlines()) < 270


def test_a_page_of_a_preset_says_things_once(ask: Ask) -> None:
    page = ask("train", "softflow-plus", "--help")
    assert page.count("gradient updates (a round's, in online_rl)") == 1
    assert page.index("--imitation.") < page.index("--online-rl.") < page.index("--model.policy.")
    one_line = [line for line in page.splitlines() if line.startswith("  --")]
    folded = [line for line in page.splitlines() if line.startswith("        ")]
    assert len(folded) < len(one_line)


def test_no_option_is_without_a_heading(ask: Ask) -> None:
    assert "\nMore\n" not in ask("train", "softflow-plus", "--help")


def test_a_narrow_terminal_folds(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    options = ask("evaluate", "--help").partition("\nOptions\n")[2]
    assert max(map(len, options.splitlines())) <= 70


def test_what_the_page_of_train_shows_can_be_typed() -> None:
    options = _parse_train(
        shlex.split("small --dataset a --run b --stages imitation critic_warmup --no-from-critic")
    )
    assert options is not None
    assert options.stages == ("imitation", "critic_warmup")
    assert not options.from_critic


def test_what_a_command_shares_with_others_comes_last(ask: Ask) -> None:
    page = ask("collect", "--help")
    names = re.findall(r"^  (--[\w-]+)", page.partition("Options")[2], re.MULTILINE)
    assert names[0] == "--out"
    assert names[-2:] == ["--frames", "--jpeg-quality"]
