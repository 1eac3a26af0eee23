"""`softflow exchange`: what is there, and what people say."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from exchange_parts import SPEC, recorded, toy_claim

from softflow.cli.exchange_commands import COMMANDS
from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.robot.exchange.commands import CommandFolder
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.order import Order, write_order
from softflow.robot.exchange.outbox import EpisodeOutbox


@pytest.fixture
def exchange(tmp_path: Path) -> Path:
    """With two episodes of a robot, the second of unknown outcome."""
    claim = toy_claim(tmp_path)
    with EpisodeStore.create(tmp_path / "store", SPEC) as store:
        store.append(recorded(0))
        store.append(recorded(1, unlabelled=True))
        EpisodeOutbox(claim.folder, "arm", SPEC, print).send(store)
    return claim.folder.path


def commands(exchange: Path) -> CommandFolder:
    return CommandFolder(exchange / "commands", print)


def test_show_says_what_is_there_and_what_is_waited_for(
    exchange: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exchange", "show", str(exchange)]) == 0
    out = capsys.readouterr().out
    assert "episodes: 2 of arm" in out
    assert "policies: none yet" in out
    assert "robots may move" in out
    key = sorted(p.name[:-9] for p in (exchange / "episodes").iterdir())[1]
    order = Order("3_online_rl_00000500", 6, 1, 1, [key], {"eve-000000-x": "\x1b[31mNaN"})
    write_order(ExchangeFolder(exchange), order)
    main(["exchange", "stop", str(exchange), "--author", "anna"])
    main(["exchange", "show", str(exchange)])
    out = capsys.readouterr().out
    assert "wants 6 in all, has 1; 3_online_rl_00000500 is to act" in out
    assert f"waits for a person: {key}" in out
    assert "refused: eve-000000-x" in out
    assert "\x1b" not in out
    assert "robots stand still: anna says so" in out


def test_people_stop_start_discard_accept_and_label(exchange: Path) -> None:
    for words in (
        ("stop",),
        ("start",),
        ("discard", "arm-000000"),
        ("label", "arm-000001", "--success", "4", "--reward", "2=0.5"),
    ):
        name, *rest = words
        assert main(["exchange", name, str(exchange), *rest, "--author", "anna"]) == 0
    there = commands(exchange)
    assert [command.kind for command in there.all()] == ["stop", "start", "discard", "label"]
    assert there.stopped() is None
    said = {key[:10]: command for key, command in there.on_episodes().items()}
    assert said["arm-000000"].kind == "discard"
    label = said["arm-000001"].said_label()
    assert label.rewards(6, "it").tolist() == [0, 0, 0.5, 0, 1]
    assert main(["exchange", "accept", str(exchange), "arm-000000", "--author", "bert"]) == 0
    assert {c.kind for c in commands(exchange).on_episodes().values()} == {"accept", "label"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("discard", "arm-000009"), "none is called so"),
        (("discard", "arm"), "several begin so"),
        (("discard", ""), "none is called so"),
        (("label", "arm-000001", "--success", "-1"), "step -1"),
        (("label", "arm-000001", "--success", "1", "--failure", "2"), "ends once"),
        (("label", "arm-000001", "--reward", "high"), "STEP=NUMBER"),
        (("label", "arm-000001", "--reward", "2=nan"), "finite"),
        (("dance",), "no command"),
    ],
)
def test_what_makes_no_sense_is_refused(
    exchange: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    name, *rest = words
    assert main(["exchange", name, str(exchange), *rest, "--author", "anna"]) == 2
    assert said in capsys.readouterr().err
    assert list((exchange / "commands").iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["exchange", name, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    positional = {"folder": "FOLDER", "episode": "STR"}
    names = [item.name for item in fields(COMMANDS[name])]
    assert all(positional.get(item, f"--{item}") in out for item in names)
