"""Merged and filtered stores hold the same arrays and labels, also after a kill in the middle."""

from __future__ import annotations

import multiprocessing
import os
import signal
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_episodes import STATE, EpisodeMaker

from softflow.curation.copying import COPIED_FROM, Copied, common_spec, copy_episodes, merge
from softflow.curation.selection import Rules, decide, parse_where
from softflow.curation.stored_frames import MIXED, frames_told
from softflow.curation.validation import validate_store
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import EpisodeSummary, write_episode_file
from softflow.data.files.frame_storage import EXACT, FrameStorage
from softflow.data.labels import EVENT_KINDS_FILE, Event, Label
from softflow.errors import DataError, StoreError

StoreMaker = Callable[..., EpisodeStore]


@pytest.fixture
def make_store(tmp_path: Path, image_spec: DataSpec, make_episode: EpisodeMaker) -> StoreMaker:
    """`make_store(name, count)`: a store open for reading."""

    def make(name: str, count: int, seed: int = 0, spec: DataSpec = image_spec) -> EpisodeStore:
        with EpisodeStore.create(tmp_path / name, spec) as store:
            for i in range(count):
                success = i % 2 == 0
                store.append(make_episode(spec, length=4 + i, seed=seed + i, success=success))
        return EpisodeStore.open(tmp_path / name)

    return make


def same(ours: Episode, theirs: Episode) -> bool:
    for key in theirs.observations:
        np.testing.assert_array_equal(ours.observations[key], theirs.observations[key])
        assert ours.observations[key].dtype == theirs.observations[key].dtype
    np.testing.assert_array_equal(ours.actions, theirs.actions)
    np.testing.assert_array_equal(ours.rewards, theirs.rewards)
    ours_end = (ours.terminated, ours.truncated, ours.success)
    return ours_end == (theirs.terminated, theirs.truncated, theirs.success)


def test_what_may_happen_is_declared_in_a_copy_too(make_store: StoreMaker, tmp_path: Path) -> None:
    """Else labels by name could not be corrected there."""
    first, second = make_store("a", 1), make_store("b", 1, seed=10)
    (second.path / EVENT_KINDS_FILE).write_text('[[event]]\nname = "cut"\n')
    merge([first, second], tmp_path / "out")
    assert "cut" in (tmp_path / "out" / EVENT_KINDS_FILE).read_text()
    (tmp_path / "out" / EVENT_KINDS_FILE).write_text('[[event]]\nname = "own"\n')
    merge([first, second], tmp_path / "out")
    assert "own" in (tmp_path / "out" / EVENT_KINDS_FILE).read_text()


def test_merge_keeps_arrays_order_metadata_and_labels(
    make_store: StoreMaker, tmp_path: Path
) -> None:
    first, second = make_store("a", 3), make_store("b", 2, seed=10)
    labels = [
        Label("anna", (Event(1, "reward", 0.5),), "2024-01-01T00:00:00+00:00"),
        Label("bert", (Event(2, "success", 1.0),), "2024-01-02T00:00:00+00:00"),
    ]
    for label in labels:
        second.label(1, label)
    assert merge([first, second], tmp_path / "out") == Copied(5, 0, 2)
    out = EpisodeStore.open(tmp_path / "out")
    for index, (store, old) in enumerate(
        [(first, 0), (first, 1), (first, 2), (second, 0), (second, 1)]
    ):
        assert same(out.episode(index), store.episode(old))
        assert same(out.episode(index, labelled=False), store.episode(old, labelled=False))
        metadata = dict(out.summary(index).metadata)
        place = {"store": str(store.path.resolve()), "episode": f"episode_{old:06d}"}
        assert metadata.pop(COPIED_FROM) == [place]
        assert metadata == store.summary(old).metadata
    assert out.labels(4) == labels
    assert out.labels(0) == []


def test_a_copy_of_a_copy_knows_both_places(make_store: StoreMaker, tmp_path: Path) -> None:
    merge([make_store("a", 1)], tmp_path / "b")
    merge([EpisodeStore.open(tmp_path / "b")], tmp_path / "c")
    places = EpisodeStore.open(tmp_path / "c").summary(0).metadata[COPIED_FROM]
    assert [Path(place["store"]).name for place in places] == ["a", "b"]


def test_merging_again_adds_what_is_new(make_store: StoreMaker, tmp_path: Path) -> None:
    store = make_store("a", 2)
    assert merge([store], tmp_path / "out") == Copied(2, 0, 0)
    store.label(0, Label("anna", ()))
    other = make_store("b", 1, seed=5)
    assert merge([store, other], tmp_path / "out") == Copied(1, 2, 1)
    assert merge([store, other], tmp_path / "out") == Copied(0, 3, 0)


def test_a_copy_that_was_labelled_anew_keeps_its_label(
    make_store: StoreMaker, tmp_path: Path
) -> None:
    store = make_store("a", 1)
    merge([store], tmp_path / "out")
    out = EpisodeStore.open(tmp_path / "out")
    own = Label("carl", ())
    out.label(0, own)
    store.label(0, Label("anna", (Event(0, "failure"),)))
    assert merge([store], tmp_path / "out").labels == 0
    assert out.labels(0) == [own]


def _merge_and_die(paths: list[Path], out: Path, after: int) -> None:
    def die(done: int) -> None:
        if done == after:
            os.kill(os.getpid(), signal.SIGKILL)

    merge([EpisodeStore.open(path) for path in paths], out, die)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 3])
def test_a_killed_merge_goes_on(make_store: StoreMaker, tmp_path: Path, after: int) -> None:
    stores = [make_store("a", 2), make_store("b", 2, seed=7)]
    stores[1].label(1, Label("anna", ()))
    process = multiprocessing.get_context("spawn").Process(
        target=_merge_and_die, args=([s.path for s in stores], tmp_path / "out", after)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert merge(stores, tmp_path / "out") == Copied(4 - after, after, 1)
    out = EpisodeStore.open(tmp_path / "out")
    assert len(out) == 4
    assert all(same(out.episode(i), stores[i // 2].episode(i % 2)) for i in range(4))


def test_stores_that_do_not_fit_are_refused_with_every_difference(
    make_store: StoreMaker, image_spec: DataSpec, tmp_path: Path
) -> None:
    other = replace(image_spec, control_hz=10.0, observation_shapes={STATE: (3,)}, env_id="b")
    stores = [make_store("a", 1), make_store("b", 1, spec=other)]
    with pytest.raises(DataError) as error:
        merge(stores, tmp_path / "out")
    for part in ("control_hz: 20.0 and 10.0", "images.front", "'toy' and 'b'", "/a' and '"):
        assert part in str(error.value)
    assert not (tmp_path / "out").exists()


def test_stores_of_one_environment_by_two_names_are_told_the_command(
    make_store: StoreMaker, image_spec: DataSpec, tmp_path: Path
) -> None:
    stores = [make_store("a", 1), make_store("b", 1, spec=replace(image_spec, env_id="b"))]
    with pytest.raises(DataError, match=r"bounds \S*b --env-id toy --replace-env$"):
        merge(stores, tmp_path / "out")


def test_what_is_unknown_in_one_store_comes_from_the_other(
    make_store: StoreMaker, image_spec: DataSpec
) -> None:
    bare = make_store("a", 1, spec=replace(image_spec, env_id=""))
    named = make_store("b", 1, spec=replace(image_spec, names={"action": ("x", "y")}))
    assert common_spec([bare, named]) == named.spec


def test_bounds_taken_from_two_recordings_become_the_wider_ones(
    make_store: StoreMaker, image_spec: DataSpec, tmp_path: Path
) -> None:
    """Importers take them from the data, so two days of one robot never have the same."""
    size = image_spec.action_dim
    low = replace(image_spec, action_low=(-2.0,) * size, action_high=(1.0,) * size)
    high = replace(image_spec, action_low=(-1.0,) * size, action_high=(1.5,) * size)
    stores = [make_store("a", 1, spec=low), make_store("b", 1, seed=3, spec=high)]
    assert merge(stores, tmp_path / "out") == Copied(2, 0, 0)
    spec = EpisodeStore.open(tmp_path / "out").spec
    assert (spec.action_low, spec.action_high) == ((-2.0,) * size, (1.5,) * size)
    assert merge(stores, tmp_path / "out") == Copied(0, 2, 0)


def test_a_merge_that_cannot_be_meant(make_store: StoreMaker, tmp_path: Path) -> None:
    store, other = make_store("a", 1), make_store("b", 1, seed=3)
    for stores, out, hint in (
        ([store, store], "out", "once"),
        ([], "out", "once"),
        ([store], "a", "is one of the sources"),
        ([store], "b", "recorded there"),
    ):
        with pytest.raises(DataError, match=hint):
            merge(stores, tmp_path / out)
    merge([store], tmp_path / "out")
    with pytest.raises(DataError, match=r"episode_000000 of '.*a'.*choose a new folder"):
        merge([other], tmp_path / "out")


def test_an_unusable_episode_is_named(
    make_store: StoreMaker, make_episode: EpisodeMaker, image_spec: DataSpec, tmp_path: Path
) -> None:
    store = make_store("a", 2)
    bad = make_episode(image_spec)
    bad.actions[2, 1] = np.nan
    write_episode_file(store.episode_path(1), bad)
    with pytest.raises(DataError, match=r"a', episode 1: .*step 2.*--drop-invalid"):
        merge([store], tmp_path / "out")
    assert copy_episodes([(store, 0)], tmp_path / "out", store.spec) == Copied(0, 1, 0)


# ---- what to keep -------------------------------------------------------------------------------

SUMMARY = EpisodeSummary(
    0,
    length=50,
    success=True,
    terminated=True,
    truncated=False,
    return_=1.0,
    metadata={
        "operator": "anna",
        "source": "a.hdf5",
        "collection": {"seed": 3, "good": True, "mixture": "12"},
        "dotted.key": 1.5,
    },
)


@pytest.mark.parametrize(
    ("rules", "reasons"),
    [
        (Rules(), []),
        (Rules(success=True, operators=("bert", "anna"), min_length=50, max_length=50), []),
        (Rules(success=False), ["a success"]),
        (Rules(operators=("bert",)), ["another operator"]),
        (Rules(sources=("b.hdf5",)), ["another source"]),
        (Rules(min_length=51), ["shorter than 51 steps"]),
        (Rules(max_length=49, success=False), ["a success", "longer than 49 steps"]),
    ],
)
def test_why_an_episode_is_dropped(rules: Rules, reasons: list[str]) -> None:
    assert list(rules.reasons(SUMMARY)) == reasons


def test_what_is_not_known_is_not_kept() -> None:
    bare = replace(SUMMARY, metadata={}, success=False)
    rules = Rules(success=True, operators=("anna",), where=(("a.b", "1"),))
    assert list(rules.reasons(bare)) == ["no success", "no operator known", "a.b is not 1"]
    unlabelled = replace(bare, metadata={"unlabelled": True})
    assert list(Rules(success=False).reasons(unlabelled)) == ["not labelled"]
    told = replace(bare, metadata={"unlabelled": True, "annotator": "anna"})
    assert list(Rules(success=False).reasons(told)) == []


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("operator=anna", True),
        ("collection.seed=3", True),
        ("collection.seed = 3.0", True),
        ("collection.seed=4", False),
        ("collection.good=true", True),
        ("collection.good=1", False),
        ("collection.seed=true", False),
        ("collection.mixture=12", True),
        ("dotted.key=1.5", True),
        ("collection=3", False),
        ("collection.seed.x=3", False),
        ("operator=", False),
    ],
)
def test_where_metadata_equals(text: str, kept: bool) -> None:
    assert (list(Rules(where=(parse_where(text),)).reasons(SUMMARY)) == []) == kept


@pytest.mark.parametrize("text", ["operator", "=anna", " =1"])
def test_where_needs_a_key_and_a_value(text: str) -> None:
    with pytest.raises(DataError, match="write KEY=VALUE"):
        parse_where(text)


@pytest.mark.parametrize(("least", "most"), [(10, 9), (-1, None), (None, 0)])
def test_lengths_that_no_episode_has(least: int | None, most: int | None) -> None:
    with pytest.raises(DataError, match="correct the limits"):
        Rules(min_length=least, max_length=most)


def test_episodes_are_judged_as_they_are_labelled(make_store: StoreMaker) -> None:
    store = make_store("a", 4)
    store.label(0, Label("anna", ()))
    store.label(1, Label("anna", (Event(2, "success", 1.0),)))
    decided = dict(decide(store, Rules(success=True, max_length=3), {3: "invalid"}))
    assert decided == {
        0: ["no success", "longer than 3 steps"],
        1: [],
        2: ["longer than 3 steps"],
        3: ["invalid"],
    }


def test_frames_are_copied_and_not_encoded_anew(make_store: StoreMaker, tmp_path: Path) -> None:
    source = make_store("a", 1)
    camera = source.spec.image_keys[0]
    assert merge([source], tmp_path / "b").copied == 1
    copy = EpisodeStore.open(tmp_path / "b")
    assert same(copy.episode(0), source.episode(0))
    assert copy.verify() == []
    path = source.episode_path(0)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(copy.episode_path(0)) as new:
        assert sorted(new.namelist()) == sorted(old.namelist())
        for entry in old.infolist():
            if entry.filename != "zarr.json":
                assert new.getinfo(entry.filename).header_offset == entry.header_offset
        piece = next(e for e in old.infolist() if f"data/{camera}/c/0" in e.filename)

    # A frame that rotted is not copied on.
    content = bytearray(path.read_bytes())
    content[piece.header_offset + 150] ^= 255
    path.write_bytes(content)
    with pytest.raises(StoreError, match="does not match"):
        merge([EpisodeStore.open(tmp_path / "a")], tmp_path / "c")
    assert len(EpisodeStore.open(tmp_path / "c")) == 0


JPEG = FrameStorage("jpeg", 95)


def test_frames_are_stored_anew_where_that_is_asked_for(
    make_store: StoreMaker, tmp_path: Path
) -> None:
    store = make_store("a", 3)
    store.label(1, Label("anna", (Event(2, "success", 1.0),), "2024-01-01T00:00:00+00:00"))
    assert merge([store], tmp_path / "lossy", frames=JPEG) == Copied(3, 0, 1)
    assert merge([store], tmp_path / "lossy", frames=JPEG) == Copied(0, 3, 0), "it goes on"
    lossy = EpisodeStore.open(tmp_path / "lossy")
    assert [s.frames.storage for s in lossy.summaries() if s.frames] == [JPEG] * 3
    assert lossy.episode(1).length == store.episode(1).length == 3, "labels come along"
    np.testing.assert_array_equal(lossy.episode(2).actions, store.episode(2).actions)
    # Once more, as they are: nothing is lost twice.
    merge([lossy], tmp_path / "again")
    again = EpisodeStore.open(tmp_path / "again")
    assert again.frames == JPEG
    assert same(again.episode(0), lossy.episode(0))
    merge([lossy], tmp_path / "exact", frames=EXACT)
    exact = EpisodeStore.open(tmp_path / "exact")
    assert exact.summary(0).frames is None
    assert same(exact.episode(0), lossy.episode(0))


def test_frames_of_two_kinds_are_told(make_store: StoreMaker, tmp_path: Path) -> None:
    store = make_store("a", 2)
    merge([store], tmp_path / "lossy", frames=JPEG)
    both = [make_store("b", 1, seed=10), EpisodeStore.open(tmp_path / "lossy")]
    merge(both, tmp_path / "mixed")
    mixed = EpisodeStore.open(tmp_path / "mixed")
    assert mixed.frames == EXACT
    told = frames_told(mixed)
    assert told[0].startswith("2 episodes JPEG of quality 95: ")
    assert told[1:] == ["1 episode exact", f"careful: {MIXED}"]
    warned = [p.message for p in validate_store(mixed) if p.check == "mixed-frames"]
    assert warned == [MIXED]
    assert not [p for p in validate_store(both[1]) if p.check == "mixed-frames"]
    merge(both, tmp_path / "one_kind", frames=JPEG)
    (line,) = frames_told(EpisodeStore.open(tmp_path / "one_kind"))
    assert line.startswith("JPEG of quality 95")
