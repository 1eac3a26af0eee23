"""Episodes of an exchange as the page's server has them; what stops robots waits for nobody."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from exchange_parts import SPEC, recorded, toy_claim

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.labelling.event_kinds import READY_MADE
from softflow.labelling.server.episode_rows import EpisodeRows
from softflow.labelling.server.exchange_episodes import ExchangeEpisodes
from softflow.labelling.server.operator_state import Operator
from softflow.robot.exchange.commands import CommandFolder
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.outbox import EpisodeOutbox

CUBE = READY_MADE["cube"]


@pytest.fixture
def exchange(tmp_path: Path) -> ExchangeFolder:
    """With two episodes by the robot "arm"."""
    folder = ExchangeFolder(toy_claim(tmp_path).folder.path)
    store = EpisodeStore.create(tmp_path / "arm", SPEC)
    for seed in range(2):
        store.append(recorded(seed, length=30, unlabelled=True))
    assert EpisodeOutbox(folder, "arm", SPEC, print).send(store) == 0
    return folder


def test_what_was_said_is_in_the_answer(exchange: ExchangeFolder) -> None:
    rows = EpisodeRows(ExchangeEpisodes(exchange, CUBE))
    name, other = rows.episodes.names()
    rows.save(name, rows.detail(name)["digest"], Label("anna", (CUBE.named("dropped").at(7),)))
    detail = rows.detail(name)
    assert [label["annotator"] for label in detail["labels"]] == ["anna"]
    assert detail["state"] == "labelled"
    rows.act(other, "discard", "anna")
    assert rows.detail(other)["state"] == "discarded"


def test_a_stop_is_told_while_the_list_is_made(exchange: ExchangeFolder) -> None:
    """Somebody looks at a thousand episodes on a slow disk: the lock of the list is taken."""
    rows, operator = EpisodeRows(ExchangeEpisodes(exchange, CUBE)), Operator(exchange)
    with rows._lock, ThreadPoolExecutor(1) as other:
        other.submit(operator.tell, "stop", "anna").result(10)
        state = other.submit(operator.state).result(10)
    assert (state["stopped_by"], dict(state["robots"]), state["problem"]) == (
        "anna",
        {"arm": 2},
        "",
    )
    assert CommandFolder(exchange.commands, print).stopped()


def test_many_operators_look_while_commands_arrive(exchange: ExchangeFolder) -> None:
    operator, before = Operator(exchange), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns as often as they can
    try:
        with ThreadPoolExecutor(8) as people:
            looks = [people.submit(operator.state) for _ in range(40)]
            said = [people.submit(operator.tell, "start", f"p{i}") for i in range(40)]
            assert not [one.exception() for one in (*looks, *said) if one.exception()]
    finally:
        sys.setswitchinterval(before)
    assert len(CommandFolder(exchange.commands, print).all()) == 40
