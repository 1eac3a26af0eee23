"""The page of a dataset: complete, self-contained, bounded, and drawn by a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.errors import DataError
from softflow.formats.prepared import taken_as
from softflow.pages import data_page_record
from softflow.pages.data_charts import principal_plane
from softflow.pages.data_page import write_page
from softflow.pages.data_page_record import gather
from softflow.pages.data_tables import episode_numbers, episode_table, store_overview
from softflow.utils.progress import SilentProgress

STATE, CAMERA = "observation.state", "observation.images.front"
SPEC = DataSpec({STATE: (3,), CAMERA: (12, 16, 3)}, 2, (-1, -1), (1, 1), 10.0, "toy")


def episode(seed: int, spec: DataSpec = SPEC, length: int = 24, reward: float = 0.0) -> Episode:
    rng = np.random.default_rng(seed)
    success = seed % 2 == 0
    rewards = np.full(length, reward, np.float32)
    rewards[-1] += success
    observations: dict[str, np.ndarray] = {
        key: np.cumsum(rng.normal(size=(length + 1, *spec.observation_shapes[key])), axis=0)
        for key in spec.state_keys
    }
    observations = {key: value.astype(np.float32) for key, value in observations.items()}
    for key in spec.image_keys:
        frames = np.zeros((length + 1, *spec.observation_shapes[key]), np.uint8)
        frames[:] = 10 * seed + np.arange(length + 1)[:, None, None, None]
        observations[key] = frames
    return Episode(
        observations,
        rng.uniform(-1, 1, (length, spec.action_dim)).astype(np.float32),
        rewards,
        terminated=success,
        truncated=not success,
        success=success,
        metadata={"operator": f"operator <{seed % 3}>"},
    )


def make_store(path: Path, *episodes: Episode, spec: DataSpec = SPEC) -> EpisodeStore:
    with EpisodeStore.create(path, spec) as store:
        for item in episodes:
            store.append(item)
    return EpisodeStore.open(path)


def page_of(store: EpisodeStore, lags: int = 10) -> str:
    path = store.path.with_suffix(".html")
    assert write_page(store, path, lags, SilentProgress()) == path
    return path.read_text()


HEADINGS = [
    "Episode lengths",
    "Success by operator",
    "Reward events",
    "action[0]",
    "action[1]",
    "Chunk autocorrelation",
    "Chunk autocorrelation by component",
    "States, success",
    "States, no success",
]


def test_the_page_has_every_part_and_asks_for_nothing(tmp_path: Path) -> None:
    page = page_of(make_store(tmp_path / "demos", *(episode(seed) for seed in range(8))))
    assert re.findall(r"<h3>(.*?)</h3>", page) == HEADINGS
    assert page.count("<img src=") == 6 * 3
    assert "8 episodes, 19 s of data" in page
    assert "operator &lt;1&gt;" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert not re.search(r'="[^"]*\b(nan|inf)\b', page)


@pytest.mark.slow
def test_thumbnails_are_the_first_middle_and_last_frame(tmp_path: Path) -> None:
    store = make_store(tmp_path / "demos", *(episode(seed) for seed in range(9)))
    thumbnails = gather(store, 5, SilentProgress()).thumbnails
    assert [t.outcome for t in thumbnails].count("success") == 3
    for shown in thumbnails:
        assert shown.steps == (0, 12, 24)
        whole = store.episode(shown.index).observations[CAMERA]
        np.testing.assert_array_equal(shown.frames[CAMERA], whole[[0, 12, 24]])


def test_large_frames_shrink(tmp_path: Path) -> None:
    spec = replace(SPEC, observation_shapes={STATE: (3,), CAMERA: (300, 800, 3)})
    store = make_store(tmp_path / "demos", episode(3, spec, length=4), spec=spec)
    (shown,) = gather(store, 5, SilentProgress()).thumbnails
    assert shown.frames[CAMERA].shape == (3, 75, 200, 3)
    np.testing.assert_array_equal(shown.frames[CAMERA][1], 32)


@pytest.mark.parametrize("length", [1, 2, 24])
def test_one_episode(tmp_path: Path, length: int) -> None:
    page = page_of(make_store(tmp_path / "demos", episode(0, length=length)))
    assert "1 episode, " in page
    assert "Success by operator" not in page
    assert not re.search(r'="[^"]*\b(nan|inf)\b', page)


def test_many_components_and_dense_rewards_without_camera(tmp_path: Path) -> None:
    shapes = {STATE: (40,), "observation.force": (2, 3)}
    spec = DataSpec(shapes, 64, (-1,) * 64, (1,) * 64, 10.0, names={"action": NAMES})
    episodes = [episode(seed, spec, reward=-1.0) for seed in range(4)]
    for item in episodes:
        item.actions[:, 5] = 0.5
    page = page_of(make_store(tmp_path / "demos", *episodes, spec=spec))
    assert all(f"<h3>{name}</h3>" in page for name in NAMES)
    assert "More components <span>48</span>" in page
    assert "<h3>Rewards over time</h3>" in page
    assert "<h2>Cameras</h2>" not in page


NAMES = tuple(f"joint_{i}" for i in range(64))


def test_what_nobody_labelled_counts_as_neither(tmp_path: Path) -> None:
    episodes = [episode(seed) for seed in (1, 3, 5)]
    for item in episodes:
        item.metadata["unlabelled"] = True
    store = make_store(tmp_path / "demos", *episodes)
    page = page_of(store)
    assert "Nobody has said how they went" in page
    assert "<h3>States, not labelled</h3>" in page
    assert "succeed" not in page
    store.label(1, Label("anna", (Event(20, "success", 1.0),)))
    page = page_of(store)
    assert "1 of 1, 95 % interval" in page
    assert "2 are not labelled" in page


def test_what_an_import_only_vouched_for_is_no_rate_of_success(tmp_path: Path) -> None:
    episodes = [taken_as(unlabelled(episode(seed)), "success") for seed in (1, 3, 5)]
    store = make_store(tmp_path / "demos", *episodes)
    page, told = page_of(store), store_overview(store)
    words = "3 taken for successes (import --unlabelled success)"
    assert f"{words}: nobody said how each one went." in page
    assert f"success       {words}\n" in told
    for text in (page, told):
        assert "succeed" not in text
        assert "95 % interval" not in text
    assert episode_numbers(store.summaries())["success_rate"] is None
    assert "yes (taken)" in episode_table(store)
    store.label(1, Label("anna", (Event(20, "success", 1.0),)))
    again = EpisodeStore.open(store.path)
    assert "1/1 = 100 % (95 % interval 21–100 %); 2 taken for" in store_overview(again)
    assert "1 of 1, 95 % interval" in page_of(again)


def unlabelled(item: Episode) -> Episode:
    item.metadata["unlabelled"] = True
    return item


def test_cameras_alone(tmp_path: Path) -> None:
    spec = replace(SPEC, observation_shapes={CAMERA: (12, 16, 3)})
    page = page_of(make_store(tmp_path / "demos", episode(1, spec), spec=spec))
    assert "<h2>Coverage</h2>" not in page
    assert "No reward was recorded." in page


@pytest.mark.slow
def test_of_very_many_episodes_a_fixed_sample_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_page_record, "MOST_EPISODES", 5)
    store = make_store(tmp_path / "demos", *(episode(seed, length=4) for seed in range(30)))
    first, again = (gather(store, 2, SilentProgress()) for _ in range(2))
    assert (first.num_read, len(first.summaries), len(first.actions)) == (5, 30, 20)
    np.testing.assert_array_equal(first.actions, again.actions)
    assert "of 5 episodes, a fixed sample" in page_of(store)


def test_what_cannot_be_plotted(tmp_path: Path) -> None:
    store = make_store(tmp_path / "demos")
    with pytest.raises(DataError, match="holds no episodes"):
        page_of(store)
    with pytest.raises(DataError, match="lags is 0"):
        page_of(make_store(tmp_path / "one", episode(0)), lags=0)


def test_principal_components_by_another_way() -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 6)) + 30
    states = np.concatenate([states, np.full((500, 1), 2.0)], axis=1)
    found = principal_plane(states.astype(np.float32))
    assert found is not None
    points, shares = found
    values, vectors = np.linalg.eigh(np.corrcoef(states[:, :6].T))
    scaled = (states[:, :6] - states[:, :6].mean(axis=0)) / states[:, :6].std(axis=0)
    assert shares == pytest.approx((values[-1] / 6, values[-2] / 6), rel=1e-4)
    for axis in (0, 1):
        expected = scaled @ vectors[:, -1 - axis]
        assert abs(np.corrcoef(points[:, axis], expected)[0, 1]) == pytest.approx(1, abs=1e-5)
    assert principal_plane(states[:2]) is None
    assert principal_plane(np.outer(np.arange(9.0), [1, 2])) is None


def test_a_browser_draws_it(
    tmp_path: Path, colours_in_a_browser: Callable[[Path, int, float], set[object]]
) -> None:
    page_of(make_store(tmp_path / "demos", *(episode(seed) for seed in range(8))))
    colours = colours_in_a_browser(tmp_path / "demos.html", 3200, 120)
    assert {(0x31, 0x9A, 0x63), (0xD2, 0x52, 0x1D), (0x24, 0x73, 0xC6)} <= colours
    assert (10, 10, 10) in colours or (0, 0, 0) in colours, "a camera frame"
