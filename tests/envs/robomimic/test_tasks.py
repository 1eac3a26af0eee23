"""Lift, Can and Square keep the contract, and show and do what RoboMimic's files say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from robomimic_files import ROBOMIMIC, array
from shared_envs import built_once
from simulator_needed import skip_without_robosuite

from softflow.data.data_spec import STATE_KEY
from softflow.envs.check_env import check_env
from softflow.envs.contract import data_spec
from softflow.envs.registry import make_env
from softflow.envs.robomimic.demonstrators import EXPERT, demonstrate
from softflow.envs.robomimic.simulator import FAMILIES, OWN_PARTS, STATE_PARTS
from softflow.envs.robomimic.tasks import RobomimicTask
from softflow.errors import ConfigError, DataError
from softflow.formats.robomimic.reading import RobomimicSource

skip_without_robosuite()

pytestmark = pytest.mark.slow
TaskOf = Callable[[str], RobomimicTask]


@pytest.fixture(scope="module")
def task() -> TaskOf:
    """One environment a family; whoever takes it resets it."""
    return built_once(RobomimicTask)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_contract_with_an_expert_who_succeeds(task: TaskOf, family: str) -> None:
    env = task(family)
    episode = demonstrate(env, EXPERT, np.random.default_rng(3))
    assert episode.success
    solution = (episode.metadata["seed"], episode.actions)
    check_env(env, check_render=family == "lift", solution=solution)


def test_sizes_names_and_limits(task: TaskOf) -> None:
    for family, state_dim in (("lift", 19), ("can", 23), ("square", 23)):
        spec = data_spec(task(family), family)
        assert spec.observation_shapes == {STATE_KEY: (state_dim,)}
        assert (spec.action_dim, set(spec.action_low), set(spec.action_high)) == (7, {-1.0}, {1.0})
        assert (spec.control_hz, task(family).max_episode_steps) == (20.0, 400)


def test_a_robomimic_file_imported_as_documented_has_the_same_state(task: TaskOf) -> None:
    imported = RobomimicSource(ROBOMIMIC, state_keys=STATE_PARTS, cameras=())
    ours = data_spec(task("lift"), "lift")
    assert imported.spec.differences(ours) == []
    assert imported.spec.names[STATE_KEY] == ours.names[STATE_KEY]
    sorted_keys = RobomimicSource(ROBOMIMIC, cameras=()).spec
    assert any("observation_shapes" in line for line in sorted_keys.differences(ours))


def test_a_robomimic_file_imported_with_its_camera_fits_but_for_the_other_camera() -> None:
    imported = RobomimicSource(ROBOMIMIC, state_keys=OWN_PARTS).spec
    ours = data_spec(make_env("lift", image_size=(16, 16)), "lift")
    (missing,) = imported.differences(ours)
    assert "observation.images.robot0_eye_in_hand" in missing


def test_who_has_cameras_is_not_told_where_the_object_is(task: TaskOf) -> None:
    blind, seeing = task("lift"), make_env("lift", image_size=(16, 16))
    told, seen = blind.reset(seed=4)[0][STATE_KEY], seeing.reset(seed=4)[0][STATE_KEY]
    assert (len(told), len(seen)) == (19, 9)
    assert np.array_equal(told[:9], seen)
    names = data_spec(seeing, "lift").names[STATE_KEY]
    assert names == data_spec(blind, "lift").names[STATE_KEY][:9]
    assert not any("object" in name for name in names)


def test_pictures_are_upright_as_in_robomimics_files() -> None:
    """Theirs have shadows, and 16x16 pixels: alike, and not when turned over."""
    with h5py.File(ROBOMIMIC) as file:
        theirs = array(file, "data/demo_1/obs/agentview_image")[0].astype(float)
        state = array(file, "data/demo_1/states")[0]
    env = make_env("lift", image_size=(64, 64))
    assert isinstance(env, RobomimicTask)
    env.reset(seed=0)
    env.simulator.set_state(state)
    seen = Image.fromarray(env.observe()["observation.images.agentview"])
    ours = np.asarray(seen.resize((16, 16), Image.Resampling.BOX), float)

    def likeness(picture: np.ndarray) -> float:
        return float(np.corrcoef(picture.ravel(), theirs.ravel())[0, 1])

    assert likeness(ours) > 0.9
    assert max(likeness(ours[::-1]), likeness(ours[:, ::-1])) < likeness(ours) - 0.05
    env.close()


def test_what_is_seen_follows_from_the_joints_alone(task: TaskOf) -> None:
    """No sensor lags: the same state set anew shows the same."""
    env = task("square")
    observation, _ = env.reset(seed=2)
    for _ in range(5):
        observation, *_ = env.step(np.array([0.5, 0.3, -0.4, 0.1, 0.2, 0.5, 1.0], np.float32))
    data = env.simulator.data
    state = np.concatenate([[data.time], data.qpos, data.qvel])
    env.reset(seed=5)
    env.simulator.set_state(state)
    assert np.array_equal(env.observe()[STATE_KEY], observation[STATE_KEY])


def test_quaternions_do_not_jump(task: TaskOf) -> None:
    """The gripper's is x y z w, and changes its sign nowhere on the way."""
    env = task("lift")
    episode = demonstrate(env, EXPERT, np.random.default_rng(1))
    quaternions = episode.observations[STATE_KEY][:, 3:7]
    assert np.allclose(np.linalg.norm(quaternions, axis=1), 1.0, atol=1e-5)
    assert np.abs(np.diff(quaternions, axis=0)).max() < 0.2
    assert np.abs(quaternions[0, 0]) > 0.9, "x: the hand points down"


def test_the_cube_varies_and_its_mass_with_it(task: TaskOf) -> None:
    env, seen = task("lift"), []
    for seed in (0, 1, 0):
        env.reset(seed=seed)
        model = env.simulator.model
        half = model.geom("cube_g0").size.copy()
        assert np.array_equal(half, model.geom("cube_g0_vis").size)
        assert ((half >= 0.020) & (half <= 0.022)).all()
        assert model.body("cube_main").mass[0] == pytest.approx(8 * half.prod() * 1000, rel=0.3)
        seen.append(half)
    assert np.array_equal(seen[0], seen[2])
    assert not np.array_equal(seen[0], seen[1])


HASH = """
import hashlib, sys
import numpy as np
from softflow.envs.registry import make_env
env, before = make_env(sys.argv[1]), int(sys.argv[2])
actions = np.random.default_rng(0).uniform(-1, 1, (60, 7)).astype("f")
for seed in range(before):
    env.reset(seed=seed)
    for action in actions[: 20 + seed]:
        env.step(action)
digest = hashlib.sha256()
env.reset(seed=9)
for action in actions:
    digest.update(env.step(action)[0]["observation.state"].tobytes())
    digest.update(env.simulator.data.qvel.tobytes())
print(digest.hexdigest())
"""


def test_the_same_bits_in_any_process_whatever_ran_before() -> None:
    def digest(before: int) -> str:
        command = [sys.executable, "-c", HASH, "lift", str(before)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == "", "importing robosuite is quiet"
        return done.stdout

    assert digest(0) == digest(2)


def test_nothing_is_written_beside_robosuite(task: TaskOf) -> None:
    task("lift").reset(seed=0)
    folder = Path(sys.modules["robosuite"].__file__ or "").parent
    assert not (folder / "macros_private.py").exists()


def test_what_cannot_be_made_or_done(task: TaskOf, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="can has no tasks to choose from; leave out -task2"):
        make_env("can-task2")
    env = task("can")
    env.reset(seed=0)
    with pytest.raises(DataError, match=r"action has shape \(5,\); give \[7\]"):
        env.step(np.zeros(5, np.float32))
    with pytest.raises(
        DataError, match=r"\(32,\) numbers, PickPlaceCan has \(71,\); choose the env"
    ):
        env.simulator.set_state(np.zeros(32))
    monkeypatch.setitem(sys.modules, "robosuite", None)
    with pytest.raises(ConfigError, match=r"pip install 'softflow\[robomimic\]'"):
        make_env("lift")
