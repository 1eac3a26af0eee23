from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from softflow.data.data_spec import DataSpec, require_same_spec
from softflow.data.episode import Episode
from softflow.errors import DataError


def changed(array: np.ndarray, index: Any, value: float) -> np.ndarray:
    array = array.copy()
    array[index] = value
    return array


def test_spec_survives_json_exactly() -> None:
    spec = DataSpec(
        {"observation.state": (28,), "observation.images.front": (84, 96, 3)},
        2,
        (-0.1, -np.pi),
        (0.1, np.pi),
        10.0,
        "cube-single",
    )
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_spec_json_of_another_version_is_refused(spec: DataSpec) -> None:
    with pytest.raises(DataError, match="surprise"):
        DataSpec.from_json({**spec.to_json(), "surprise": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation_shapes": {}}, "is empty"),
        ({"observation_shapes": {"state": (3,)}}, "'state'"),
        ({"observation_shapes": {"observation.state": (0,)}}, r"\(0,\)"),
        ({"observation_shapes": {"observation.images.a": (8, 8, 1)}}, r"\(8, 8, 1\)"),
        ({"action_dim": 0}, "action_dim is 0"),
        ({"action_dim": 3}, "action_low has 2 values for action_dim 3"),
        ({"action_high": (1.0, np.inf)}, "action_high .* finite"),
        ({"action_low": (-1.0, 2.0)}, "component 1 has low 2.0 above high 1.0"),
        ({"control_hz": 0.0}, "control_hz is 0.0"),
    ],
)
def test_unusable_spec_names_field_and_value(
    spec: DataSpec, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        dataclasses.replace(spec, **change)


def test_differences_name_every_field_with_both_values(spec: DataSpec) -> None:
    other = DataSpec({"observation.state": (4,)}, 1, (-1.0,), (1.0,), 10.0, "other")
    text = "\n".join(spec.differences(other))
    for part in (
        "observation_shapes['observation.state']: (3,) and (4,)",
        "action_dim: 2 and 1",
        "control_hz: 20.0 and 10.0",
        "env_id: 'toy' and 'other'",
    ):
        assert part in text


def test_differing_bounds_and_names_are_told_by_component() -> None:
    names = {"action": tuple("abcde")}
    shapes = {"observation.state": (2,)}
    one = DataSpec(shapes, 5, (-1.0,) * 5, (1.0,) * 5, 20.0, names=names)
    low = (-1.0, -0.125, -1.0, -1.0, -1.0)
    other = DataSpec(shapes, 5, low, (2.0,) * 5, 20.0, names={"action": tuple("abcdE")})
    assert one.differences(other) == [
        "action_low[1]: -1 and -0.125",
        "action_high[0]: 1 and 2",
        "action_high[1]: 1 and 2",
        "action_high[2]: 1 and 2",
        "action_high: 2 more",
        "names['action'][4]: 'e' and 'E'",
    ]


def test_missing_key_is_a_difference(spec: DataSpec, image_spec: DataSpec) -> None:
    assert spec.differences(image_spec) == [
        "observation_shapes['observation.images.front']: missing and (64, 64, 3)"
    ]


def test_float32_rounding_and_unknown_environment_are_no_difference(spec: DataSpec) -> None:
    precise = dataclasses.replace(spec, action_high=(0.1, 0.7), env_id="")
    rounded = dataclasses.replace(spec, action_high=tuple(float(np.float32(x)) for x in (0.1, 0.7)))
    assert precise.differences(rounded) == []


def test_valid_episode_passes(
    spec: DataSpec, image_spec: DataSpec, make_episode: Callable[..., Episode]
) -> None:
    make_episode(spec, length=1).validate(spec)
    make_episode(image_spec, length=3, success=False).validate(image_spec)


def test_action_just_outside_is_rounding(
    spec: DataSpec, make_episode: Callable[..., Episode]
) -> None:
    episode = make_episode(spec)
    rounded = dataclasses.replace(episode, actions=changed(episode.actions, (0, 0), 1.00005))
    rounded.validate(spec)


BAD_EPISODES: list[tuple[str, Callable[[Episode], dict[str, Any]], list[str]]] = [
    (
        "nan observation",
        lambda e: {
            "observations": {
                "observation.state": changed(e.observations["observation.state"], (4, 2), np.nan)
            }
        },
        ["'observation.state'", "step 4", "component 2", "nan", "repair the sensor"],
    ),
    (
        "infinite action",
        lambda e: {"actions": changed(e.actions, (5, 1), -np.inf)},
        ["'action'", "step 5", "component 1", "-inf"],
    ),
    ("nan reward", lambda e: {"rewards": changed(e.rewards, 3, np.nan)}, ["next.reward", "step 3"]),
    (
        "action outside",
        lambda e: {"actions": changed(e.actions, (6, 0), 1.5)},
        ["'action'", "step 6", "component 0", "1.5", "[-1, 1]", "clip"],
    ),
    (
        "final observation missing",
        lambda e: {"observations": {"observation.state": e.observations["observation.state"][:-1]}},
        ["'observation.state'", "(7, 3)", "(8, 3)", "final observation"],
    ),
    (
        "action dimension",
        lambda e: {"actions": e.actions[:, :1]},
        ["'action'", "(7, 1)", "(7, 2)"],
    ),
    (
        "float64",
        lambda e: {"actions": e.actions.astype(np.float64)},
        ["'action'", "float64", "expected float32", ".astype(np.float32)"],
    ),
    ("not an array", lambda e: {"rewards": list(e.rewards)}, ["next.reward", "list"]),
    (
        "unknown key",
        lambda e: {"observations": {"observation.sate": e.rewards}},
        ["observation.sate"],
    ),
    ("empty", lambda e: {"actions": e.actions[:0]}, ["empty"]),
    ("two endings", lambda e: {"truncated": True}, ["terminated", "truncated", "both True"]),
    ("no ending", lambda e: {"terminated": False}, ["terminated", "truncated", "both False"]),
    ("metadata", lambda e: {"metadata": {"seed": np.int64(3)}}, ["metadata", "int64", "JSON"]),
]


@pytest.mark.parametrize(
    ("change", "parts"), [case[1:] for case in BAD_EPISODES], ids=[case[0] for case in BAD_EPISODES]
)
def test_bad_episode_message_says_what_where_value_fix(
    spec: DataSpec,
    make_episode: Callable[..., Episode],
    change: Callable[[Episode], dict[str, Any]],
    parts: list[str],
) -> None:
    episode = make_episode(spec, length=7)
    bad = dataclasses.replace(episode, **change(episode))
    with pytest.raises(DataError) as caught:
        bad.validate(spec, "episode 12")
    for part in ["episode 12", *parts]:
        assert part in str(caught.value)


def test_float_images_are_refused(
    image_spec: DataSpec, make_episode: Callable[..., Episode]
) -> None:
    episode = make_episode(image_spec)
    key = "observation.images.front"
    as_float = {**episode.observations, key: episode.observations[key].astype(np.float32)}
    with pytest.raises(DataError, match="expected uint8"):
        dataclasses.replace(episode, observations=as_float).validate(image_spec)


@pytest.mark.parametrize(
    "name", ["a\\..\\b", "a\0b", "a\nb", "\x1b[31m", "\udc80", "x" * 300, "../../x", "a/b"]
)
def test_keys_that_are_no_names_of_files(name: str) -> None:
    with pytest.raises(DataError, match="has the key"):
        DataSpec({f"observation.images.{name}": (8, 8, 3)}, 1, (-1.0,), (1.0,), 10.0)


RENDERED = {"backend": "opengl", "shadows": "off", "mujoco": "3.8.1", "camera front": "45 degrees"}


def test_pictures_rendered_otherwise_do_not_fit() -> None:
    shapes = {"observation.images.front": (8, 8, 3)}
    ours = DataSpec(shapes, 1, (-1.0,), (1.0,), 10.0, rendering=RENDERED)
    assert DataSpec.from_json(ours.to_json()) == ours
    with_shadows = replace(ours, rendering=RENDERED | {"shadows": "on"})
    assert ours.differences(with_shadows) == ["rendering, shadows: off and on"]
    one_more = replace(ours, rendering=RENDERED | {"camera wrist": "75 degrees"})
    assert ours.differences(one_more) == ["rendering, camera wrist: nothing and 75 degrees"]
    with pytest.raises(DataError, match="rendering, shadows: off and on"):
        require_same_spec(ours, with_shadows, "the data", "the environment")


def test_what_is_not_known_of_pictures_is_a_warning() -> None:
    shapes = {"observation.images.front": (8, 8, 3)}
    ours = DataSpec(shapes, 1, (-1.0,), (1.0,), 10.0, rendering=RENDERED)
    older = replace(ours, rendering=RENDERED | {"mujoco": "3.7.0"})
    with pytest.warns(UserWarning, match="rendered with another mujoco: 3.8.1 and 3.7.0"):
        require_same_spec(ours, older, "the data", "the environment")
    foreign = replace(ours, rendering={})
    assert "rendering" not in foreign.to_json()
    with pytest.warns(UserWarning, match="one of them does not say how its pictures were rendered"):
        require_same_spec(foreign, ours, "the data", "the environment")
    assert foreign.differences(ours) == []
    blind = DataSpec({"observation.state": (4,)}, 1, (-1.0,), (1.0,), 10.0)
    assert blind.doubts(blind) == []
