"""RoboMimic and robosuite HDF5 in: real files, every layout, and files broken on purpose."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest

from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.importing import import_into
from softflow.formats.robomimic import RobomimicSource
from softflow.formats.robomimic_record import unpacked
from softflow.progress import SilentProgress

STATE = "observation.state"
AGENTVIEW = "observation.images.agentview"
FIXTURES = Path(__file__).parent / "fixtures"
ROBOSUITE = FIXTURES / "robosuite_1_5_2_lift.hdf5"
ROBOMIMIC = FIXTURES / "robomimic_0_3_0_lift_image.hdf5"
STEPS = 6
ENV_ARGS = {
    "env_name": "Lift",
    "env_version": "1.5.1",
    "type": 1,
    "env_kwargs": {"control_freq": 20},
}


def write(path: Path, demos: int = 2, env_args: dict[str, Any] | None = None) -> Path:
    """A file as robomimic lays it out: two low-dimensional observations and a camera."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(env_args or ENV_ARGS)
        data.attrs["total"] = demos * STEPS
        for number in range(demos):
            group = data.create_group(f"demo_{number}")
            group.attrs["num_samples"] = STEPS
            group["actions"] = rng.uniform(-1, 1, (STEPS, 2))
            group["rewards"] = np.eye(STEPS)[STEPS - 1] * (number % 2 == 0)
            group["dones"] = np.eye(STEPS, dtype=np.int64)[STEPS - 1]
            eef = rng.normal(size=(STEPS + 1, 3))
            qpos = rng.normal(size=(STEPS + 1, 1))
            frames = rng.integers(0, 256, (STEPS + 1, 8, 10, 3), dtype=np.uint8)
            for part, rows in (("obs", slice(0, -1)), ("next_obs", slice(1, None))):
                group[f"{part}/eef_pos"] = eef[rows]
                group[f"{part}/qpos"] = qpos[rows]
                group[f"{part}/agentview_image"] = frames[rows]
        file["mask/even"] = np.array([f"demo_{n}" for n in range(0, demos, 2)], dtype="S")
    return path


@contextmanager
def edited(path: Path) -> Iterator[h5py.Group]:
    with h5py.File(path, "a") as file:
        yield cast("h5py.Group", file["data"])


def replace(data: h5py.Group, name: str, value: Any) -> None:
    del data[name]
    data[name] = value


def array(file: h5py.File | h5py.Group, name: str) -> np.ndarray:
    return np.asarray(cast("h5py.Dataset", file[name]))


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
        (np.zeros((STEPS, 8, 10, 4), np.uint8), r"shape \(6, 8, 10, 4\), which is no grey or RGB"),
    ],
    ids=["too bright", "nan", "rgba"],
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


# ---- broken on purpose -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("obs/eef_pos", np.nan, r"demo_1: 'observation.state' at step 2, component 1 is nan"),
        ("actions", np.inf, r"demo_1: 'action' at step 2, component 1 is inf"),
        ("rewards", np.nan, r"demo_1: 'next.reward' at step 2 is nan"),
        ("obs/eef_pos", 1e300, r"demo_1: 'observation.state' at step 2, component 1 is inf"),
    ],
    ids=["observation", "action", "reward", "beyond float32"],
)
def test_what_is_no_number_is_told_with_its_place(
    tmp_path: Path, place: str, value: float, message: str
) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        values = array(data, f"demo_1/{place}")
        values[2, ...] = values[2, ...] if values.ndim > 1 else value
        if values.ndim > 1:
            values[2, 1] = value
        replace(data, f"demo_1/{place}", values)
    source = RobomimicSource(path)
    assert source.read("demo_0").length == STEPS
    with pytest.raises(DataError, match=message) as caught, np.errstate(over="ignore"):
        source.read("demo_1")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        ("actions", r"demo_1 has no array 'actions'"),
        ("obs/qpos", r"demo_1 has no array 'obs/qpos'"),
        ("obs/agentview_image", r"demo_1 has no array 'obs/agentview_image'"),
        ("next_obs/qpos", r"demo_1 has no array 'next_obs/qpos'"),
        ("obs", r"demo_1 has no array 'obs/eef_pos'"),
    ],
)
def test_a_dataset_missing_in_one_demonstration(tmp_path: Path, place: str, missing: str) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        del data[f"demo_1/{place}"]
    with pytest.raises(DataError, match=missing + r".*leave this demonstration out") as caught:
        RobomimicSource(path).read("demo_1")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "place",
    ["actions", "rewards", "dones", "obs/qpos", "next_obs/qpos", "next_obs/agentview_image"],
)
def test_arrays_of_different_lengths(tmp_path: Path, place: str) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        replace(data, f"demo_1/{place}", array(data, f"demo_1/{place}")[:-2])
    with pytest.raises(DataError, match=rf"demo_1: arrays of different lengths.*'{place}' 4"):
        RobomimicSource(path).read("demo_1")


def test_num_samples_must_fit_and_total_need_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        data.attrs["total"] = 999  # what stays behind when demonstrations are deleted
        del cast("h5py.Group", data["demo_0"]).attrs["num_samples"]
        cast("h5py.Group", data["demo_1"]).attrs["num_samples"] = STEPS + 1
    source = RobomimicSource(path)
    assert source.read("demo_0").length == STEPS
    with pytest.raises(DataError, match=r"demo_1: arrays of .*'num_samples' 7"):
        source.read("demo_1")


def test_demonstrations_of_another_kind(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", demos=3)
    with edited(path) as data:
        replace(data, "demo_1/obs/qpos", np.zeros((STEPS, 2)))
    with pytest.raises(DataError, match=r"demo_1/obs: '.*state' has 5 components, 4 in the first"):
        RobomimicSource(path).read("demo_1")
    with edited(path) as data:
        replace(data, "demo_2/actions", np.zeros((STEPS, 3)))
    with pytest.raises(DataError, match=r"demo_2: actions have shape \(6, 3\), expected .*2\]"):
        RobomimicSource(path)


def test_a_demonstration_without_steps(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        cast("h5py.Group", data["demo_1"]).attrs["num_samples"] = 0
        for name in ("actions", "rewards", "dones"):
            replace(data, f"demo_1/{name}", array(data, f"demo_1/{name}")[:0])
        for part in ("obs", "next_obs"):
            for name in ("eef_pos", "qpos", "agentview_image"):
                place = f"demo_1/{part}/{name}"
                replace(data, place, array(data, place)[:0])
    with pytest.raises(DataError, match=r"demo_1 has 0 steps; leave this demonstration out"):
        RobomimicSource(path).read("demo_1")


def test_text_where_numbers_belong(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        replace(data, "demo_1/obs/qpos", np.array(["a"] * STEPS, dtype="S"))
    with pytest.raises(DataError, match=r"demo_1/obs/qpos is \|S1 of shape \(6,\), not numbers"):
        RobomimicSource(path).read("demo_1")


def test_files_of_another_kind(tmp_path: Path) -> None:
    text, empty, other = (tmp_path / name for name in ("a.hdf5", "b.hdf5", "c.hdf5"))
    text.write_text("no HDF5\n" * 400)
    empty.write_bytes(b"")
    with h5py.File(other, "w") as file:
        file["episode_0/actions"] = np.zeros((3, 2))
    for path, message in (
        (text, "cannot read"),
        (empty, "cannot read"),
        (other, r"no group 'data' \(it has \['episode_0'\]\); is it a robomimic"),
        (tmp_path / "absent.hdf5", "there is no file"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            RobomimicSource(path)
        assert str(path) in str(caught.value)


def test_no_demonstrations_or_damaged_arguments(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        data.attrs["env_args"] = '{"env_name": "Li'
    with pytest.raises(DataError, match=r"/data: attribute 'env_args' is not JSON"):
        RobomimicSource(path)
    with edited(path) as data:
        for name in list(data):
            del data[name]
    with pytest.raises(DataError, match="its group 'data' holds no demonstrations"):
        RobomimicSource(path)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_while_downloading(tmp_path: Path, share: float) -> None:
    whole = ROBOMIMIC.read_bytes()
    path = tmp_path / "cut.hdf5"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"cannot read .*cut.hdf5: .*copy or download it again"):
        RobomimicSource(path)


def test_damage_anywhere_gives_an_error_or_an_episode(tmp_path: Path) -> None:
    """HDF5 has no checksums here: damaged numbers pass, damaged structure must be told."""
    whole = ROBOSUITE.read_bytes()
    rng = np.random.default_rng(0)
    path, told = tmp_path / "damaged.hdf5", list[str]()
    for start in rng.integers(0, 4096, 60):
        damaged = bytearray(whole)
        damaged[start : start + 24] = rng.bytes(24)
        path.write_bytes(damaged)
        try:
            source = RobomimicSource(path)
            for name in source.episodes():
                source.read(name).validate(source.spec)
        except DataError as error:
            told.append(str(error))
    assert len(told) > 10
    assert all(str(path) in message for message in told)


# ---- memory ----------------------------------------------------------------------------------


def test_one_demonstration_at_a_time_is_in_memory(tmp_path: Path) -> None:
    path, steps, side = tmp_path / "many.hdf5", 20, 64
    frames = np.random.default_rng(0).integers(0, 256, (steps, side, side, 3), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        for number in range(25):
            for part in ("obs", "next_obs"):
                file[f"data/demo_{number}/{part}/front_image"] = frames
                file[f"data/demo_{number}/{part}/qpos"] = np.zeros((steps, 3))
            file[f"data/demo_{number}/actions"] = np.zeros((steps, 2))
    source = RobomimicSource(path)
    tracemalloc.start()
    for name in source.episodes():
        source.read(name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * frames.nbytes < path.stat().st_size / 4
