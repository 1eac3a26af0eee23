"""Files of simulator states are seen again as they were, or refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from robomimic_files import ROBOMIMIC, ROBOSUITE, array, edited, replace
from simulator_needed import skip_without_robosuite

from softflow.data.data_spec import STATE_KEY
from softflow.envs.registry import make_env
from softflow.envs.robomimic.recorded_states import RecordedStates
from softflow.envs.robomimic.tasks import RobomimicTask
from softflow.errors import DataError

skip_without_robosuite()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lift() -> RobomimicTask:
    env = make_env("lift", image_size=(16, 24))
    assert isinstance(env, RobomimicTask)
    return env


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of what robomimic's dataset_states_to_obs.py wrote."""
    return Path(shutil.copy(ROBOMIMIC, tmp_path / "lift.hdf5"))


def source(path: Path, env: RobomimicTask, tolerance: float = 0.002) -> RecordedStates:
    return RecordedStates(path, env, env.family, tolerance=tolerance)


def test_what_robomimic_computed_from_the_states_comes_again(
    file: Path, lift: RobomimicTask
) -> None:
    seen = source(file, lift, tolerance=1e-5)
    episode = seen.read("demo_1")
    assert set(seen.largest_errors) == {
        "robot0_eef_pos",
        "robot0_eef_quat",
        "robot0_gripper_qpos",
        "object",
    }
    assert max(seen.largest_errors.values()) < 1e-6
    episode.validate(seen.spec)
    assert episode.success
    assert episode.terminated
    assert episode.rewards.sum() == episode.rewards[-1] == 1.0
    with h5py.File(file) as opened:
        lifted = array(opened, "data/demo_1/obs/object")[:, 2] > 0.84
        gripper = array(opened, "data/demo_1/obs/robot0_eef_pos")[: episode.length + 1]
    assert episode.length == np.flatnonzero(lifted)[0], "the first state with the cube up"
    assert np.abs(episode.observations[STATE_KEY][:, :3] - gripper).max() < 1e-6
    frames = episode.observations["observation.images.robot0_eye_in_hand"]
    assert frames.shape == (episode.length + 1, 16, 24, 3)
    assert (np.abs(np.diff(frames.astype(int), axis=0)).max(axis=(1, 2, 3)) > 0).any()


def test_the_size_of_the_cube_is_the_recorded_one(file: Path, lift: RobomimicTask) -> None:
    source(file, lift).read("demo_1")
    with h5py.File(file) as opened:
        model = str(opened["data/demo_1"].attrs["model_file"])
    half = lift.simulator.model.geom("cube_g0").size
    assert " ".join(f"{edge:.6g}" for edge in half)[:8] in model


def test_other_observations_than_the_states_show_are_refused(
    file: Path, lift: RobomimicTask
) -> None:
    with edited(file) as data:
        moved = array(data, "demo_1/obs/robot0_eef_pos").copy()
        moved[7] += 0.01
        replace(data, "demo_1/obs/robot0_eef_pos", moved)
    with pytest.raises(
        DataError, match=r"demo_1: at step 7 'robot0_eef_pos' was recorded 0\.01 away"
    ):
        source(file, lift).read("demo_1")
    assert source(file, lift, tolerance=0.02).read("demo_1").success


@pytest.fixture(scope="module")
def blind() -> RobomimicTask:
    """Without cameras the state holds the object."""
    env = make_env("lift")
    assert isinstance(env, RobomimicTask)
    return env


def test_the_object_is_seen_again_where_there_are_no_cameras(
    file: Path, blind: RobomimicTask
) -> None:
    episode = source(file, blind).read("demo_1")
    with h5py.File(file) as opened:
        whole = array(opened, "data/demo_1/obs/object")[: episode.length + 1]
    assert np.abs(episode.observations[STATE_KEY][:, 9:] - whole).max() < 1e-6


def test_an_older_order_of_the_object_is_recognised(file: Path, blind: RobomimicTask) -> None:
    """Up to robosuite 1.4 the vector from the gripper to the cube pointed the other way."""
    with edited(file) as data:
        older = array(data, "demo_1/obs/object").copy()
        older[:, 7:] *= -1
        replace(data, "demo_1/obs/object", older)
    seen = source(file, blind)
    episode = seen.read("demo_1")
    assert seen.largest_errors["object"] < 1e-6
    offset = episode.observations[STATE_KEY][:, 16:]
    cube, gripper = episode.observations[STATE_KEY][:, 9:12], episode.observations[STATE_KEY][:, :3]
    assert np.allclose(offset, cube - gripper, atol=1e-6)


def test_files_of_robosuite_itself_are_labelled_by_what_happens(lift: RobomimicTask) -> None:
    seen = source(ROBOSUITE, lift)
    for name in seen.episodes():
        episode = seen.read(name)
        assert episode.success
        assert "unlabelled" not in episode.metadata
        episode.validate(seen.spec)
    assert seen.largest_errors == {}
    missed, moved = seen.steps_m
    assert missed < 2e-4 < 0.003 < moved, "actions lead from state to state as they did"


@pytest.mark.parametrize(("folder", "family"), [("lift", "lift"), ("nut-assembly", "square")])
def test_what_people_recorded_with_robosuite_1_0(
    shared_data: Path, folder: str, family: str
) -> None:
    env = make_env(family)
    assert isinstance(env, RobomimicTask)
    path = shared_data / "robosuite_demos" / folder / "panda" / "demo.hdf5"
    seen = source(path, env)
    episode = seen.read("demo_1")
    missed, moved = seen.steps_m
    assert missed < moved, "its controller was not quite this one"
    assert episode.success, "they did lift the cube, and put the nut on its peg"
    gripper = episode.observations[STATE_KEY][:, :3]
    assert np.abs(np.diff(gripper, axis=0)).max() < 0.05, "no jumps: 20 Hz"


def test_states_that_are_none(file: Path, lift: RobomimicTask) -> None:
    with edited(file) as data:
        states = array(data, "demo_1/states").copy()
        replace(data, "demo_1/states", states[:-1])
    with pytest.raises(DataError, match="43 states for 44 actions"):
        source(file, lift).read("demo_1")
    with edited(file) as data:
        replace(data, "demo_1/states", states[:, :-1])
    with pytest.raises(DataError, match=r"\(31,\) numbers, Lift has \(32,\)"):
        source(file, lift).read("demo_1")
    with edited(file) as data:
        states[3, 2] = np.nan
        replace(data, "demo_1/states", states)
    with pytest.raises(DataError, match="'states' is no finite array"):
        source(file, lift).read("demo_1")
    with edited(file) as data:
        del data["demo_1/states"]
    with pytest.raises(DataError, match="no array 'states'"):
        source(file, lift).read("demo_1")
