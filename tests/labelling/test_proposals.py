"""Proposals lie beside the labels, count for nothing, and become one when a person accepts."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from toy_episodes import EpisodeMaker

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.errors import DataError, StoreError
from softflow.labelling.agreement import state_of
from softflow.labelling.proposals import (
    MAX_EVENTS,
    Proposal,
    ProposalFolder,
    ProposedEvent,
    read_proposal,
)

TURN = ProposedEvent(Event(2, "reward", 1.0, "rotated"), 0.75)
DROP = ProposedEvent(Event(5, "failure", 0.0, "dropped"))


def proposal(*events: ProposedEvent, by: str = "cube-quarter-turn", at: str = "") -> Proposal:
    return Proposal(by, "3f9a", events, "held out: precision 0.9", at)


@pytest.fixture
def store(tmp_path: Path, spec: DataSpec, make_episode: EpisodeMaker) -> EpisodeStore:
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        for seed in range(3):
            store.append(make_episode(spec, length=8, seed=seed, success=False))
    return EpisodeStore.open(tmp_path / "store")


def test_a_proposal_is_read_as_it_was_written_and_is_no_label(store: EpisodeStore) -> None:
    folder, said = ProposalFolder(store), proposal(DROP, TURN)
    path = folder.write(1, said)
    assert read_proposal(path) == said
    assert said.events == (TURN, DROP)
    assert said.confidence == 0.75
    assert folder.of(1) == [said]
    assert [len(folder.of(index)) for index in range(2)] == [0, 1]
    assert EpisodeStore.open(store.path).newest_label(1) is None
    assert not (store.path / "labels").exists()


def test_a_proposer_replaces_its_own_proposal_and_nobody_elses(store: EpisodeStore) -> None:
    folder = ProposalFolder(store)
    older = proposal(by="vlm:x", at="2026-01-01T00:00:00+00:00")
    newer = proposal(DROP, at="2026-01-03T00:00:00+00:00")
    for one in (proposal(TURN, at="2026-01-02T00:00:00+00:00"), older, newer):
        folder.write(0, one)
    assert folder.of(0) == [older, newer]


def test_accepting_writes_the_label_of_a_person(store: EpisodeStore) -> None:
    said = proposal(TURN, DROP)
    ProposalFolder(store).write(2, said)
    assert state_of(store.labels(2), 20.0, is_proposed=True) == "proposed"
    store.label(2, said.label("anna"))
    seen = EpisodeStore.open(store.path)
    label = seen.newest_label(2)
    assert label is not None
    assert (label.annotator, label.events) == ("anna", (TURN.event, DROP.event))
    assert state_of(seen.labels(2), 20.0, is_proposed=True) == "labelled"
    assert seen.episode(2).length == 6
    with pytest.raises(DataError, match="annotator"):
        said.label(" ")


def test_what_cannot_be_proposed(store: EpisodeStore) -> None:
    folder = ProposalFolder(store)
    with pytest.raises(DataError, match="event at step 8, but the episode has 8 steps"):
        folder.write(0, proposal(ProposedEvent(Event(8, "success", 1.0))))
    with pytest.raises(DataError, match="an episode ends once"):
        proposal(DROP, ProposedEvent(Event(6, "success")))
    with pytest.raises(DataError, match="within 0 to 1"):
        ProposedEvent(Event(1, "reward", 1.0), math.nan)
    with pytest.raises(DataError, match="at most 1,000"):
        proposal(*[TURN] * (MAX_EVENTS + 1))
    with pytest.raises(DataError, match="needs the name"):
        proposal(by="")
    assert not any(map(folder.of, range(len(store))))


def test_a_damaged_proposal_is_named_and_what_is_no_proposal_is_left_alone(
    store: EpisodeStore,
) -> None:
    folder = ProposalFolder(store)
    path = folder.write(0, proposal(TURN))
    (folder.path / "episode_000000.notes.json").write_text("mine")
    assert len(folder.of(0)) == 1
    path.write_text(path.read_text().replace("0.75", "0.95"))
    with pytest.raises(StoreError, match="does not match its checksum"):
        folder.of(0)
    path.write_text('{"proposer": "x", "events": [{"step": 1}]}')
    with pytest.raises(StoreError, match=r"is damaged.*propose anew"):
        folder.of(0)
    path.write_text('{"format_version": 2}')
    with pytest.raises(StoreError, match="upgrade"):
        folder.of(0)


def test_no_rights_to_write_is_said(store: EpisodeStore) -> None:
    (store.path / "proposals").write_text("in the way")
    with pytest.raises(StoreError):
        ProposalFolder(store).write(0, proposal(TURN))


def test_labels_written_since_by_others_are_seen(store: EpisodeStore) -> None:
    EpisodeStore.open(store.path).label(0, Label("bob", ()))
    store.refresh()
    assert state_of(store.labels(0), 20.0, is_proposed=True) == "labelled"
