"""`softflow label` says what it needs before it listens; tests/labelling has the page itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from softflow.cli.label_commands import prepared
from softflow.cli.label_options import LabelPage
from softflow.cli.main import main
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.labelling.event_kinds import READY_MADE, read_event_kinds


@pytest.fixture
def store(tmp_path: Path, spec: DataSpec, make_episode: Callable[..., Episode]) -> Path:
    with EpisodeStore.create(tmp_path / "store", spec) as written:
        written.append(make_episode(spec))
    return written.path


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("", "name a data set, or an exchange"),
        ("STORE --port 70000", "--port is 70000"),
        ("STORE --events dishes", "give success, scissors, cube, or a TOML file"),
        ("STORE --events NONE.toml", "cannot read the kinds of events"),
        ("STORE --host 0.0.0.0", "--token-file"),
        ("STORE --render", "unknown environment 'toy'"),
        ("--exchange STORE --render", "--render shows a data set"),
        ("--exchange STORE", "exchange.json"),
        ("NOWHERE", "holds no episode store"),
        ("LEROBOT", "softflow data import lerobot"),
    ],
)
def test_what_cannot_be_done_is_told(
    words: str, named: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.parent / "lerobot" / "meta").mkdir(parents=True)
    (store.parent / "lerobot" / "meta" / "info.json").write_text("{}")
    names = {"STORE": store, "NOWHERE": store.parent / "none", "LEROBOT": store.parent / "lerobot"}
    given = [str(names.get(word, word)) for word in words.split()]
    assert main(["label", *given]) == 2
    assert named in " ".join(capsys.readouterr().err.split())


def test_a_port_that_is_taken_is_told(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = prepared(LabelPage(store, port=0))
    assert main(["label", str(store), "--port", str(server.port)]) == 2
    assert "choose another --host or --port" in " ".join(capsys.readouterr().err.split())
    server.listener.close()


def test_events_are_declared_once_beside_the_episodes(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for events in ("cube", ""):
        prepared(LabelPage(store, port=0, events=events)).listener.close()
        assert read_event_kinds(store) == READY_MADE["cube"]
    assert main(["label", str(store), "--events", "scissors"]) == 2
    assert "declares other events" in capsys.readouterr().err
