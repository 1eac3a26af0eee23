"""Stores as RoboMimic files: exact round trips, and robomimic's own reader."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
import pytest
from robomimic_stores import FRONT, RICH, STATE, TOUCH, episode_of, exported

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.formats.importing import IMPORTED, import_into
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.utils.progress import SilentProgress

FIXTURES = Path(__file__).parent / "fixtures"
REAL = ("robosuite_1_5_2_lift.hdf5", "robomimic_0_3_0_lift_image.hdf5")


def imported(path: Path, store: Path, **options: Any) -> EpisodeStore:
    import_into(RobomimicSource(path, **options), store, SilentProgress())
    return EpisodeStore.open(store)


def assert_same_stores(ours: EpisodeStore, theirs: EpisodeStore) -> None:
    assert theirs.spec == ours.spec
    assert len(theirs) == len(ours)
    for index in range(len(ours)):
        a, b = ours.episode(index), theirs.episode(index)
        for key in ours.spec.observation_shapes:
            np.testing.assert_array_equal(b.observations[key], a.observations[key])
        np.testing.assert_array_equal(b.actions, a.actions)
        np.testing.assert_array_equal(b.rewards, a.rewards)
        for name in ("terminated", "truncated", "success"):
            assert getattr(b, name) == getattr(a, name), (index, name)
        assert without_name(b.metadata) == without_name(a.metadata)


def without_name(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """All but the name of the episode in the file it was last imported from."""
    return {key: value for key, value in metadata.items() if key != IMPORTED}


def contents(path: Path) -> dict[str, Any]:
    """Every array and attribute of a file."""
    found: dict[str, Any] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = (node.dtype.str, np.asarray(node).tolist())
        found[f"{name} attributes"] = {key: str(value) for key, value in node.attrs.items()}

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


# ---- round trips -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("end_at_success", [True, False])
def test_real_files_come_back_exactly(tmp_path: Path, name: str, end_at_success: bool) -> None:
    first = imported(FIXTURES / name, tmp_path / "first", end_at_success=end_at_success)
    again = imported(exported(first, tmp_path / "out.hdf5"), tmp_path / "again")
    assert_same_stores(first, again)
    # What robomimic itself had told of the environment is where its tools look for it.
    with h5py.File(FIXTURES / name) as ours, h5py.File(tmp_path / "out.hdf5") as theirs:
        demo_of = cast("Callable[[h5py.File, str], h5py.Group]", lambda file, key: file[key])
        model = demo_of(ours, "data/demo_1").attrs["model_file"]
        assert demo_of(theirs, "data/demo_0").attrs["model_file"] == model
        for key, value in demo_of(ours, "data").attrs.items():
            if key != "total":
                assert demo_of(theirs, "data").attrs[key] == value


@pytest.mark.parametrize("task", ["lift", "nut-assembly"])
def test_recordings_of_robosuite_1_0_come_back_exactly(
    tmp_path: Path, shared_data: Path, task: str
) -> None:
    path = shared_data / "robosuite_demos" / task / "panda" / "demo.hdf5"
    first = imported(path, tmp_path / "first")
    again = imported(exported(first, tmp_path / "out.hdf5"), tmp_path / "again")
    assert_same_stores(first, again)


@pytest.mark.parametrize("compress", [True, False])
def test_everything_a_store_holds_comes_back(
    tmp_path: Path, rich_store: EpisodeStore, compress: bool
) -> None:
    path = exported(rich_store, tmp_path / "out.hdf5", compress=compress)
    again = imported(path, tmp_path / "again")
    assert_same_stores(rich_store, again)
    exported(again, tmp_path / "second.hdf5", compress=compress)
    first, second = contents(path), contents(tmp_path / "second.hdf5")
    for number in range(len(again)):
        # Only the name under which it was imported is new.
        del first[f"data/demo_{number} attributes"], second[f"data/demo_{number} attributes"]
    assert first == second


def test_a_part_of_an_exported_file_can_be_taken(tmp_path: Path, rich_store: EpisodeStore) -> None:
    path = exported(rich_store, tmp_path / "out.hdf5")
    source = RobomimicSource(
        path, filter_key="anna", state_keys=["touch", "height"], cameras=["front_image"]
    )
    assert source.episodes() == ["demo_1"]
    assert source.spec.observation_shapes == {STATE: (7,), FRONT: (8, 10, 3)}
    assert source.spec.action_high == RICH.action_high
    episode = source.read("demo_1")
    expected = rich_store.episode(1).observations
    np.testing.assert_array_equal(episode.observations[STATE][:, 6], expected[STATE][:, 3])
    np.testing.assert_array_equal(episode.observations[FRONT], expected[FRONT])


def test_files_of_several_recordings_keep_their_own_facts(tmp_path: Path) -> None:
    source = RobomimicSource(FIXTURES / REAL[0])
    with EpisodeStore.create(tmp_path / "store", source.spec) as store:
        for name, date in (("demo_1", "Monday"), ("demo_2", "Tuesday")):
            episode = source.read(name)
            facts = episode.metadata["robomimic"]
            episode.metadata["robomimic"] = facts | {"data": facts["data"] | {"date": date}}
            store.append(episode)
    again = imported(exported(store, tmp_path / "out.hdf5"), tmp_path / "again")
    dates = [s.metadata["robomimic"]["data"]["date"] for s in again.summaries()]
    assert dates == ["Monday", "Tuesday"]
    assert_same_stores(store, again)


def test_the_newest_label_is_exported(tmp_path: Path, rich_store: EpisodeStore) -> None:
    rich_store.label(0, Label("ben", (Event(2, "success", 1.0),)))
    again = imported(exported(rich_store, tmp_path / "out.hdf5"), tmp_path / "again")
    episode = again.episode(0)
    assert (episode.length, episode.success, episode.terminated) == (3, True, True)
    assert episode.rewards.tolist() == [0, 0, 1]
    assert episode.metadata["annotator"] == "ben"


# ---- the file as robomimic knows it ----------------------------------------------------------


def test_the_layout(tmp_path: Path, rich_store: EpisodeStore) -> None:
    with h5py.File(exported(rich_store, tmp_path / "out.hdf5")) as file:
        data, demo = (cast("h5py.Group", file[name]) for name in ("data", "data/demo_2"))
        episode = rich_store.episode(2)
        assert (data.attrs["total"], demo.attrs["num_samples"]) == (16, 7)
        assert sorted(cast("h5py.Group", demo["obs"])) == [
            "arm_x", "eef.1", "front_image", "height", "object", "phase", "state_.",
            "state_object", "touch", "wrist_image_image",
        ]  # fmt: skip
        for part, rows in (("obs", slice(0, -1)), ("next_obs", slice(1, None))):
            np.testing.assert_array_equal(
                np.asarray(demo[f"{part}/height"]), episode.observations[STATE][rows, 3:4]
            )
            np.testing.assert_array_equal(
                np.asarray(demo[f"{part}/front_image"]), episode.observations[FRONT][rows]
            )
        assert np.asarray(demo["dones"]).tolist() == [0] * 6 + [1]
        assert not np.asarray(file["data/demo_0/dones"]).any()
        assert json.loads(str(data.attrs["env_args"])) == {
            "env_name": "cube-single-task1",
            "type": 2,
            "env_kwargs": {"control_freq": 12.5},
        }


def test_an_environment_of_robosuite_is_described_as_robomimic_does(tmp_path: Path) -> None:
    store = imported(FIXTURES / REAL[0], tmp_path / "store")
    with h5py.File(exported(store, tmp_path / "out.hdf5")) as file:
        arguments = json.loads(str(cast("h5py.Group", file["data"]).attrs["env_args"]))
    with h5py.File(FIXTURES / REAL[1]) as file:
        theirs = json.loads(str(cast("h5py.Group", file["data"]).attrs["env_args"]))
    for key in ("type", "env_name", "env_version"):
        assert arguments[key] == theirs[key]
    kwargs = arguments["env_kwargs"]
    assert kwargs["controller_configs"] == theirs["env_kwargs"]["controller_configs"]


def masks_of(path: Path) -> dict[str, list[str]]:
    with h5py.File(path) as file:
        masks = cast("h5py.Group", file["mask"])
        return {key: [name.decode() for name in np.asarray(masks[key])] for key in map(str, masks)}


def test_filter_keys(tmp_path: Path, rich_store: EpisodeStore) -> None:
    masks = masks_of(exported(rich_store, tmp_path / "out.hdf5"))
    assert masks["success"] == ["demo_1", "demo_3"]
    assert masks["anna"] == masks["short"] == ["demo_1"]
    assert len(masks["valid"]) == 1
    assert sorted(masks["train"] + masks["valid"]) == [f"demo_{n}" for n in range(4)]


@pytest.mark.slow
def test_one_in_ten_validates_always_the_same(tmp_path: Path) -> None:
    spec = DataSpec({STATE: (1,)}, 1, (-1.0,), (1.0,), 10.0)
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        for seed in range(30):
            store.append(episode_of(spec, 1, seed))
    masks = masks_of(exported(store, tmp_path / "a.hdf5"))
    assert (len(masks["train"]), len(masks["valid"])) == (27, 3)
    assert set(masks["train"]) | set(masks["valid"]) == {f"demo_{n}" for n in range(30)}
    assert "success" not in masks  # robomimic cannot open an empty filter key
    assert masks_of(exported(store, tmp_path / "b.hdf5")) == masks


def test_the_split_that_came_with_the_data_stays(tmp_path: Path, rich_store: EpisodeStore) -> None:
    spec = rich_store.spec
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        for seed, key in enumerate(["train", "valid", "valid"]):
            store.append(episode_of(spec, 2, seed, metadata={"filter_keys": [key]}))
    masks = masks_of(exported(store, tmp_path / "out.hdf5"))
    assert masks == {"train": ["demo_0"], "valid": ["demo_1", "demo_2"]}


# ---- robomimic's own reader ------------------------------------------------------------------


@pytest.fixture(scope="session")
def robomimic_path() -> Path:
    """Where `make test` put robomimic; see robomimic_requirements.txt."""
    path = Path(os.environ.get("SOFTFLOW_ROBOMIMIC", Path(sys.prefix) / "robomimic"))
    if not (path / "robomimic").is_dir():
        pytest.skip(f"no robomimic in {path}; `make test` installs it, or set SOFTFLOW_ROBOMIMIC")
    return path


def read_by_robomimic(robomimic_path: Path, *files: tuple[Path, str]) -> list[dict[str, Any]]:
    """Files and filter keys, in one process: importing robomimic takes longer than reading."""
    done = subprocess.run(
        [
            sys.executable,
            Path(__file__).parents[2] / "support" / "robomimic_reader.py",
            *(f"{file}={filter_key}" for file, filter_key in files),
        ],
        env=os.environ | {"PYTHONPATH": str(robomimic_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [dict(np.load(file.with_suffix(".npz"))) for file, _ in files]


@pytest.mark.slow
def test_robomimic_reads_what_softflow_wrote(
    tmp_path: Path, rich_store: EpisodeStore, robomimic_path: Path
) -> None:
    detour = imported(FIXTURES / REAL[1], tmp_path / "detour", end_at_success=False)
    rich, real = read_by_robomimic(
        robomimic_path,
        (exported(rich_store, tmp_path / "rich.hdf5"), ""),
        (exported(detour, tmp_path / "real.hdf5"), "success"),
    )
    assert_robomimic_read_the_store(rich, rich_store)
    assert_robomimic_read_its_own_file(real)


def assert_robomimic_read_the_store(read: dict[str, Any], store: EpisodeStore) -> None:
    assert read["demos"].tolist() == [f"demo_{n}" for n in range(4)]
    assert (read["num_windows"], read["ac_dim"], read["use_images"]) == (16, 2, True)
    assert read["batch/actions"].shape == (2, 3, 2)
    shapes = json.loads(str(read["shapes"]))
    assert shapes["front_image"] == [3, 8, 10]  # robomimic's own order, channels first
    assert (shapes["touch"], shapes["object"], shapes["state_object"]) == ([2, 3], [2], [2])
    assert json.loads(str(read["env"]))["env_name"] == "cube-single-task1"
    for index in range(4):
        episode, demo = store.episode(index), f"demo_{index}"
        np.testing.assert_array_equal(read[f"{demo}/actions"], episode.actions)
        np.testing.assert_array_equal(read[f"{demo}/rewards"], episode.rewards)
        assert read[f"{demo}/dones"].sum() == episode.terminated
        for part, rows in (("obs", slice(0, -1)), ("next_obs", slice(1, None))):
            for name, expected in (
                ("arm_x", episode.observations[STATE][rows, 2:3]),
                ("state_object", episode.observations[STATE][rows, :2]),
                ("object", episode.observations["observation.object"][rows]),
                ("touch", episode.observations[TOUCH][rows]),
                ("front_image", episode.observations[FRONT][rows]),
            ):
                np.testing.assert_array_equal(read[f"{demo}/{part}/{name}"], expected)


def assert_robomimic_read_its_own_file(read: dict[str, Any]) -> None:
    """What robomimic wrote once, and softflow imported and exported."""
    with h5py.File(FIXTURES / REAL[1]) as file:
        theirs = cast("h5py.Group", file["data/demo_1"])
        keys = list(cast("h5py.Group", theirs["obs"]))
        names = [f"{part}/{key}" for part in ("obs", "next_obs") for key in keys]
        for name in ("actions", "rewards", *names):
            expected = np.asarray(theirs[name]).astype(np.float32)
            np.testing.assert_array_equal(read[f"demo_0/{name}"], expected)
        env_args = json.loads(str(cast("h5py.Group", file["data"]).attrs["env_args"]))
    assert json.loads(str(read["env"])) == env_args
