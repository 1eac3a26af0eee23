"""Labels lie beside sealed episodes: the newest one counts, and nothing is rewritten."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore, EpisodeSummary
from softflow.data.labels import Event, Label
from softflow.errors import DataError, StoreError
from softflow.utils.sealed_json import write_sealed

STATE = "observation.state"
LENGTH = 9


@pytest.fixture
def store(tmp_path: Path, spec: DataSpec, make_episode: Callable[..., Episode]) -> EpisodeStore:
    """Three episodes of nine steps, open for reading; the first one was recorded as a success."""
    with EpisodeStore.create(tmp_path / "store", spec) as written:
        for seed in range(3):
            written.append(make_episode(spec, length=LENGTH, seed=seed, success=seed == 0))
    return EpisodeStore.open(tmp_path / "store")


def bytes_of(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((path / "episodes").iterdir())}


def test_a_success_in_the_middle_ends_the_episode_there(store: EpisodeStore) -> None:
    recorded, files = store.episode(1), bytes_of(store.path)
    store.label(1, Label("anna", (Event(4, "success", 1.0),)))
    episode = store.episode(1)
    assert (episode.length, episode.success) == (5, True)
    assert (episode.terminated, episode.truncated) == (True, False)
    assert episode.rewards.tolist() == [0, 0, 0, 0, 1]
    np.testing.assert_array_equal(episode.actions, recorded.actions[:5])
    np.testing.assert_array_equal(episode.observations[STATE], recorded.observations[STATE][:6])
    assert episode.metadata == recorded.metadata | {"annotator": "anna"}
    episode.validate(store.spec)
    assert bytes_of(store.path) == files


def test_what_was_recorded_stays_readable(store: EpisodeStore) -> None:
    recorded = store.episode(0)
    store.label(0, Label("anna", (Event(2, "failure"),)))
    assert not store.episode(0).success
    again = store.episode(0, labelled=False)
    assert again.success
    np.testing.assert_array_equal(again.rewards, recorded.rewards)


def test_the_newest_label_counts_and_the_history_stays(store: EpisodeStore) -> None:
    store.label(0, Label("anna", (Event(2, "success", 1.0),)))
    store.label(0, Label("ben", (Event(1, "reward", 0.5), Event(3, "reward", -1.0))))
    episode = store.episode(0)
    assert (episode.length, episode.success, episode.terminated) == (LENGTH, False, True)
    assert episode.rewards.tolist() == [0, 0.5, 0, -1, 0, 0, 0, 0, 0]
    assert [label.annotator for label in store.labels(0)] == ["anna", "ben"]
    assert store.labels(1) == []


def test_an_empty_label_says_that_nothing_happened(store: EpisodeStore) -> None:
    store.label(2, Label("anna", ()))
    episode = store.episode(2)
    assert (episode.length, episode.success, episode.truncated) == (LENGTH, False, True)
    assert store.summary(2).metadata["annotator"] == "anna"


def test_other_readers_see_a_label_after_a_refresh(store: EpisodeStore) -> None:
    reader = EpisodeStore.open(store.path)
    assert not reader.summary(1).success
    store.label(1, Label("anna", (Event(4, "success", 1.0),)))
    assert not reader.summary(1).success
    assert reader.refresh() == 0
    assert reader.summary(1).success


def test_the_history_is_as_old_as_the_newest_label_that_is_known(store: EpisodeStore) -> None:
    """The folder is looked into once: with thousands of labels a look for each took minutes."""
    store.label(1, Label("anna", (Event(2, "failure"),)))
    EpisodeStore.open(store.path).label(1, Label("ben", ()))
    assert [label.annotator for label in store.labels(1)] == ["anna"]
    assert store.newest_label(1) == store.labels(1)[-1]
    store.label(1, Label("carla", ()))
    store.refresh()
    assert [label.annotator for label in store.labels(1)] == ["anna", "ben", "carla"]


def test_a_label_needs_only_what_a_summary_says(store: EpisodeStore) -> None:
    assert store.summary(0, labelled=False).success
    store.label(0, Label("anna", (Event(2, "failure"),)))
    assert not store.summary(0).success
    assert store.summary(0, labelled=False).success


def test_labelling_needs_no_writer_lock(
    store: EpisodeStore, make_episode: Callable[..., Episode]
) -> None:
    """A robot records while a person labels."""
    with EpisodeStore.open(store.path, writable=True) as recorder:
        store.label(1, Label("anna", (Event(4, "success", 1.0),)))
        recorder.append(make_episode(store.spec, seed=7))
        recorder.refresh()
        assert recorder.summary(1).success


events = st.lists(st.builds(Event, st.integers(0, LENGTH - 1), st.just("reward"), st.floats(-2, 2)))
ends = st.none() | st.builds(
    Event, st.integers(0, LENGTH - 1), st.sampled_from(["success", "failure"]), st.floats(-2, 2)
)


@given(events=events, end=ends)
def test_a_summary_says_what_the_labelled_episode_says(
    events: list[Event], end: Event | None
) -> None:
    rng = np.random.default_rng(0)
    recorded = Episode(
        {STATE: rng.normal(size=(LENGTH + 1, 3)).astype(np.float32)},
        rng.uniform(-1, 1, (LENGTH, 2)).astype(np.float32),
        rng.normal(size=LENGTH).astype(np.float32),
        terminated=False,
        truncated=True,
        success=False,
    )
    if end is not None:
        events = [event for event in events if event.step <= end.step] + [end]
    label = Label("anna", tuple(events))
    labelled = label.applied_to(recorded, "episode 0")
    summary = label.summarised(summary_of(recorded))
    assert replace(summary, return_=0.0) == replace(summary_of(labelled), return_=0.0)
    assert summary.return_ == pytest.approx(labelled.return_, abs=1e-5)


def summary_of(episode: Episode) -> EpisodeSummary:
    return EpisodeSummary(
        0,
        episode.length,
        episode.success,
        episode.terminated,
        episode.truncated,
        episode.return_,
        episode.metadata,
    )


def test_a_named_event_keeps_its_name_and_is_what_measures_count(store: EpisodeStore) -> None:
    said = Label("anna", (Event(2, "reward", 1.0, "rotated"), Event(4, "failure", 0.0, "dropped")))
    store.label(1, said)
    assert EpisodeStore.open(store.path).labels(1) == [said]
    named = [[2, "rotated"], [4, "dropped"]]
    assert store.episode(1).metadata["events"] == store.summary(1).metadata["events"] == named


def test_an_end_cuts_without_a_verdict(store: EpisodeStore) -> None:
    store.label(0, Label("anna", (Event(1, "reward", 0.5), Event(3, "end"))))
    episode, summary = store.episode(0), store.summary(0)
    assert (episode.length, episode.success) == (summary.length, summary.success) == (4, False)
    assert (episode.terminated, episode.truncated) == (False, True)
    assert (summary.terminated, summary.truncated) == (False, True)
    assert episode.rewards.tolist() == [0, 0.5, 0, 0]


def test_a_label_of_the_first_format_is_read_and_still_written(store: EpisodeStore) -> None:
    """Older softflows read what they could have written."""
    labels = store.path / "labels"
    labels.mkdir()
    event = {"step": 4, "kind": "success", "value": 1.0}
    old = {"annotator": "anna", "events": [event], "created": "2030", "withdrawn": False}
    write_sealed(labels / "episode_000001.000.00000000.json", {"format_version": 1, **old})
    store.refresh()
    assert store.labels(1) == [Label("anna", (Event(4, "success", 1.0),), "2030")]
    store.label(1, Label("ben", (Event(4, "success", 1.0),)))
    store.label(1, Label("ben", (Event(4, "success", 1.0, "cut"),)))
    written = [json.loads(path.read_text()) for path in sorted(labels.iterdir())]
    assert [document["format_version"] for document in written] == [1, 1, 2]
    assert [document["events"][0].get("name") for document in written] == [None, None, "cut"]


# ---- what is refused ----------------------------------------------------------------------------


def test_an_event_behind_the_end_is_refused(store: EpisodeStore) -> None:
    with pytest.raises(DataError, match=r"episode_000001.*anna.*step 9.*9 steps"):
        store.label(1, Label("anna", (Event(9, "success", 1.0),)))
    assert not store.labels(1)


@pytest.mark.parametrize(
    ("kind", "step", "value", "named"),
    [("win", 1, 1.0, "win"), ("success", -1, 1.0, "-1"), ("reward", 2, float("nan"), "nan")],
)
def test_an_event_that_makes_no_sense(kind: str, step: int, value: float, named: str) -> None:
    with pytest.raises(DataError, match=named):
        Event(step, kind, value)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["Cut", "<b>", "a b", "1a", "a" * 61])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(DataError, match="lower-case"):
        Event(1, "reward", 1.0, name)


def test_labels_that_contradict_themselves() -> None:
    with pytest.raises(DataError, match="annotator"):
        Label(" ", ())
    with pytest.raises(DataError, match=r"failure at step 2, success at step 5.*ends once"):
        Label("anna", (Event(5, "success", 1.0), Event(2, "failure")))
    with pytest.raises(DataError, match=r"success at step 2, reward at step 5"):
        Label("anna", (Event(5, "reward", 1.0), Event(2, "success")))


@pytest.mark.parametrize("content", ["{", "[]", '{"format_version": 1, "annotator": "anna"}'])
def test_a_damaged_label_is_named(store: EpisodeStore, content: str) -> None:
    store.label(1, Label("anna", ()))
    (file,) = (store.path / "labels").iterdir()
    file.write_text(content)
    with pytest.raises(StoreError, match=r"episode_000001\.000\.[0-9a-f]{8}\.json' is damaged"):
        store.episode(1)


def test_a_label_of_a_newer_version_asks_for_an_upgrade(store: EpisodeStore) -> None:
    store.label(1, Label("anna", ()))
    (file,) = (store.path / "labels").iterdir()
    file.unlink()
    write_sealed(file, {"format_version": 9, "said": "whatever will be"})
    with pytest.raises(StoreError, match=r"format_version 9.*upgrade"):
        store.episode(1)


# ---- many at once -------------------------------------------------------------------------------


def annotate(path: Path, annotator: str, barrier: object) -> None:
    store = EpisodeStore.open(path)
    barrier.wait()  # type: ignore[attr-defined]
    for step in range(LENGTH):
        store.label(0, Label(annotator, (Event(step, "reward", 1.0),)))


def test_annotators_at_once_lose_nothing(store: EpisodeStore) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    people = [
        context.Process(target=annotate, args=(store.path, name, barrier))
        for name in ("anna", "ben", "carla")
    ]
    for person in people:
        person.start()
    for person in people:
        person.join(60)
    assert [person.exitcode for person in people] == [0, 0, 0]
    store.refresh()
    history = store.labels(0)
    for name in ("anna", "ben", "carla"):
        steps = [label.events[0].step for label in history if label.annotator == name]
        assert steps == list(range(LENGTH))
    assert not list((store.path / "labels").glob(".*"))


def test_a_withdrawn_label_lets_the_recording_count_again(store: EpisodeStore) -> None:
    recorded, summary = store.episode(0), store.summary(0)
    store.label(0, Label("anna", (Event(2, "failure"),)))
    store.label(0, Label("bert", (), withdrawn=True))
    episode = store.episode(0)
    assert (episode.length, episode.success) == (LENGTH, True)
    np.testing.assert_array_equal(episode.rewards, recorded.rewards)
    assert episode.metadata == recorded.metadata
    assert store.summary(0) == summary
    assert [label.withdrawn for label in store.labels(0)] == [False, True]
    store.label(0, Label("carl", (Event(3, "success", 1.0),)))
    assert store.episode(0).length == 4


def test_a_withdrawn_label_says_nothing_else() -> None:
    with pytest.raises(DataError, match="has no events"):
        Label("anna", (Event(1, "reward", 1.0),), withdrawn=True)
