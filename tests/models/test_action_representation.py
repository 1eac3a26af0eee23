"""Relative actions: SciPy's rotations as second derivation, and every inverse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.errors import ConfigError, DataError
from softflow.models.action_representation import ActionRepresentation, QuaternionOrder

# Action: gripper, pose (3 + 4), two joints. State: two joints, something else, the pose.
POSE, POSE_STATE = tuple(range(1, 8)), tuple(range(3, 10))
SEEDS = st.integers(0, 2**32 - 1)
ORDERS = st.sampled_from(["wxyz", "xyzw"])


def representation(order: QuaternionOrder) -> ActionRepresentation:
    return ActionRepresentation((8, 9), (0, 1), POSE, POSE_STATE, order)


def example(rng: np.random.Generator, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Actions [3, 4, 10] and states [3, 10] with unit quaternions in that order."""
    actions, states = rng.normal(size=(3, 4, 10)), rng.normal(size=(3, 10))
    for array, first in ((actions, 4), (states, 6)):
        flat = array.reshape(-1, 10)
        flat[:, first : first + 4] = Rotation.random(len(flat), rng).as_quat(
            scalar_first=order == "wxyz"
        )
    return actions, states


def rotation(quaternions: np.ndarray, order: str) -> Rotation:
    return Rotation.from_quat(quaternions.reshape(-1, 4), scalar_first=order == "wxyz")


@settings(max_examples=60, deadline=None)
@given(SEEDS, ORDERS)
def test_a_pose_is_seen_as_scipy_sees_it(seed: int, order: QuaternionOrder) -> None:
    actions, states = example(np.random.default_rng(seed), order)
    seen = representation(order).encode(torch.tensor(actions), torch.tensor(states)).numpy()

    frame = rotation(np.repeat(states[:, 6:10], 4, axis=0), order)
    shifted = (actions[..., 1:4] - states[:, None, 3:6]).reshape(-1, 3)
    np.testing.assert_allclose(seen[..., 1:4].reshape(-1, 3), frame.inv().apply(shifted), atol=1e-9)
    turned = frame.inv() * rotation(actions[..., 4:8], order)
    assert (turned.inv() * rotation(seen[..., 4:8], order)).magnitude().max() < 1e-7
    w = seen[..., 4 if order == "wxyz" else 7]
    assert (w >= 0).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS, ORDERS)
def test_decode_undoes_encode(seed: int, order: QuaternionOrder) -> None:
    actions, states = (torch.tensor(a) for a in example(np.random.default_rng(seed), order))
    kind = representation(order)
    back = kind.decode(kind.encode(actions, states), states)
    # A quaternion and its negative are one rotation; the one with w >= 0 comes back.
    w = actions[..., 4:5] if order == "wxyz" else actions[..., 7:8]
    expected = actions.clone()
    expected[..., 4:8] *= torch.where(w < 0, -1.0, 1.0)
    torch.testing.assert_close(back, expected, rtol=0, atol=1e-12)


def test_differences_and_what_stays() -> None:
    actions = torch.arange(20.0).reshape(1, 2, 10)
    state = torch.full((1, 10), 0.5)
    kind = ActionRepresentation(delta=(8, 9), delta_state=(1, 0))
    seen = kind.encode(actions, state)
    assert torch.equal(seen[..., :8], actions[..., :8])
    assert seen[0, :, 8].tolist() == [7.5, 17.5]
    assert torch.equal(kind.decode(seen, state), actions)


def test_absolute_changes_nothing_and_copies_nothing() -> None:
    actions = torch.randn(2, 3, 4)
    assert ActionRepresentation().encode(actions, torch.zeros(2, 1)) is actions


def test_the_current_pose_is_the_origin() -> None:
    _, states = example(np.random.default_rng(0), "wxyz")
    actions = np.zeros((3, 1, 10))
    actions[:, 0, 1:8] = states[:, 3:10]
    seen = representation("wxyz").encode(torch.tensor(actions), torch.tensor(states))
    expected = torch.tensor([0.0, 0, 0, 1, 0, 0, 0], dtype=torch.float64).expand(3, 1, 7)
    torch.testing.assert_close(seen[..., 1:8], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delta": (0, 1), "delta_state": (0,)}, "actions.delta names 2 components"),
        ({"pose": (0, 1, 2), "pose_state": (0, 1, 2)}, "a pose has 7"),
        ({"delta": (0, 0), "delta_state": (0, 1)}, "component 0 is named twice"),
        ({"pose": POSE, "pose_state": (0, 1, 2, 3, 4, 5, 5)}, "different components of the state"),
        ({"quaternion": "zyxw"}, 'actions.quaternion is "zyxw"'),
    ],
)
def test_lists_that_do_not_fit_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ActionRepresentation(**arguments)  # type: ignore[arg-type]


def test_components_that_the_data_has_not_are_refused() -> None:
    spec = DataSpec({STATE_KEY: (3,)}, 2, (-1, -1), (1, 1), 10.0)
    ActionRepresentation((0,), (2,)).require_fit(spec)
    with pytest.raises(ConfigError, match=r"actions.delta names component 2; the data has 0 to 1"):
        ActionRepresentation((2,), (0,)).require_fit(spec)
    with pytest.raises(ConfigError, match=r"delta_state names component 3; the data has 0 to 2"):
        ActionRepresentation((0,), (3,)).require_fit(spec)
    blind = DataSpec({"observation.images.front": (8, 8, 3)}, 2, (-1, -1), (1, 1), 10.0)
    with pytest.raises(ConfigError, match=r"need a one-dimensional observation.state"):
        ActionRepresentation((0,), (2,)).require_fit(blind)


def test_components_that_are_no_quaternion_are_named() -> None:
    """Positions, or angles, taken for an orientation would train without any sign of it."""
    actions, states = example(np.random.default_rng(0), "wxyz")
    kind, action, state = representation("wxyz"), actions[0], states[[0, 0, 0, 0, 0]]
    kind.require_quaternions(action, state * 1.0, "episode 3")
    kind.require_quaternions(action * 1.05, state * 0.95, "episode 3")
    state = state.copy()
    state[2, 6:10] = 0
    with pytest.raises(
        DataError,
        match=r"episode 3, step 2: components \[6, 7, 8, 9\] of observation.state are no "
        r"quaternion, their length is 0 instead of 1",
    ):
        kind.require_quaternions(action, state, "episode 3")
    wrong = ActionRepresentation((), (), (0, 1, 2, 3, 4, 5, 6), POSE_STATE)
    with pytest.raises(DataError, match=r"components \[3, 4, 5, 6\] of action are no quaternion"):
        wrong.require_quaternions(action, states[[0, 0, 0, 0, 0]], "episode 3")


def test_a_recording_whose_quaternions_are_not_quite_of_length_one() -> None:
    """What comes back is the rotation that was recorded, of length one."""
    actions, states = example(np.random.default_rng(1), "xyzw")
    scaled_actions, scaled_states = actions.copy(), states.copy()
    scaled_actions[..., 4:8] *= 1.05
    scaled_states[..., 6:10] *= 0.95
    kind = representation("xyzw")
    exact = kind.encode(torch.tensor(actions), torch.tensor(states))
    scaled = kind.encode(torch.tensor(scaled_actions), torch.tensor(scaled_states))
    torch.testing.assert_close(scaled, exact, rtol=0, atol=1e-12)
    back = kind.decode(scaled, torch.tensor(scaled_states))[..., 4:8]
    torch.testing.assert_close(back.norm(dim=-1), torch.ones(3, 4, dtype=torch.float64))


def test_two_arms_in_float32_each_in_its_own_frame() -> None:
    """By hand: the left arm is turned a quarter about z, the right one half about x."""
    half = 0.5**0.5
    left = [1.0, 2.0, 3.0, half, 0.0, 0.0, half]
    right = [-1.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.0]
    kind = ActionRepresentation(pose=tuple(range(14)), pose_state=(*range(7, 14), *range(7)))
    state = torch.tensor([right + left])
    # Both arms move 0.1 along the x axis of the room, and keep their orientation.
    action = torch.tensor([[left + right]])
    action[..., 0] += 0.1
    action[..., 7] += 0.1
    seen = kind.encode(action, state)[0, 0]
    expected = [0.0, -0.1, 0.0, 1, 0, 0, 0, 0.1, 0.0, 0.0, 1, 0, 0, 0]
    torch.testing.assert_close(seen, torch.tensor(expected), rtol=0, atol=3e-7)
    back = kind.decode(kind.encode(action, state), state)
    torch.testing.assert_close(back, action, rtol=0, atol=5e-7)
