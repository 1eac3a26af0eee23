"""Frames stored as JPEGs: smaller, not quite the same, read by every way that exact ones are."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from frame_features import Corners, assert_right
from PIL import Image

from softflow.cli.frame_options import FrameOptions
from softflow.curation.stored_frames import frames_to_expect, frames_told
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_reading import DamagedEpisodeError
from softflow.data.files.frame_reading import OpenEpisodes, read_frames
from softflow.data.files.frame_storage import EXACT, FrameStorage
from softflow.data.fingerprints import fingerprints
from softflow.errors import ConfigError, DataError, StoreError
from softflow.sampling.frame_cache import FrameCache

CAMERA, STATE = "observation.images.front", "observation.state"
SPEC = DataSpec({CAMERA: (24, 40, 3), STATE: (3,)}, 2, (-1.0, -1.0), (1.0, 1.0), 10.0)
LENGTH = 19
JPEG = FrameStorage("jpeg", 95)


def seen() -> Episode:
    """A coloured scene that moves, with a camera's noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :40]
    steps = np.arange(LENGTH + 1)[:, None, None]
    colours = (rows * 7 + steps, columns * 5 + 0 * steps, 255 - rows * 5 - steps)
    scene = np.stack([colour + 0 * steps * rows for colour in colours], axis=-1)
    frames = (scene + rng.integers(0, 4, scene.shape)).clip(0, 255).astype(np.uint8)
    states = rng.normal(size=(LENGTH + 1, 3)).astype(np.float32)
    actions = rng.uniform(-1, 1, (LENGTH, 2)).astype(np.float32)
    rewards = np.zeros(LENGTH, np.float32)
    return Episode({CAMERA: frames, STATE: states}, actions, rewards, False, True, False)


@pytest.fixture
def stored(tmp_path: Path) -> EpisodeStore:
    with EpisodeStore.create(tmp_path / "lossy", SPEC, JPEG) as store:
        store.append(seen())
        store.append(replace(seen(), success=True))
    return EpisodeStore.open(tmp_path / "lossy")


def test_only_frames_lose_and_what_they_lose_is_told(stored: EpisodeStore) -> None:
    before, after = seen(), stored.episode(0)
    np.testing.assert_array_equal(after.observations[STATE], before.observations[STATE])
    np.testing.assert_array_equal(after.actions, before.actions)
    lost = after.observations[CAMERA].astype(float) - before.observations[CAMERA]
    frames = stored.summary(0).frames
    assert frames is not None
    assert frames.storage == stored.frames == JPEG
    loss = frames.loss[CAMERA]
    # Four of twenty frames stand for all of them.
    assert loss.frames == 4
    assert loss.mean_difference == pytest.approx(np.abs(lost).mean(), rel=0.1)
    assert loss.mean_squared_difference == pytest.approx(np.square(lost).mean(), rel=0.1)
    assert 0 < loss.mean_difference < 3
    assert loss.bytes < loss.exact_bytes
    (line,) = frames_told(stored)
    assert line.startswith("JPEG of quality 95: ")
    assert f"{loss.exact_bytes / loss.bytes:.1f} times smaller" in line


def test_a_worse_quality_is_smaller_and_loses_more(tmp_path: Path) -> None:
    losses = []
    for quality in (95, 40):
        with EpisodeStore.create(tmp_path / f"{quality}", SPEC, FrameStorage("jpeg", quality)) as s:
            s.append(seen())
        frames = s.summary(0).frames
        assert frames is not None
        losses.append(frames.loss[CAMERA])
    assert losses[1].bytes < losses[0].bytes
    assert losses[1].mean_difference > losses[0].mean_difference


def test_every_way_of_reading_gives_the_same_frames(stored: EpisodeStore) -> None:
    frames = stored.episode(1).observations[CAMERA]
    path = stored.episode_path(1)
    for read in (read_frames, OpenEpisodes().frames):
        np.testing.assert_array_equal(read(path, SPEC, [CAMERA], 3, 99)[CAMERA], frames[3:])
    steps = np.array([LENGTH, 0, 7, 7])
    cached = FrameCache(stored, 10_000).frames([CAMERA], np.ones(4, int), steps)[CAMERA]
    np.testing.assert_array_equal(cached, frames[steps])
    assert stored.verify() == []


def test_features_of_lossy_frames_are_kept_as_those_of_exact_ones(tmp_path: Path) -> None:
    shapes = {CAMERA: (6, 8, 3), STATE: (3,)}
    spec = replace(SPEC, observation_shapes=shapes)
    episode = seen()
    small = episode.observations | {CAMERA: episode.observations[CAMERA][:, :6, :8]}
    with EpisodeStore.create(tmp_path / "lossy", spec, JPEG) as store:
        store.append(replace(episode, observations=small))
    assert_right(Corners().filled(store), store)


def test_a_piece_is_a_jpeg_that_others_decode_alike(stored: EpisodeStore) -> None:
    frames = stored.episode(0).observations[CAMERA]
    with zipfile.ZipFile(stored.episode_path(0)) as archive:
        payload = archive.read(f"data/{CAMERA}/c/5/0/0/0")
        document = json.loads(archive.read(f"data/{CAMERA}/zarr.json"))
        group = json.loads(archive.read("zarr.json"))
    told = {"name": "imagecodecs_jpeg", "configuration": {"level": 95, "subsampling": "444"}}
    assert document["codecs"] == [told]
    assert document["chunk_grid"]["configuration"]["chunk_shape"] == [1, 24, 40, 3]
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(payload), frames[5])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(payload))), frames[5])
    assert group["attributes"]["format_version"] == 3


def test_exact_stores_stay_readable_by_older_softflows(tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "exact", SPEC) as store:
        store.append(seen())
    assert store.frames == EXACT
    assert store.summary(0).frames is None
    document = json.loads((store.path / "store.json").read_text())
    assert document["format_version"] == 2
    assert "frames" not in document
    with zipfile.ZipFile(store.episode_path(0)) as archive:
        attributes = json.loads(archive.read("zarr.json"))["attributes"]
    assert attributes["format_version"] == 2
    assert "frames" not in attributes


def test_a_store_goes_on_as_it_began(stored: EpisodeStore) -> None:
    with EpisodeStore.open_or_create(stored.path, SPEC) as store:
        store.append(seen())
    frames = store.summary(2).frames
    assert frames is not None
    assert frames.storage == JPEG
    with pytest.raises(DataError, match="frames: JPEG of quality 95 and exact"):
        EpisodeStore.open_or_create(stored.path, SPEC, EXACT)
    with EpisodeStore.open_or_create(stored.path, SPEC, JPEG) as again:
        again.redeclare(replace(SPEC, action_low=(-2.0, -2.0)))
    assert EpisodeStore.open(stored.path).frames == JPEG


def test_other_frames_are_another_recording(stored: EpisodeStore, tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "exact", SPEC) as exact:
        exact.append(seen())
    assert fingerprints(exact, [0]) != fingerprints(stored, [0])


def repacked(path: Path, name: str, content: bytes) -> None:
    """An episode file with another entry, whose CRC is right."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for entry, old in entries.items():
            archive.writestr(entry, content if entry == name else old)


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 24)) -> bytes:
    content = io.BytesIO()
    Image.new(mode, size).save(content, kind)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (encoded("JPEG", size=(4000, 3000)), "a frame is RGB of"),
        (encoded("JPEG", "L"), "a frame is L of"),
        (encoded("PNG"), "no whole JPEG"),
        (encoded("JPEG")[:-200], "no whole JPEG"),
        (encoded("JPEG"), "checksum"),
        (b"", "no whole JPEG"),
    ],
    ids=["larger", "grey", "png", "torn", "another", "empty"],
)
def test_frames_of_strangers_are_held_against_what_is_declared(
    stored: EpisodeStore, content: bytes, told: str
) -> None:
    path = stored.episode_path(0)
    repacked(path, f"data/{CAMERA}/c/5/0/0/0", content)
    with pytest.raises(DamagedEpisodeError, match=told):
        stored.episode(0)
    if told != "checksum":  # single frames are held to the zip's own
        with pytest.raises(DamagedEpisodeError, match=told):
            read_frames(path, SPEC, [CAMERA], 5, 6)
        with pytest.raises(DamagedEpisodeError):
            FrameCache(stored, 1).frames([CAMERA], np.zeros(1, int), np.array([5]))


def test_a_flipped_bit_is_found(stored: EpisodeStore) -> None:
    path = stored.episode_path(0)
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo(f"data/{CAMERA}/c/5/0/0/0").header_offset + 400
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedEpisodeError):
        FrameCache(stored, 1).frames([CAMERA], np.zeros(1, int), np.array([5]))
    assert len(stored.verify()) == 1


def test_a_loss_that_cannot_be_is_damage(stored: EpisodeStore) -> None:
    path = stored.episode_path(0)
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read("zarr.json"))
    document["attributes"]["frames"]["loss"][CAMERA]["bytes"] = 0
    repacked(path, "zarr.json", json.dumps(document).encode())
    with pytest.raises(DamagedEpisodeError, match="bytes"):
        stored.summary(0)


def test_states_are_never_jpegs(stored: EpisodeStore) -> None:
    path = stored.episode_path(0)
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read(f"data/{STATE}/zarr.json"))
    document["codecs"] = [{"name": "imagecodecs_jpeg"}]
    repacked(path, f"data/{STATE}/zarr.json", json.dumps(document).encode())
    with pytest.raises(StoreError, match=r"stored by other software \(imagecodecs_jpeg of float32"):
        stored.episode(0)


def test_without_pillow_nothing_is_taken_for_damaged(
    stored: EpisodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    for use in (
        lambda: stored.episode(0),
        lambda: read_frames(stored.episode_path(0), SPEC, [CAMERA], 0, 1),
        lambda: FrameCache(stored, 1).frames([CAMERA], np.zeros(1, int), np.zeros(1, int)),
        lambda: EpisodeStore.open(stored.path, writable=True),
    ):
        with pytest.raises(StoreError, match="pip install pillow") as caught:
            use()
        assert not isinstance(caught.value, DamagedEpisodeError)
    assert stored.episode(0, with_images=False).length == LENGTH
    assert len(EpisodeStore.open(stored.path)) == 2


def test_what_may_be_asked_for() -> None:
    assert FrameOptions().frame_storage is None
    assert FrameOptions(frames="exact").frame_storage == EXACT
    assert FrameOptions(frames="jpeg").frame_storage == JPEG
    assert FrameOptions(frames="jpeg", jpeg_quality=80).frame_storage == FrameStorage("jpeg", 80)
    with pytest.raises(ConfigError, match="needs --frames jpeg"):
        FrameOptions(jpeg_quality=80)
    with pytest.raises(ConfigError, match="--jpeg-quality is 0; give 1 to 100"):
        FrameOptions(frames="jpeg", jpeg_quality=0)


def test_no_camera_no_jpegs(tmp_path: Path) -> None:
    blind = replace(SPEC, observation_shapes={STATE: (3,)})
    with pytest.raises(DataError, match="no camera whose frames"):
        EpisodeStore.create(tmp_path / "blind", blind, JPEG)
    assert not (tmp_path / "blind").exists()


def test_what_would_be_lost_is_known_before() -> None:
    exact = frames_to_expect(seen(), EXACT)
    assert re.match(
        r"exact: about [\d.]+ MiB for this episode; --frames jpeg about [\d.]+ MiB", exact
    )
    assert frames_to_expect(seen(), JPEG).startswith("JPEG of quality 95: about ")
