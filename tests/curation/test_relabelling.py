"""Labels from tables and rules: planned, checked, then written beside the episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_episodes import STATE, EpisodeMaker

from softflow.curation.conditions import parse_condition
from softflow.curation.relabelling import (
    labels_by_rule,
    labels_without,
    last_step_of,
    plan,
    read_label_table,
    successes_at_end,
    withdrawn_labels,
    write_changes,
)
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.errors import DataError, StoreError

LENGTH = 10


@pytest.fixture
def store(tmp_path: Path, spec: DataSpec, make_episode: EpisodeMaker) -> EpisodeStore:
    """Three episodes of ten steps at 20 Hz; state 0 rises above 0.5 after action 2 + index."""
    with EpisodeStore.create(tmp_path / "store", spec) as written:
        for i in range(3):
            episode = make_episode(spec, length=LENGTH, seed=i, success=i == 0)
            episode.observations[STATE][:, 0] = np.arange(LENGTH + 1) >= 3 + i
            episode.observations[STATE][:, 1] = np.arange(LENGTH + 1) >= 5
            written.append(episode)
    return EpisodeStore.open(tmp_path / "store")


def rows(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def events(labels: dict[int, Label]) -> dict[int, list[tuple[int, str, float]]]:
    return {i: [(e.step, e.kind, e.value) for e in x.events] for i, x in labels.items()}


TABLE = """episode,step,kind,value,annotator
0,3,reward,0.25,anna
0,7,success,,anna
1,,none,,bert
2,4,failure,-1,
"""


def test_a_table(tmp_path: Path) -> None:
    labels = read_label_table(rows(tmp_path / "labels.csv", TABLE), "carl")
    assert events(labels) == {
        0: [(3, "reward", 0.25), (7, "success", 1.0)],
        1: [],
        2: [(4, "failure", -1.0)],
    }
    assert [labels[i].annotator for i in range(3)] == ["anna", "bert", "carl"]


def test_the_same_table_as_json(tmp_path: Path) -> None:
    content: list[dict[str, Any]] = [
        {"episode": 0, "step": 3, "kind": "reward", "value": 0.25, "annotator": "anna"},
        {"episode": 0, "step": 7, "kind": "success", "annotator": "anna"},
        {"episode": 1, "kind": "none", "annotator": "bert"},
        {"episode": 2, "step": 4, "kind": "failure", "value": -1},
    ]
    path = rows(tmp_path / "labels.json", json.dumps(content))
    ours = read_label_table(path, "carl")
    theirs = read_label_table(rows(tmp_path / "labels.csv", TABLE), "carl")
    assert events(ours) == events(theirs)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("x,3,success,,anna", "row 1: episode is 'x'"),
        ("0,-1,success,,anna", "row 1: step is '-1'"),
        ("0,,success,,anna", "row 1: step is ''"),
        ("0,3,sucess,,anna", "row 1: event kind 'sucess' at step 3; choose one of success"),
        ("0,3,reward,,anna", "row 1: a reward needs a value"),
        ("0,3,reward,much,anna", "row 1: value 'much' is no number"),
        ("0,3,reward,nan,anna", "row 1: event 'reward' at step 3 has value nan"),
        ("0,3,none,,anna", "row 1: kind 'none' has neither step nor value"),
        ("0,3,success,,", "a label needs the name of its annotator"),
        ("0,3,success,,anna\n0,2,reward,1,bert", "row 2: episode 0 has rows by 'anna' and by"),
        ("0,3,success,,anna\n0,5,failure,,anna", "an episode ends once"),
        ("", "holds no rows"),
    ],
)
def test_a_row_that_cannot_be_meant(tmp_path: Path, line: str, hint: str) -> None:
    path = rows(tmp_path / "labels.csv", f"episode,step,kind,value,annotator\n{line}\n")
    with pytest.raises(DataError) as error:
        read_label_table(path)
    assert hint in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("a.csv", "episode,event\n0,success\n", "has the columns episode, event"),
        ("a.csv", "episode,kind,note\n0,none,x\n", "has the columns episode, kind, note"),
        ("a.json", "{}", "is not a list of objects"),
        ("a.json", "[1]", "is not a list of objects"),
        ("a.csv", "\udcff", "give a CSV file"),
    ],
)
def test_a_table_of_something_else(tmp_path: Path, name: str, content: str, hint: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as error:
        read_label_table(path)
    assert hint in str(error.value)


def test_a_success_without_a_step_is_one_at_the_end(store: EpisodeStore, tmp_path: Path) -> None:
    path = rows(tmp_path / "labels.csv", "episode,kind\n0,success\n1,none\n")
    labels = read_label_table(path, "anna", last_step_of(store))
    assert events(labels) == {0: [(LENGTH - 1, "success", 1.0)], 1: []}
    for line, hint in (
        ("2,failure", "a failure ends the episode and needs its step"),
        ("9,success", "no episode 9"),
    ):
        path.write_text(f"episode,kind\n{line}\n")
        with pytest.raises((DataError, StoreError), match=hint):
            read_label_table(path, "anna", last_step_of(store))


def test_demonstrations_that_all_succeed(store: EpisodeStore) -> None:
    write_changes(store, plan(store, successes_at_end(store, [1, 2], "anna", 5.0)))
    assert [s.success for s in store.summaries()] == [True, True, True]
    assert store.episode(2).rewards.tolist() == [0] * (LENGTH - 1) + [5]
    assert store.newest_label(0) is None
    with pytest.raises(DataError, match="name of its annotator"):
        successes_at_end(store, [1], "")


def test_what_one_annotator_said_is_taken_back(store: EpisodeStore) -> None:
    """A wrong rule over the labels of a person: theirs count again, and so does the recording."""
    store.label(1, Label("anna", (Event(6, "success", 1.0),)))
    for index in range(2):
        store.label(index, Label("rule", (Event(1, "failure"),)))
    store.label(2, Label("bert", ()))
    with pytest.raises(DataError, match=r"no label by 'rul' counts in .*are by bert, rule"):
        labels_without(store, range(3), "rul")
    done: list[int] = []
    write_changes(store, plan(store, labels_without(store, range(3), "rule")), done.append)
    assert done == [1, 2]
    assert store.newest_label(0) is None
    assert [store.summary(i).length for i in range(3)] == [LENGTH, 7, LENGTH]
    assert [store.labels(i)[-1].annotator for i in (1, 2)] == ["anna", "bert"]
    # What was undone stays undone when the label below it goes as well.
    write_changes(store, plan(store, labels_without(store, range(3), "anna")))
    assert store.newest_label(1) is None


def test_a_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv"):
        read_label_table(tmp_path / "none.csv")
    with pytest.raises(StoreError, match=r"none\.json"):
        read_label_table(tmp_path / "none.json")


def test_a_rule_ends_each_episode_where_it_first_holds(store: EpisodeStore) -> None:
    success = parse_condition(f"{STATE}[0]>0.5", store.spec)
    labels = labels_by_rule(store, range(3), "rule", success_when=success, reward=2.0)
    assert events(labels) == {i: [(2 + i, "success", 2.0)] for i in range(3)}
    held = labels_by_rule(store, [1], "rule", success_when=success, hold_s=0.1)
    assert events(held) == {1: [(4, "success", 1.0)]}
    never = labels_by_rule(store, [2], "rule", success_when=success, hold_s=0.5)
    assert events(never) == {2: []}


def test_whichever_comes_first_ends_the_episode(store: EpisodeStore) -> None:
    success = parse_condition(f"{STATE}[0]>0.5", store.spec)
    failure = parse_condition(f"{STATE}[1]>0.5", store.spec)
    labels = labels_by_rule(store, range(3), "rule", success_when=success, failure_when=failure)
    assert events(labels) == {
        0: [(2, "success", 1)],
        1: [(3, "success", 1)],
        2: [(4, "failure", 0)],
    }
    only = labels_by_rule(store, [0], "rule", failure_when=failure)
    assert events(only) == {0: [(4, "failure", 0.0)]}


@pytest.mark.parametrize(("hold_s", "reward"), [(-1.0, 1.0), (np.nan, 1.0), (0.0, np.inf)])
def test_a_rule_with_unusable_numbers(store: EpisodeStore, hold_s: float, reward: float) -> None:
    success = parse_condition(f"{STATE}[0]>0.5", store.spec)
    with pytest.raises(DataError, match="finite"):
        labels_by_rule(store, [0], "rule", success_when=success, hold_s=hold_s, reward=reward)
    with pytest.raises(DataError, match="needs a condition"):
        labels_by_rule(store, [0], "rule")


def test_a_rule_sees_the_recording_not_an_older_label(store: EpisodeStore) -> None:
    store.label(0, Label("anna", (Event(0, "failure"),)))
    success = parse_condition(f"{STATE}[0]>0.5", store.spec)
    labels = labels_by_rule(store, [0], "rule", success_when=success)
    assert events(labels) == {0: [(2, "success", 1.0)]}


def test_planning_writes_nothing_and_writing_leaves_the_files_alone(store: EpisodeStore) -> None:
    files = {p: p.read_bytes() for p in (store.path / "episodes").iterdir()}
    changes = plan(store, {1: Label("anna", (Event(4, "success", 1.0),)), 0: Label("anna", ())})
    assert [change.index for change in changes] == [0, 1]
    assert str(changes[1]) == (
        "episode 1: no success, 10 steps, return 0, recorded -> success, 5 steps, return 1, by anna"
    )
    assert not (store.path / "labels").exists()
    write_changes(store, changes)
    again = EpisodeStore.open(store.path)
    assert (again.episode(1).length, again.episode(1).success) == (5, True)
    assert again.summary(1) == changes[1].after
    assert again.summary(0) == changes[0].after
    assert {p: p.read_bytes() for p in (store.path / "episodes").iterdir()} == files
    assert plan(again, {change.index: change.label for change in changes}) == []


def test_nothing_is_planned_if_one_label_does_not_fit(store: EpisodeStore) -> None:
    fits = Label("anna", (Event(9, "success", 1.0),))
    with pytest.raises(DataError, match="episode 2: anna put an event at step 10"):
        plan(store, {0: fits, 2: Label("anna", (Event(10, "success", 1.0),))})
    with pytest.raises(DataError, match=r"name episode 3; .* holds 3"):
        plan(store, {0: fits, 3: fits})


def test_labels_are_taken_back(store: EpisodeStore) -> None:
    before = store.summary(1)
    store.label(1, Label("anna", (Event(2, "success", 1.0),)))
    changes = plan(store, withdrawn_labels(store, range(3), "me"))
    assert [(c.index, c.label.withdrawn) for c in changes] == [(1, True)]
    assert "by anna -> no success, 10 steps, return 0, recorded" in str(changes[0])
    write_changes(store, changes)
    assert store.summary(1) == before == changes[0].after
    assert withdrawn_labels(store, range(3), "me") == {}
