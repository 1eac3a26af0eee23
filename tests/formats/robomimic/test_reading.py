"""RoboMimic and robosuite HDF5 in: real files, and every layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
from robomimic_files import (
    AGENTVIEW,
    ENV_ARGS,
    ROBOMIMIC,
    ROBOSUITE,
    STATE,
    STEPS,
    array,
    edited,
    replace,
    write,
)

from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.importing import import_into
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.formats.robomimic.record import unpacked
from softflow.utils.progress import SilentProgress

# ---- real files ------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "steps"), [("lift", 412), ("nut-assembly", 1036)])
def test_human_demonstrations_of_robosuite_1_0(shared_data: Path, task: str, steps: int) -> None:
    path = shared_data / "robosuite_demos" / task / "panda" / "demo.hdf5"
    source = RobomimicSource(path)
    episode = source.read("demo_1")
    with h5py.File(path) as file:
        states, actions = (array(file, f"data/demo_1/{name}") for name in ("states", "actions"))
    assert source.episodes() == ["demo_1"]
    assert source.spec.control_hz == 20
    assert source.spec.names[STATE][0] == "simulator.0"
    assert episode.length == steps
    np.testing.assert_array_equal(episode.observations[STATE][:-1], states.astype(np.float32))
    np.testing.assert_array_equal(episode.actions, actions.astype(np.float32))
    assert episode.metadata["final_observation"] == "repeated"
    assert episode.metadata["unlabelled"]
    assert episode.metadata["robomimic"]["data"]["repository_version"] == "1.0.0"
    assert (episode.success, episode.terminated, episode.truncated) == (False, False, True)


def test_demonstrations_of_robosuite_1_5() -> None:
    source = RobomimicSource(ROBOSUITE)
    assert source.episodes() == ["demo_1", "demo_2"]
    for name, steps in (("demo_1", 44), ("demo_2", 43)):
        with h5py.File(ROBOSUITE) as file:
            states = array(file, f"data/{name}/states").astype(np.float32)
            model = cast("h5py.Group", file[f"data/{name}"]).attrs["model_file"]
        episode = source.read(name)
        assert episode.length == len(states) == steps
        np.testing.assert_array_equal(episode.observations[STATE], [*states, states[-1]])
        kept = episode.metadata["robomimic"]["demo"]["model_file"]
        assert len(kept) < len(str(model)) / 4
        assert unpacked(kept) == model
    assert source.read("demo_1").metadata["environment"] == "Lift"


def test_a_file_written_by_robomimic() -> None:
    source = RobomimicSource(ROBOMIMIC)
    episode = source.read("demo_1")
    with h5py.File(ROBOMIMIC) as file:
        demo = cast("h5py.Group", file["data/demo_1"])
        keys = [key for key in sorted(cast("h5py.Group", demo["obs"])) if "image" not in key]
        state = np.concatenate([array(demo, f"obs/{key}") for key in keys], axis=1)
        frames, rewards = array(demo, "obs/agentview_image"), array(demo, "rewards")
    # robomimic gave a reward of 1 from the third last step on: the task was done.
    assert episode.length == int(np.flatnonzero(rewards)[0]) + 1 == 42
    np.testing.assert_array_equal(episode.observations[STATE], state[:43].astype(np.float32))
    np.testing.assert_array_equal(episode.observations[AGENTVIEW], frames[:43])
    np.testing.assert_array_equal(episode.rewards, rewards[:42])
    assert (episode.success, episode.terminated, episode.truncated) == (True, True, False)
    assert source.spec.names[STATE][9:12] == ("object.9", "robot0_eef_pos.0", "robot0_eef_pos.1")
    assert source.spec.action_low == (-1,) * 7


def test_the_steps_behind_success_are_kept_on_request() -> None:
    episode = RobomimicSource(ROBOMIMIC, end_at_success=False).read("demo_1")
    with h5py.File(ROBOMIMIC) as file:
        last = array(file, "data/demo_1/next_obs/agentview_image")[-1]
    assert episode.length == 44
    assert episode.success
    np.testing.assert_array_equal(episode.observations[AGENTVIEW][-1], last)


def test_a_mask_of_demonstrations_that_robomimic_left_out() -> None:
    with pytest.raises(DataError, match=r"mask 'train' names demo_2, which 'data' has not"):
        RobomimicSource(ROBOMIMIC, filter_key="train")
    with pytest.raises(DataError, match=r"filter key 'valid' holds no demonstrations"):
        RobomimicSource(ROBOMIMIC, filter_key="valid")


def test_a_file_becomes_a_store_once(tmp_path: Path) -> None:
    source = RobomimicSource(ROBOSUITE)
    assert import_into(source, tmp_path / "store", SilentProgress()) == 2
    assert import_into(source, tmp_path / "store", SilentProgress()) == 0
    store = EpisodeStore.open(tmp_path / "store")
    names = [summary.metadata["imported"] for summary in store.summaries()]
    assert names == [f"{ROBOSUITE}: demo_1", f"{ROBOSUITE}: demo_2"]


# ---- what is taken ---------------------------------------------------------------------------


def test_numbers_order_demonstrations(tmp_path: Path) -> None:
    names = RobomimicSource(write(tmp_path / "a.hdf5", demos=12)).episodes()
    assert names == [f"demo_{number}" for number in range(12)]


def test_a_filter_key_chooses_demonstrations(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", demos=5)
    source = RobomimicSource(path, filter_key="even")
    assert source.episodes() == ["demo_0", "demo_2", "demo_4"]
    assert source.read("demo_2").metadata["filter_keys"] == ["even"]
    assert "filter_keys" not in RobomimicSource(path).read("demo_1").metadata
    with pytest.raises(DataError, match=r"no filter key 'odd'; it has \['even'\]"):
        RobomimicSource(path, filter_key="odd")


def test_observations_are_chosen_and_ordered(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    source = RobomimicSource(path, state_keys=["qpos", "eef_pos"], cameras=[])
    assert source.spec.observation_shapes == {STATE: (4,)}
    assert source.spec.names[STATE] == ("qpos", "eef_pos.0", "eef_pos.1", "eef_pos.2")
    with h5py.File(path) as file:
        qpos, after = (array(file, f"data/demo_0/{part}/qpos") for part in ("obs", "next_obs"))
    state = source.read("demo_0").observations[STATE]
    expected = np.append(qpos[:, 0], after[-1, 0]).astype(np.float32)
    np.testing.assert_array_equal(state[:, 0], expected)


def test_what_is_not_there_is_answered_with_what_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with pytest.raises(DataError, match=r"no camera 'front_image'; it has \['agentview_image'\]"):
        RobomimicSource(path, cameras=["front_image"])
    with pytest.raises(DataError, match=r"no observation 'eef'; it has \['eef_pos', 'qpos'\]"):
        RobomimicSource(path, state_keys=["eef"])


def test_without_next_obs_the_last_observation_is_repeated(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        del data["demo_0/next_obs"]
    episode = RobomimicSource(path).read("demo_0")
    for values in episode.observations.values():
        np.testing.assert_array_equal(values[-1], values[-2])
    assert episode.metadata["final_observation"] == "repeated"


@pytest.mark.parametrize(
    ("env_args", "rate"),
    [
        ({"env_name": "SawyerLift", "type": 1, "env_kwargs": {"control_freq": 100}}, 100),
        ({"env_name": "Lift", "env_version": "1.2.0", "type": 1, "env_kwargs": {}}, 20),
        ({**ENV_ARGS, "env_kwargs": {"control_freq": 10.0}, "lang": "lift the cube"}, 10),
        ({"env_name": "hopper-medium-v2", "type": 2, "env_kwargs": {}}, 125),
    ],
    ids=["0.1", "1.2", "1.5", "gym"],
)
def test_the_control_rate_of_every_version(
    tmp_path: Path, env_args: dict[str, Any], rate: float
) -> None:
    path = write(tmp_path / "a.hdf5", env_args=env_args)
    assert RobomimicSource(path).spec.control_hz == rate
    assert RobomimicSource(path, control_hz=7).spec.control_hz == 7


def test_an_unknown_gym_environment_needs_its_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", env_args={"env_name": "Juggle-v0", "type": 2})
    with pytest.raises(DataError, match=r"'Juggle-v0'; give --control-hz"):
        RobomimicSource(path)


def test_action_bounds_widen_to_the_data(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        replace(data, "demo_1/actions", np.full((STEPS, 2), [0.5, -3.25]))
    source = RobomimicSource(path)
    assert source.spec.action_low == (-1, -3.25)
    assert source.spec.action_high == (1, 1)
    assert source.read("demo_1").actions.dtype == np.float32


# ---- outcome ---------------------------------------------------------------------------------


def test_success_is_the_first_reward_of_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        replace(data, "demo_0/rewards", np.array([0, 0.3, 1, 0, 1, 1]))
    source = RobomimicSource(path)
    assert (source.read("demo_0").length, source.read("demo_0").success) == (3, True)
    failed = source.read("demo_1")
    assert (failed.length, failed.success, failed.truncated) == (STEPS, False, True)


def test_dones_before_the_end_tell_success_beside_dense_rewards(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        for name in ("demo_0", "demo_1"):
            replace(data, f"{name}/rewards", np.linspace(0, 0.9, STEPS))
        replace(data, "demo_0/dones", np.array([0, 0, 0, 1, 1, 1]))
    source = RobomimicSource(path)
    assert (source.read("demo_0").length, source.read("demo_0").success) == (4, True)
    # At the end `dones` says only that the demonstration is over.
    assert not source.read("demo_1").success


def test_rewards_of_gym_environments_say_nothing_of_success(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", env_args={"env_name": "Hopper-v5", "type": 2})
    with edited(path) as data:
        replace(data, "demo_0/rewards", np.full(STEPS, 3.0))
    episode = RobomimicSource(path).read("demo_0")
    assert (episode.length, episode.success, episode.return_) == (STEPS, False, 3.0 * STEPS)
    assert episode.metadata["unlabelled"]


# ---- pictures --------------------------------------------------------------------------------


def as_fractions(frames: np.ndarray) -> np.ndarray:
    return (frames / 255).astype(np.float32)


def as_channels_first(frames: np.ndarray) -> np.ndarray:
    return frames.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    "stored",
    [
        lambda frames: frames,
        as_fractions,
        lambda frames: frames.astype(np.float64),
        lambda frames: frames.astype(np.int64),
        as_channels_first,
        lambda frames: as_channels_first(as_fractions(frames)),
    ],
    ids=["uint8", "0..1", "float 0..255", "int64", "channels first", "processed"],
)
def test_pictures_stored_in_other_ways_are_the_same_pictures(
    tmp_path: Path, stored: Callable[[np.ndarray], np.ndarray]
) -> None:
    path = write(tmp_path / "a.hdf5")
    expected = RobomimicSource(path).read("demo_0").observations[AGENTVIEW]
    with edited(path) as data:
        for part in ("obs", "next_obs"):
            frames = array(data, f"demo_0/{part}/agentview_image")
            replace(data, f"demo_0/{part}/agentview_image", stored(frames))
    source = RobomimicSource(path)
    assert source.spec.observation_shapes[AGENTVIEW] == (8, 10, 3)
    np.testing.assert_array_equal(source.read("demo_0").observations[AGENTVIEW], expected)


def test_grey_pictures_get_three_equal_channels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    grey = np.random.default_rng(1).integers(0, 256, (STEPS, 8, 10, 1), dtype=np.uint8)
    with edited(path) as data:
        for part in ("obs", "next_obs"):
            replace(data, f"demo_0/{part}/agentview_image", grey)
    frames = RobomimicSource(path).read("demo_0").observations[AGENTVIEW]
    np.testing.assert_array_equal(frames[:-1], np.repeat(grey, 3, axis=3))


def test_depth_pictures_are_no_part_of_the_state(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        for demo in ("demo_0", "demo_1"):
            for part in ("obs", "next_obs"):
                data[f"{demo}/{part}/agentview_depth"] = np.zeros((STEPS, 8, 10, 1), np.float32)
    assert RobomimicSource(path).spec.observation_shapes == {STATE: (4,), AGENTVIEW: (8, 10, 3)}
    with pytest.raises(DataError, match="no camera 'agentview_depth'"):
        RobomimicSource(path, cameras=["agentview_depth"])


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.full((STEPS, 8, 10, 3), 300), r"pixel \(0, 0, 0\) at step 0 is 300"),
        (np.full((STEPS, 8, 10, 3), np.nan), r"at step 0 is nan"),
        (np.zeros((STEPS, 8, 10, 5), np.uint8), r"shape \(6, 8, 10, 5\), which is no grey or RGB"),
    ],
    ids=["too bright", "nan", "five channels"],
)
def test_what_is_no_picture(tmp_path: Path, frames: np.ndarray, message: str) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        for part in ("obs", "next_obs"):
            replace(data, f"demo_0/{part}/agentview_image", frames)
    with pytest.raises(DataError, match=message) as caught:
        RobomimicSource(path).read("demo_0")
    assert "agentview_image" in str(caught.value)


def test_pictures_of_another_size_in_one_demonstration(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        for part in ("obs", "next_obs"):
            replace(data, f"demo_1/{part}/agentview_image", np.zeros((STEPS, 4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"demo_1: '.*agentview' has shape \(7, 4, 4, 3\)"):
        RobomimicSource(path).read("demo_1")
