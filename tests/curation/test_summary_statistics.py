"""Statistics in one pass equal numpy's on everything at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_episodes import CAMERA, STATE, EpisodeMaker

from softflow.curation.lag_correlation import LEAST_PAIRS, LagCorrelation
from softflow.curation.row_sample import SAMPLE_VALUES, RowSample, sample_rows
from softflow.curation.summary_statistics import QUANTILES, RowStatistics, key_statistics
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode

LENGTHS = (7, 1, 30, 12)


@pytest.fixture
def episodes(image_spec: DataSpec, make_episode: EpisodeMaker) -> list[Episode]:
    return [make_episode(image_spec, length=n, seed=n) for n in LENGTHS]


def test_statistics_of_states_actions_and_rewards(
    image_spec: DataSpec, episodes: list[Episode]
) -> None:
    found = {s.key: s for s in key_statistics(iter(episodes), image_spec)}
    assert list(found) == [STATE, "action", "next.reward"]
    whole = {
        STATE: np.concatenate([e.observations[STATE] for e in episodes]),
        "action": np.concatenate([e.actions for e in episodes]),
        "next.reward": np.concatenate([e.rewards for e in episodes])[:, None],
    }
    for key, rows in whole.items():
        rows = rows.astype(np.float64)
        assert found[key].count == len(rows)
        assert found[key].exact_quantiles
        np.testing.assert_allclose(found[key].mean, rows.mean(axis=0), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(found[key].std, rows.std(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(found[key].low, rows.min(axis=0))
        np.testing.assert_array_equal(found[key].high, rows.max(axis=0))
        quantiles = np.quantile(rows, QUANTILES, axis=0)
        np.testing.assert_allclose(found[key].quantiles, quantiles, rtol=1e-12)


def test_statistics_of_cameras_are_those_of_every_pixel(
    image_spec: DataSpec, episodes: list[Episode]
) -> None:
    (found,) = key_statistics(episodes, image_spec, with_images=True)[3:]
    pixels = np.concatenate([e.observations[CAMERA] for e in episodes]).reshape(-1, 3)
    assert (found.key, found.names) == (CAMERA, ("red", "green", "blue"))
    assert found.count == len(pixels)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(axis=0), rtol=1e-12)
    np.testing.assert_array_equal(found.low, pixels.min(axis=0))
    np.testing.assert_array_equal(found.high, pixels.max(axis=0))
    np.testing.assert_allclose(found.quantiles, np.quantile(pixels, QUANTILES, axis=0))


def test_no_episode_no_statistics(image_spec: DataSpec) -> None:
    assert key_statistics([], image_spec) == []


def test_spread_survives_values_far_from_zero() -> None:
    rows = 1e8 + np.random.default_rng(0).normal(0, 1e-3, (1000, 2))
    statistics = RowStatistics(2)
    for part in np.array_split(rows, 7):
        statistics.add(part)
    np.testing.assert_allclose(statistics.result("x", ("0", "1")).std, rows.std(axis=0), rtol=1e-4)


# ---- samples ------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(1, 40))
def test_a_sample_is_bounded_in_order_and_the_same_however_it_arrives(
    parts: list[int], limit: int
) -> None:
    rows = np.arange(sum(parts))[:, None]
    piecewise, at_once = RowSample(limit), RowSample(limit)
    for part in np.split(rows, np.cumsum(parts)[:-1]):
        piecewise.add(part)
    at_once.add(rows)
    kept = piecewise.rows
    assert len(kept) <= limit
    assert piecewise.seen == len(rows)
    assert piecewise.exact == (len(kept) == len(rows))
    assert np.all(np.diff(kept[:, 0]) > 0)
    if len(rows) <= limit:
        np.testing.assert_array_equal(kept, rows)
    assert set(kept[:, 0]) == set(at_once.rows[:, 0])


def test_a_sample_sees_every_step_of_episodes_of_equal_length_alike() -> None:
    """64 steps each: a sample of every 64th row would see one step alone."""
    sample = RowSample(5_000)
    for _ in range(3_000):
        sample.add(np.arange(64)[:, None])
    assert 2_000 < len(sample.rows) <= 5_000
    assert not sample.exact
    counts = np.bincount(sample.rows[:, 0], minlength=64)
    expected = len(sample.rows) / 64
    assert ((counts - expected) ** 2 / expected).sum() < 63 + 5 * np.sqrt(2 * 63)


def test_wide_rows_are_kept_in_smaller_number() -> None:
    assert sample_rows(5) == 100_000
    assert sample_rows(1_000) * 1_000 == SAMPLE_VALUES


# ---- correlation with later actions -------------------------------------------------------------


def test_correlation_with_later_rows_of_the_same_episode() -> None:
    rng = np.random.default_rng(0)
    episodes = [100 + np.cumsum(rng.normal(size=(n, 3)), axis=0) for n in (40, 25, 3)]
    correlation = LagCorrelation(3, lags=12)
    for episode in episodes:
        correlation.add(episode.astype(np.float32))
    found = correlation.result()
    for lag in range(13):
        long = [e.astype(np.float32) for e in episodes if len(e) > lag]
        pairs = [(e[: len(e) - lag], e[lag:]) for e in long]
        x, y = (np.concatenate(side) for side in zip(*pairs, strict=True))
        for i in range(3):
            assert found[lag, i] == pytest.approx(np.corrcoef(x[:, i], y[:, i])[0, 1], abs=1e-6)


def test_a_constant_component_and_too_short_episodes_have_no_correlation() -> None:
    correlation = LagCorrelation(2, lags=30)
    rows = np.random.default_rng(0).normal(size=(30, 2))
    rows[:, 1] = 0.3
    correlation.add(rows)
    found = correlation.result()
    assert np.isnan(found[:, 1]).all()
    assert np.isfinite(found[: 31 - LEAST_PAIRS, 0]).all()
    assert np.isnan(found[31 - LEAST_PAIRS :, 0]).all()


@pytest.mark.filterwarnings("error")
def test_infinity_spoils_its_own_component_without_a_warning() -> None:
    statistics = RowStatistics(2)
    for value in (np.inf, 1.0):
        statistics.add(np.array([[value, 1.0], [0.0, 3.0]], np.float32))
    found = statistics.result("action", ("x", "y"))
    assert np.isnan(found.std[0])
    assert (found.mean[1], found.std[1]) == (2.0, 1.0)
