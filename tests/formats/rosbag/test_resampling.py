"""Signals on control steps: values worked by hand, and properties that must hold for any signal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from softflow.errors import DataError
from softflow.formats.rosbag.resampling import (
    continuous,
    control_times,
    linear,
    nearest,
    ordered,
    previous,
    resample,
    slerp,
    with_positive_start,
)

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
"""Times as they are in recordings: large, so that float64 seconds would lose microseconds."""

rising_times = st.lists(st.integers(0, 10**11), min_size=2, max_size=20, unique=True).map(
    lambda times: START + np.array(sorted(times), np.int64)
)


@st.composite
def times_inside(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Message times, and times between the first and last of them."""
    times = draw(rising_times)
    inside = st.integers(int(times[0]), int(times[-1]))
    at = draw(st.lists(inside, min_size=1, max_size=20))
    return times, np.array(sorted(at), np.int64)


@st.composite
def orientations(draw: st.DrawFn, count: int) -> np.ndarray:
    """Unit quaternions [count, 4]."""
    values = draw(hnp.arrays(np.float64, (count, 4), elements=st.floats(-1, 1)))
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    assume(norms.min() > 0.1)
    return values / norms


# ---- control steps --------------------------------------------------------------------------


def test_control_times_by_hand() -> None:
    times = control_times(START, START + 350_000_000, 10)
    assert (times - START).tolist() == [0, 100_000_000, 200_000_000, 300_000_000]
    assert len(control_times(START, START + 300_000_000, 10)) == 4
    assert control_times(START, START - 1, 10).tolist() == []


@given(st.integers(0, 10**12), st.floats(1, 1000))
def test_control_times_never_drift(length_ns: int, hz: float) -> None:
    assume(length_ns * hz < 10**14)
    times = control_times(START, START + length_ns, hz)
    ideal = np.arange(len(times)) * (SECOND / hz)
    assert times[0] == START
    assert np.abs(times - START - ideal).max() <= 0.5 + 1e-3
    assert times[-1] <= START + length_ns < times[-1] + SECOND / hz + 1


def test_order_keeps_the_last_of_equal_times() -> None:
    assert ordered(np.array([30, 10, 20, 10, 30])).tolist() == [3, 2, 4]
    assert ordered(np.array([5])).tolist() == [0]
    assert ordered(np.array([], np.int64)).tolist() == []


@given(st.lists(st.integers(0, 9), max_size=30))
def test_order_is_that_of_a_dictionary(times: list[int]) -> None:
    latest = {time: position for position, time in enumerate(times)}
    expected = [latest[time] for time in sorted(latest)]
    assert ordered(np.array(times, np.int64)).tolist() == expected


# ---- picking --------------------------------------------------------------------------------


def test_nearest_and_previous_by_hand() -> None:
    times = START + np.array([0, 10, 30])
    at = START + np.array([0, 4, 5, 6, 10, 19, 20, 21, 30])
    assert nearest(times, at).tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert previous(times, at).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert previous(times, START + np.array([1000])).tolist() == [2]


@given(times_inside())
def test_nothing_is_nearer_than_the_nearest(case: tuple[np.ndarray, np.ndarray]) -> None:
    times, at = case
    distance = np.abs(times[None] - at[:, None])
    found = nearest(times, at)
    assert (distance[np.arange(len(at)), found] == distance.min(axis=1)).all()


@given(times_inside())
def test_previous_is_the_last_one_by_then(case: tuple[np.ndarray, np.ndarray]) -> None:
    times, at = case
    expected = [max(i for i, time in enumerate(times) if time <= moment) for moment in at]
    assert previous(times, at).tolist() == expected


# ---- straight lines -------------------------------------------------------------------------


def test_linear_by_hand() -> None:
    times = START + np.array([0, 10, 20])
    values = np.array([[0.0, 1.0], [1.0, 1.0], [-1.0, 5.0]])
    found = linear(times, values, START + np.array([0, 5, 10, 15, 20]))
    assert found.tolist() == [[0, 1], [0.5, 1], [1, 1], [0, 3], [-1, 5]]


@given(times_inside(), st.floats(-10, 10), st.floats(-1e3, 1e3))
def test_linear_is_exact_on_straight_lines(
    case: tuple[np.ndarray, np.ndarray], slope: float, offset: float
) -> None:
    times, at = case
    seconds, asked = (times - START) / SECOND, (at - START) / SECOND
    found = linear(times, (offset + slope * seconds)[:, None], at)[:, 0]
    np.testing.assert_allclose(found, offset + slope * asked, rtol=1e-9, atol=1e-9)


@given(times_inside(), st.data())
def test_linear_passes_through_messages_and_never_overshoots(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    times, at = case
    values = data.draw(hnp.arrays(np.float64, (len(times), 1), elements=st.floats(-100, 100)))
    np.testing.assert_array_equal(linear(times, values, times), values)
    found = linear(times, values, at)
    assert found.min() >= values.min() - 1e-9
    assert found.max() <= values.max() + 1e-9


# ---- orientations ---------------------------------------------------------------------------


def about(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Quaternions xyzw [n, 4] of turns by `angle` [n] about `axis` [3]."""
    axis = axis / np.linalg.norm(axis)
    return np.concatenate([np.sin(angle / 2)[:, None] * axis, np.cos(angle / 2)[:, None]], axis=1)


def test_slerp_by_hand() -> None:
    """From nothing to a quarter turn about z; half way it is an eighth."""
    times = START + np.array([0, 10])
    quaternions = np.array([[0, 0, 0, 1], [0, 0, 2**-0.5, 2**-0.5]])
    found = slerp(times, quaternions, START + np.array([0, 5, 10]))
    eighth = [0, 0, np.sin(np.pi / 8), np.cos(np.pi / 8)]
    np.testing.assert_allclose(found, [quaternions[0], eighth, quaternions[1]], atol=1e-12)


def test_slerp_takes_the_shorter_arc() -> None:
    """350 degrees about z is 10 degrees the other way."""
    times = START + np.array([0, 10])
    angles = np.radians([0.0, 350.0])
    found = slerp(times, about(np.array([0, 0, 1.0]), angles), START + np.array([5]))
    expected = about(np.array([0, 0, 1.0]), np.radians([-5.0]))
    assert abs(np.sum(found * expected)) == pytest.approx(1, abs=1e-12)


@given(times_inside(), st.floats(-0.03, 0.03), hnp.arrays(float, 3, elements=st.floats(-1, 1)))
def test_slerp_is_exact_for_an_even_rotation(
    case: tuple[np.ndarray, np.ndarray], rate: float, axis: np.ndarray
) -> None:
    """At most 3 rad between messages, so that the shorter arc is the true one."""
    assume(np.linalg.norm(axis) > 0.1)
    times, at = case
    turned = about(axis, rate * (times - START) / SECOND)
    found = slerp(times, turned, at)
    expected = about(axis, rate * (at - START) / SECOND)
    agreement = np.abs(np.sum(found * expected, axis=1))
    np.testing.assert_allclose(agreement, 1, atol=1e-12)


@pytest.mark.slow
@given(times_inside(), st.data())
def test_signs_of_quaternions_do_not_matter(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    times, at = case
    quaternions = data.draw(orientations(len(times)))
    # At a right angle in four dimensions (half a turn) both ways round are equally short.
    assume(np.abs(np.sum(quaternions[1:] * quaternions[:-1], axis=1)).min() > 1e-6)
    signs = data.draw(hnp.arrays(np.float64, len(times), elements=st.sampled_from([-1.0, 1.0])))
    for method in ("slerp", "nearest", "previous"):
        found = resample(method, times, quaternions, at, quaternion_xyzw=True)
        flipped = resample(method, times, quaternions * signs[:, None], at, quaternion_xyzw=True)
        np.testing.assert_allclose(found, flipped, atol=1e-12)


@given(times_inside(), st.data())
def test_slerp_gives_orientations_without_jumps(
    case: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    times, at = case
    quaternions = data.draw(orientations(len(times)))
    found = slerp(times, quaternions, at)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-12)
    chain = continuous(quaternions)
    assert (np.sum(chain[1:] * chain[:-1], axis=1) >= 0).all()


def test_the_first_orientation_has_a_positive_w() -> None:
    assert with_positive_start(np.array([[0, 0, 1.0, 0]]))[0, 2] == 1
    assert with_positive_start(np.array([[0, 0, -1.0, 0]]))[0, 2] == 1
    assert with_positive_start(np.array([[0.6, 0, 0, -0.8]])).tolist() == [[-0.6, 0, 0, 0.8]]


def test_nearly_equal_orientations() -> None:
    times = START + np.array([0, 10])
    quaternions = about(np.array([1.0, 0, 0]), np.array([0.0, 1e-9]))
    found = slerp(times, quaternions, START + np.array([5]))
    np.testing.assert_allclose(found[0], [2.5e-10, 0, 0, 1], atol=1e-15)


# ---- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["linear", "slerp", "nearest"])
@pytest.mark.parametrize("moment", [-1, 11])
def test_nothing_is_known_outside_the_messages(method: str, moment: int) -> None:
    times, values = START + np.array([0, 10]), np.array([[0, 0, 0, 1.0]] * 2)
    with pytest.raises(DataError, match="outside the messages"):
        resample(method, times, values, START + np.array([5, moment]))  # pyright: ignore[reportArgumentType]


def test_previous_needs_a_message_before() -> None:
    with pytest.raises(DataError, match="outside the messages"):
        previous(START + np.array([0, 10]), START + np.array([-1]))


@pytest.mark.parametrize("times", [[0, 10, 10], [0, 20, 10]])
def test_times_must_rise(times: list[int]) -> None:
    with pytest.raises(DataError, match="do not rise"):
        linear(START + np.array(times), np.zeros((3, 1)), START + np.array([5]))


def test_no_messages() -> None:
    with pytest.raises(DataError, match="no messages"):
        nearest(np.zeros(0, np.int64), np.zeros(1, np.int64))


@pytest.mark.parametrize("bad", [[0, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, np.nan]])
def test_what_is_no_orientation(bad: list[float]) -> None:
    with pytest.raises(DataError, match=r"quaternion 1 is \[0"):
        continuous(np.array([[0, 0, 0, 1], bad], np.float64))
