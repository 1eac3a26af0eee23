"""Validation of stores with damaged files and labels, and of sources before they are imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from healthy import CAMERA, SPEC, good, smooth

from softflow.curation.validation import validate_source, validate_store
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import write_episode_file
from softflow.data.labels import Event, Label
from softflow.errors import DataError


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    with EpisodeStore.create(tmp_path / "store", SPEC) as written:
        for episode in good(6):
            written.append(episode)
    return EpisodeStore.open(tmp_path / "store")


def test_a_good_store(store: EpisodeStore) -> None:
    done: list[int] = []
    assert list(validate_store(store, on_progress=done.append)) == []
    assert done == [1, 2, 3, 4, 5, 6]


def test_a_store_broken_in_many_ways(store: EpisodeStore) -> None:
    bad = smooth(2)
    bad.actions[7] = np.nan
    # The store would refuse it; another program would not.
    write_episode_file(store.episode_path(2), bad)
    payload = bytearray(store.episode_path(4).read_bytes())
    payload[len(payload) // 2] ^= 0xFF
    store.episode_path(4).write_bytes(payload)
    write_episode_file(store.episode_path(5), store.episode(1, labelled=False))
    store.label(0, Label("anna", (Event(50, "success", 1.0),)))
    write_episode_file(store.episode_path(0), smooth(0, length=30))
    aside = store.path / "set_aside"
    aside.mkdir()
    (aside / "episode_000009.zarr.zip").write_bytes(b"torn")
    problems = list(validate_store(EpisodeStore.open(store.path)))
    assert [(p.severity, p.check, p.episode) for p in problems] == [
        ("warning", "set-aside", ""),
        ("error", "wrong-label", "0"),
        ("error", "not-finite", "2"),
        ("error", "damaged-file", "4"),
        ("error", "duplicate", "5"),
    ]
    assert "episode_000004" in problems[3].message
    assert "step 50" in problems[1].message


def test_an_episode_of_another_store(store: EpisodeStore, tmp_path: Path) -> None:
    other = replace(SPEC, observation_shapes={**SPEC.observation_shapes, CAMERA: (4, 4, 3)})
    small = smooth(9)
    small.observations[CAMERA] = small.observations[CAMERA][:, :4, :4]
    small.validate(other)
    write_episode_file(store.episode_path(3), small)
    (problem,) = validate_store(store)
    assert (problem.check, problem.episode) == ("damaged-file", "3")
    assert "(60, 4, 4, 3)" in problem.message or "(61, 4, 4, 3)" in problem.message


def test_a_labelled_store_is_not_missing_labels(tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "store", SPEC) as written:
        for seed in range(2):
            written.append(smooth(seed, success=False))
    store = EpisodeStore.open(tmp_path / "store")
    assert [p.check for p in validate_store(store)] == ["missing-label"] * 2
    store.label(0, Label("anna", ()))
    assert [p.episode for p in validate_store(store)] == ["1"]
    store.label(0, Label("anna", (), withdrawn=True))
    assert [p.episode for p in validate_store(store)] == ["0", "1"]


class Recording:
    """A source of which one episode cannot be read."""

    spec = SPEC

    def episodes(self) -> list[str]:
        return ["demo_0", "demo_1", "demo_2"]

    def read(self, name: str) -> Episode:
        if name == "demo_1":
            raise DataError("demo_1: cut short")
        episode = smooth(int(name[-1]))
        episode.actions[3] = 4
        return episode


def test_a_source_before_it_is_imported() -> None:
    problems = list(validate_source(Recording()))
    assert [(p.check, p.episode) for p in problems if p.component != 1] == [
        ("action-outside", "demo_0"),
        ("damaged-file", "demo_1"),
        ("action-outside", "demo_2"),
    ]
