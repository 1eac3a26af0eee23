"""RoboMimic files broken on purpose, and large ones: every error names the place and the fix."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import cast

import h5py
import numpy as np
import pytest
from robomimic_files import ROBOMIMIC, ROBOSUITE, STEPS, array, edited, replace, write

from softflow.errors import DataError
from softflow.formats.robomimic.reading import RobomimicSource

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
    with pytest.raises(DataError, match=r"demo_2: 'action' has shape \(6, 3\), expected \(6, 2\)"):
        RobomimicSource(path).read("demo_2")


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
    source = RobomimicSource(path, control_hz=20)
    tracemalloc.start()
    for name in source.episodes():
        source.read(name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * frames.nbytes < path.stat().st_size / 4
