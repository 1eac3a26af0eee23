"""RoboMimic's layout as LIBERO, IsaacLab, MimicGen and others write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
from array_names import hdf5_arrays
from robomimic_files import AGENTVIEW, ENV_ARGS, STATE, STEPS, array, edited, replace, write

from softflow.errors import DataError, SeveralFaultsError
from softflow.formats.contents import told_contents
from softflow.formats.frames import resized
from softflow.formats.prepared import taken_as
from softflow.formats.robomimic.reading import RobomimicSource

GYM = {"env_name": "Isaac-Stack-Cube-Franka-IK-Rel-Mimic-v0", "type": 2, "env_kwargs": {}}


def with_observations(path: Path, found: dict[str, Any]) -> Path:
    """The usual file with further observations in every demonstration."""
    write(path)
    with edited(path) as data:
        for demo in data:
            for part in ("obs", "next_obs"):
                for name, values in found.items():
                    data[f"{demo}/{part}/{name}"] = values
    return path


def test_cameras_are_told_by_what_they_hold(tmp_path: Path) -> None:
    seen = np.random.default_rng(1).integers(0, 256, (STEPS, 16, 12, 4), dtype=np.uint8)
    names = {"agentview_rgb": seen[..., :3], "table_cam": seen, "grey": seen[..., 0]}
    source = RobomimicSource(with_observations(tmp_path / "a.hdf5", names))
    cameras = {key: shape for key, shape in source.spec.observation_shapes.items() if key != STATE}
    assert cameras == {
        AGENTVIEW: (8, 10, 3),
        "observation.images.agentview_rgb": (16, 12, 3),
        "observation.images.grey": (16, 12, 3),
        "observation.images.table_cam": (16, 12, 3),
    }
    episode = source.read("demo_0")
    for name in ("agentview_rgb", "table_cam"):
        frames = episode.observations[f"observation.images.{name}"]
        np.testing.assert_array_equal(frames[:-1], seen[..., :3])
    assert source.spec.observation_shapes[STATE] == (4,)


def test_groups_of_observations_and_success_as_isaaclab_writes_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", env_args=GYM)
    with edited(path) as data:
        for number, demo in enumerate(data):
            group = cast("h5py.Group", data[demo])
            del group["rewards"], group["dones"], group["next_obs"], group["obs"]
            group.attrs["success"] = np.bool_(number == 0)
            group["obs/policy/joint_pos"] = np.full((STEPS, 2), number, np.float32)
            group["obs/policy/table_cam"] = np.full((STEPS, 8, 8, 3), 7, np.uint8)
            group["obs/datagen_info/subtask_term_signals/grasp"] = np.zeros(STEPS, bool)
            group["obs/datagen_info/eef_pose/franka"] = np.zeros((STEPS, 4, 4), np.float32)
            group["initial_state/articulation/robot/root_pose"] = np.zeros((1, 7), np.float32)
    source = RobomimicSource(path, control_hz=30)
    assert source.spec.names[STATE] == ("policy/joint_pos.0", "policy/joint_pos.1")
    assert source.spec.observation_shapes["observation.images.policy_table_cam"] == (8, 8, 3)
    won, lost = source.read("demo_0"), source.read("demo_1")
    assert (won.success, won.length, won.terminated) == (True, STEPS, True)
    assert (lost.success, lost.length, lost.terminated) == (False, STEPS, False)
    assert "unlabelled" not in lost.metadata
    told = "\n".join(told_contents(source))
    assert "obs/datagen_info/subtask_term_signals/grasp [] bool" in told
    wanted = RobomimicSource(
        path, control_hz=30, state_keys=["datagen_info/eef_pose/franka"], cameras=[]
    )
    assert wanted.spec.observation_shapes == {STATE: (16,)}


@pytest.mark.parametrize(
    ("rewards", "kind"),
    [
        (np.linspace(0.2, 3, STEPS), 1),
        (np.linspace(-1, 1, STEPS), 1),
        (np.ones(STEPS), 1),
        (np.linspace(0.2, 1, STEPS), 4),
    ],
    ids=["above 1", "negative", "1 for being alive", "shaped by somebody else"],
)
def test_a_dense_reward_is_no_success(tmp_path: Path, rewards: np.ndarray, kind: int) -> None:
    path = write(tmp_path / "a.hdf5", env_args={**ENV_ARGS, "type": kind})
    with edited(path) as data:
        for demo in data:
            replace(data, f"{demo}/rewards", rewards)
    episode = RobomimicSource(path).read("demo_0")
    assert episode.length == STEPS
    assert not episode.success
    assert episode.metadata["unlabelled"]
    np.testing.assert_allclose(episode.rewards, rewards, rtol=1e-6)
    vouched = taken_as(episode, "success")
    assert vouched.success
    np.testing.assert_array_equal(vouched.rewards, episode.rewards)


def test_robosuites_shaped_reward_still_tells_success(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        replace(data, "demo_1/rewards", np.array([0.1, 0.4, 0.2, 1.0, 0.9, 1.0]))
    episode = RobomimicSource(path).read("demo_1")
    assert (episode.success, episode.length) == (True, 4)


def test_a_file_that_tells_no_rate_is_asked_for_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        del data.attrs["env_args"]
    with pytest.raises(DataError, match=r"how many control steps a second.*--control-hz"):
        RobomimicSource(path)
    assert RobomimicSource(path, control_hz=12).spec.control_hz == 12


def test_depth_of_16_bits_is_no_camera(tmp_path: Path) -> None:
    depth = np.full((STEPS, 16, 12, 1), 200, np.uint16)
    path = with_observations(tmp_path / "a.hdf5", {"depth_image": depth})
    with pytest.raises(DataError, match=r"uint16 .* depth, which the store's cameras"):
        RobomimicSource(path)
    chosen = RobomimicSource(path, cameras=["agentview_image"])
    assert "depth_image [16, 12, 1] uint16" in "\n".join(told_contents(chosen))


def test_actions_by_another_name_or_several(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        for demo in data:
            data[f"{demo}/gripper"] = np.full((STEPS, 1), 0.5)
    source = RobomimicSource(path, action_key=["actions", "gripper"])
    assert source.spec.action_dim == 3
    np.testing.assert_array_equal(source.read("demo_0").actions[:, 2], 0.5)
    assert any("gripper [1] float64 " in line for line in told_contents(RobomimicSource(path)))


def test_nothing_in_the_file_is_unmentioned(tmp_path: Path) -> None:
    path = with_observations(
        tmp_path / "a.hdf5",
        {
            "depth": np.zeros((STEPS, 8, 10, 1), np.float32),
            "label": np.array([b"push"] * STEPS),
            "pose": np.eye(4) * np.ones((STEPS, 1, 1)),
        },
    )
    with h5py.File(path, "a") as file:
        file["data/demo_1/only_here"] = np.zeros(STEPS)
        file["data/demo_0/states"] = np.zeros((STEPS, 5))
        file["notes/author"] = "anna"
        file["data/demo_0/outside"] = h5py.ExternalLink("other.hdf5", "/x")
    names = hdf5_arrays(path)
    told = "\n".join(told_contents(RobomimicSource(path)))
    assert len(names) > 20
    for name in [*names, "data/demo_0/outside"]:
        place = name.removeprefix("data/").partition("/")[2] if "demo_" in name else name
        assert place in told, name
    assert "only_here (in 1 of 2 episodes) [] float64" in told


def test_cameras_are_resized_as_they_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    whole = RobomimicSource(path).read("demo_0").observations[AGENTVIEW]
    small = RobomimicSource(path, image_size=(4, 5))
    assert small.spec.observation_shapes[AGENTVIEW] == (4, 5, 3)
    frames = small.read("demo_0").observations[AGENTVIEW]
    np.testing.assert_array_equal(frames, [resized(frame, (4, 5)) for frame in whole])


def test_a_recording_that_nobody_finished_says_so(tmp_path: Path) -> None:
    """ "The HDF5 file it generates is always only 96 bytes": IsaacLab, issue 577."""
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_group("data").attrs["total"] = 0
    with pytest.raises(DataError, match="its group 'data' holds no demonstrations"):
        RobomimicSource(tmp_path / "a.hdf5")


def test_mimicgens_files_without_rewards_or_next_observations(tmp_path: Path) -> None:
    """[actions, datagen_info, obs, src_demo_inds, src_demo_labels, states]: mimicgen, issue 30."""
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        for demo in data:
            for name in ("rewards", "dones", "next_obs"):
                del data[f"{demo}/{name}"]
            data[f"{demo}/datagen_info/eef_pose"] = np.zeros((STEPS, 1, 4, 4))
            data[f"{demo}/datagen_info/gripper_action"] = np.zeros((STEPS, 1))
            data[f"{demo}/src_demo_inds"] = np.arange(STEPS)
    source = RobomimicSource(path)
    episode = source.read("demo_0")
    assert episode.metadata["unlabelled"]
    assert episode.metadata["final_observation"] == "repeated"
    left = "\n".join(told_contents(source)).partition("not taken:")[2]
    for name in ("datagen_info/eef_pose [1, 4, 4]", "datagen_info/gripper_action", "src_demo_inds"):
        assert name in left


def test_all_faults_of_a_demonstration_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        for name in ("actions", "rewards", "obs/eef_pos"):
            values = array(data, f"demo_0/{name}")
            values[2] = np.nan
            replace(data, f"demo_0/{name}", values)
    with pytest.raises(SeveralFaultsError) as caught:
        RobomimicSource(path).read("demo_0")
    told = " ".join(caught.value.faults)
    assert len(caught.value.faults) == 3
    for key in ("observation.state", "action", "next.reward"):
        assert f"'{key}' at step 2" in told
