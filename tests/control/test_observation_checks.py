"""What a robot may get wrong, and what it is told."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from softflow.control.observation_checks import ObservationChecks
from softflow.data.data_spec import DataSpec
from softflow.data.statistics import ArrayStatistics, DatasetStatistics
from softflow.errors import ObservationError

STATE, FORCE, TOP = "observation.state", "observation.force", "observation.images.top"
SPEC = DataSpec(
    {STATE: (3,), FORCE: (), TOP: (4, 6, 3)},
    2,
    (-1.0, -1.0),
    (1.0, 1.0),
    10.0,
    names={STATE: ("shoulder", "elbow", "grip")},
)


def statistics_of(low: Any, high: Any) -> ArrayStatistics:
    low, high = np.asarray(low, float), np.asarray(high, float)
    return ArrayStatistics((low + high) / 2, (high - low) / 4, low, high)


STATISTICS = DatasetStatistics(
    {
        STATE: statistics_of([-0.5, 1.0, 0.3], [0.5, 1.5, 0.3]),
        FORCE: statistics_of(0.0, 10.0),
    },
    statistics_of([-1.0, 0.0], [1.0, 0.5]),
    3,
    100,
)


def checks(*reads: str, refuse_far: bool = False) -> ObservationChecks:
    return ObservationChecks(SPEC, reads or (STATE, TOP), STATISTICS, refuse_far=refuse_far)


def picture(value: int = 200) -> np.ndarray:
    return np.full((4, 6, 3), value, np.uint8)


def good(**changes: Any) -> dict[str, Any]:
    observation = {STATE: np.array([0.1, 1.2, 0.3]), TOP: picture()}
    return observation | {f"observation.{name}": value for name, value in changes.items()}


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_what_is_right_is_copied_as_float32() -> None:
    given = good()
    seen = checks().observation(given)
    assert {key: value.dtype for key, value in seen.items()} == {STATE: np.float32, TOP: np.uint8}
    given[STATE][:] = 9
    given[TOP][:] = 9
    assert np.array_equal(seen[STATE], np.array([0.1, 1.2, 0.3], np.float32))
    assert np.array_equal(seen[TOP], picture())
    assert checks(STATE).observation({STATE: [0.1, 1.2, 0.3]})[STATE].shape == (3,)
    assert checks(FORCE).observation({FORCE: 3.0})[FORCE].shape == ()


def test_unread_keys_of_the_data_may_come_or_not() -> None:
    assert set(checks().observation(good(force=np.float32(1)))) == {STATE, TOP}


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (None, "is a NoneType; give a dictionary with the keys observation.images.top"),
        ({STATE: np.zeros(3)}, "observation.images.top is missing"),
        (
            {STATE: np.zeros(3), "observation.image.top": picture()},
            r"observation.images.top is missing \(observation.image.top is there\)",
        ),
        (good(wrist=np.zeros(3)), "observation.wrist is not in the training data"),
        (good(state=np.zeros(4)), r"shape \(4,\), the training data \(3,\); give that"),
        (good(state=np.zeros((1, 3))), "without an axis for a batch"),
        (good(state=np.array([0, 1, 0])), "int64; give float32.*ticks of an encoder"),
        (good(state=torch.zeros(3)), r"is a Tensor; give a numpy array .*\.cpu\(\)\.numpy\(\)"),
        (good(state=[[1.0], [1.0, 2.0], [0.0]]), "no array"),
        (good(state="near"), "is a str; give a numpy array"),
        (good(state=np.array([0.1, np.nan, 0.3])), r"state\[1\] \(elbow\) is nan.*sensor"),
        (good(state=np.array([0.1, 1e300, 0.3])), r"\(elbow\) is inf"),
        (good(**{"images.top": np.zeros((3, 4, 6), np.uint8)}), r"moveaxis\(picture, -3, -1\)"),
        (good(**{"images.top": np.zeros((8, 12, 3), np.uint8)}), "bring pictures to that size"),
        (good(**{"images.top": picture() / 255}), "float64; give uint8 pictures"),
    ],
)
def test_what_cannot_be_right_is_refused(observation: Any, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        checks().observation(observation)


@pytest.mark.parametrize("elbow", [0.55, 1.95])
def test_a_little_outside_the_training_data_is_near(elbow: float) -> None:
    checks().observation(good(state=np.array([0.1, elbow, 0.305])))


def test_far_outside_is_told_once_a_component() -> None:
    degrees = np.degrees([0.1, 1.2, 0.3])
    held = checks()
    with pytest.warns(UserWarning, match="Told once") as told:
        held.observation(good(state=degrees))
    [message] = [str(warning.message) for warning in told]
    assert "observation.state[1] (elbow) is 68.7549, and lay in [1, 1.5]" in message
    assert "degrees" in message
    held.observation(good(state=degrees))
    held.observation(good(state=np.array([5.0, 1.2, 0.3])))
    fresh = checks()
    with pytest.warns(UserWarning, match="shoulder"):
        fresh.observation(good(state=np.array([5.0, 1.2, 0.3])))
    with pytest.warns(UserWarning, match="elbow"):
        fresh.observation(good(state=degrees))


def test_far_outside_is_refused_on_request() -> None:
    held = checks(refuse_far=True)
    for _ in range(2):
        with pytest.raises(ObservationError, match=r"\[2\] \(grip\) is 0.8, and lay in \[0.3, 0.3"):
            held.observation(good(state=np.array([0.1, 1.2, 0.8])))
    with pytest.raises(ObservationError, match=r"black.*255"):
        held.observation(good(**{"images.top": picture(1)}))
    with pytest.raises(ObservationError, match=r"observation.force is 500, and lay in"):
        checks(FORCE, refuse_far=True).observation({FORCE: np.float32(500)})
    held.observation(good())


def test_a_history_is_several_observations_or_one_repeated() -> None:
    held = checks()
    one = held.history(good(), 2)
    assert (one[STATE].shape, one[TOP].shape) == ((2, 3), (2, 4, 6, 3))
    several = {STATE: np.array([[0.1, 1.2, 0.3], [0.2, 1.3, 0.3]]), TOP: np.stack([picture()] * 2)}
    assert np.allclose(held.history(several, 2)[STATE], several[STATE])
    with pytest.raises(ObservationError, match=r"shape \(2, 3\), the training data \(3,\)"):
        held.history({**several, TOP: picture()}, 2)
    with pytest.raises(ObservationError, match=r"the training data \(3, 4, 6, 3\)"):
        held.history(several, 3)
    with pytest.warns(UserWarning, match=r"observation.state\[0\] \(shoulder\) is -9"):
        held.history({**several, STATE: np.array([[0.1, 1.2, 0.3], [-9, 1.3, 0.3]])}, 2)


def test_actions_are_held_to_the_data_too() -> None:
    held = checks()
    assert held.actions("prefix", [[0.5, 0.2]], 1).dtype == np.float32
    assert held.actions("prefix", np.zeros((0, 2)), 0).shape == (0, 2)
    for actions, message in (
        (np.zeros(2), r"prefix has shape \(2,\); give \(1, 2\)"),
        (np.full((1, 2), np.inf), r"prefix\[0, 0\] is inf"),
    ):
        with pytest.raises(ObservationError, match=message):
            held.actions("prefix", actions, 1)
    with pytest.warns(UserWarning, match=r"prefix\[1\] is 40, and lay in \[0, 0.5\]"):
        held.actions("prefix", np.array([[0.0, 40.0]]), 1)
