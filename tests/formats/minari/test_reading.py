"""Minari datasets in: written by the minari package, and broken on purpose."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from array_names import hdf5_arrays
from gymnasium.spaces import Box, Discrete
from gymnasium.spaces import Dict as DictSpace
from gymnasium.spaces import Tuple as TupleSpace
from minari.data_collector import EpisodeBuffer

from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.contents import told_contents
from softflow.formats.importing import import_into
from softflow.formats.minari.reading import MinariSource
from softflow.formats.rates import KNOWN_HZ, control_rate
from softflow.utils.progress import SilentProgress

STATE = "observation.state"
ADROIT = Path(__file__).parent / "fixtures" / "minari_adroit_door"
STEPS = 5
VECTOR = Box(-np.inf, np.inf, (3,), np.float64)
BOUNDS = np.array([1, 2], np.float32)
ACTIONS = Box(-BOUNDS, BOUNDS, (2,), np.float32)
Written = tuple[Path, "minari.MinariDataset"]
Writer = Callable[..., Written]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """`written(observation_space, observe)`: a dataset of the real minari package."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def write(
        space: gymnasium.Space[Any] = VECTOR,
        observe: Callable[[np.random.Generator], Any] | None = None,
        action_space: gymnasium.Space[Any] = ACTIONS,
        infos: Callable[[int], dict[str, Any]] | None = None,
        name: str = "D4RL/door/human-v2",
        **options: Any,
    ) -> Written:
        buffers = [episode_buffer(seed, space, observe, action_space, infos) for seed in range(2)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no author, no permalink
            dataset = minari.create_dataset_from_buffers(
                name, buffers, observation_space=space, action_space=action_space, **options
            )
        return tmp_path / "minari" / name, dataset

    return write


def episode_buffer(
    seed: int,
    space: gymnasium.Space[Any],
    observe: Callable[[np.random.Generator], Any] | None,
    action_space: gymnasium.Space[Any],
    infos: Callable[[int], dict[str, Any]] | None,
) -> EpisodeBuffer:
    """The first episode terminates, the second one is truncated."""
    rng = np.random.default_rng(seed)
    action_space.seed(seed)
    space.seed(seed)
    observations = [observe(rng) if observe else space.sample() for _ in range(STEPS + 1)]
    ends = [step == STEPS - 1 for step in range(STEPS)]
    return EpisodeBuffer(
        id=seed,
        seed=40 + seed,
        observations=stacked(observations),
        actions=[action_space.sample() for _ in range(STEPS)],
        rewards=rng.normal(size=STEPS).tolist(),
        terminations=[end and seed == 0 for end in ends],
        truncations=[end and seed == 1 for end in ends],
        infos=infos(seed) if infos else None,
    )


def stacked(observations: list[Any]) -> Any:
    """A list of dictionaries or tuples as a dictionary or tuple of lists, as minari wants it."""
    first = observations[0]
    if isinstance(first, dict):
        return {key: stacked([value[key] for value in observations]) for key in first}
    if isinstance(first, tuple):
        return tuple(stacked([value[i] for value in observations]) for i in range(len(first)))
    return observations


def test_every_number_is_what_minari_reads(written: Writer) -> None:
    path, dataset = written()
    source = MinariSource(path)
    assert source.episodes() == ["episode_0", "episode_1"]
    assert source.spec.action_low == (-1, -2)
    assert source.spec.action_high == (1, 2)
    assert source.spec.control_hz == 100  # an Adroit dataset, told by its name
    assert source.spec.names == {}
    for name, theirs in zip(source.episodes(), dataset.iterate_episodes(), strict=True):
        episode = source.read(name)
        state = np.float32(cast("np.ndarray", theirs.observations))
        np.testing.assert_array_equal(episode.observations[STATE], state)
        np.testing.assert_array_equal(episode.actions, np.float32(theirs.actions))
        np.testing.assert_array_equal(episode.rewards, np.float32(theirs.rewards))
        assert episode.terminated == theirs.terminations[-1]
        assert episode.truncated == theirs.truncations[-1]
        assert episode.metadata["seed"] == 40 + int(theirs.id)
        assert episode.metadata["unlabelled"]


def test_dictionaries_tuples_and_discrete_parts_are_laid_side_by_side(written: Writer) -> None:
    space = DictSpace(
        {
            "goal": DictSpace({"pos": Box(-1, 1, (2,), np.float64)}),
            "hands": TupleSpace((Box(-1, 1, (1,), np.float32), Discrete(5))),
        }
    )
    path, dataset = written(space)
    source = MinariSource(path)
    assert source.spec.names[STATE] == (
        "goal/pos.0",
        "goal/pos.1",
        "hands/_index_0",
        "hands/_index_1",
    )
    theirs = cast("dict[str, Any]", dataset[0].observations)
    state = source.read("episode_0").observations[STATE]
    np.testing.assert_array_equal(state[:, :2], np.float32(theirs["goal"]["pos"]))
    np.testing.assert_array_equal(state[:, 2:3], theirs["hands"][0])
    np.testing.assert_array_equal(state[:, 3], theirs["hands"][1])


CAMERA = Box(0, 255, (40, 48, 3), np.uint8)
GREY = Box(0, 255, (40, 48), np.uint8)


@pytest.mark.parametrize("jpeg_encoding", [True, False])
def test_pictures_are_cameras(written: Writer, jpeg_encoding: bool) -> None:
    space = DictSpace({"state": VECTOR, "eye": CAMERA, "touch": DictSpace({"map": GREY})})
    path, dataset = written(space, jpeg_encoding=jpeg_encoding)
    source = MinariSource(path)
    assert source.spec.observation_shapes == {
        "observation.images.eye": (40, 48, 3),
        "observation.images.touch_map": (40, 48, 3),
        STATE: (3,),
    }
    episode = source.read("episode_1")
    theirs = cast("dict[str, Any]", dataset[1].observations)
    np.testing.assert_array_equal(episode.observations["observation.images.eye"], theirs["eye"])
    for channel in range(3):
        grey = episode.observations["observation.images.touch_map"][..., channel]
        np.testing.assert_array_equal(grey, theirs["touch"]["map"])


def test_jpeg_pictures_of_equal_size_are_still_pictures(written: Writer) -> None:
    path, dataset = written(CAMERA, lambda rng: np.full((40, 48, 3), 7, np.uint8))
    with h5py.File(path / "data" / "main_data.hdf5") as file:
        assert cast("h5py.Dataset", file["episode_0/observations"]).ndim == 2  # [T+1, bytes]
    source = MinariSource(path)
    assert source.spec.observation_shapes == {"observation.images.camera": (40, 48, 3)}
    frames = source.read("episode_0").observations["observation.images.camera"]
    np.testing.assert_array_equal(frames, cast("np.ndarray", dataset[0].observations))


def test_small_grids_of_symbols_are_state(written: Writer) -> None:
    path, _ = written(Box(0, 255, (7, 7, 3), np.uint8))
    assert MinariSource(path).spec.observation_shapes == {STATE: (147,)}


@pytest.mark.parametrize("reset_infos", [0, 1], ids=["T infos", "T+1 infos"])
@pytest.mark.parametrize("key", ["success", "is_success", "goal_achieved"])
def test_success_ends_an_episode(written: Writer, key: str, reset_infos: int) -> None:
    def infos(seed: int) -> dict[str, Any]:
        return {key: [False] * reset_infos + [seed == 0 and step >= 2 for step in range(STEPS)]}

    path, _ = written(infos=infos)
    won, lost = (MinariSource(path).read(name) for name in ("episode_0", "episode_1"))
    assert (won.length, won.success, won.terminated, won.truncated) == (3, True, True, False)
    assert (lost.length, lost.success, lost.truncated) == (STEPS, False, True)
    assert "unlabelled" not in won.metadata | lost.metadata
    whole = MinariSource(path, end_at_success=False).read("episode_0")
    assert (whole.length, whole.success, whole.terminated) == (STEPS, True, True)


def test_success_at_the_time_limit_terminates(written: Writer) -> None:
    path, _ = written(infos=lambda seed: {"success": [False] * 4 + [True]})
    assert MinariSource(path).read("episode_1").terminated
    assert MinariSource(path, end_at_success=False).read("episode_1").truncated


def test_the_adroit_hand_as_its_data_collector_recorded_it(tmp_path: Path) -> None:
    source = MinariSource(ADROIT)
    assert source.spec.observation_shapes == {STATE: (39,)}
    assert (source.spec.action_dim, source.spec.control_hz) == (28, 100)
    assert set(source.spec.action_high) == {1}
    episode = source.read("episode_1")
    assert episode.metadata["environment"] == "AdroitHandDoor-v1"
    assert "unlabelled" not in episode.metadata
    assert (episode.length, episode.success, episode.truncated) == (20, False, True)
    assert import_into(source, tmp_path / "store", SilentProgress()) == 2
    stored = EpisodeStore.open(tmp_path / "store").episode(1)
    np.testing.assert_array_equal(stored.actions, episode.actions)


@pytest.mark.parametrize("env_id", ["HalfCheetah-v5", "Hopper-v5", "Walker2d-v5", "Ant-v5"])
def test_known_rates_are_those_of_the_environments(env_id: str) -> None:
    env = gymnasium.make(env_id)
    assert control_rate(None, env_id, "") == pytest.approx(1 / cast("Any", env.unwrapped).dt)
    d4rl_name = env_id.split("-")[0].lower() + "-medium-v2"
    assert control_rate(None, d4rl_name, "") == control_rate(None, env_id, "")
    env.close()


def test_the_rate_is_asked_for_where_nobody_knows_it(written: Writer) -> None:
    path, _ = written(name="own/juggle-v0")
    with pytest.raises(DataError, match=r"softflow does not know it of 'own/juggle-v0'; give --co"):
        MinariSource(path)
    assert MinariSource(path, control_hz=30).spec.control_hz == 30
    assert all(rate > 0 for rate in KNOWN_HZ.values())


def test_an_unbounded_action_space_takes_the_range_of_the_data(written: Writer) -> None:
    path, _ = written(action_space=Box(-np.inf, np.inf, (2,), np.float64))
    for number in range(2):
        steps = np.arange(STEPS)[:, None] + number
        edit(path, f"episode_{number}/actions", np.concatenate([steps + 2.5, -steps - 1], axis=1))
    spec = MinariSource(path).spec
    assert spec.action_low == (2.5, -STEPS - 1)
    assert spec.action_high == (STEPS + 2.5, -1)


def test_folder_file_and_file_alone(written: Writer, tmp_path: Path) -> None:
    path, _ = written()
    file = path / "data" / "main_data.hdf5"
    expected = MinariSource(path).read("episode_0")
    alone = Path(shutil.copy(file, tmp_path / "alone.hdf5"))
    for place in (path / "data", file, alone):
        source = MinariSource(place, control_hz=10)
        np.testing.assert_array_equal(source.read("episode_0").actions, expected.actions)


# ---- broken on purpose -----------------------------------------------------------------------


def test_what_softflow_cannot_learn_from(written: Writer, tmp_path: Path) -> None:
    discrete, _ = written(action_space=Discrete(3), name="toy/discrete-v0")
    with pytest.raises(DataError, match=r"actions have shape \(5,\).*continuous action vector"):
        MinariSource(discrete)
    with pytest.raises(DataError, match=r"no main_data.hdf5 in .*; give the dataset's folder"):
        MinariSource(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps({"data_format": "arrow"}))
    with pytest.raises(DataError, match=r"is stored as arrow; softflow reads Minari's HDF5"):
        MinariSource(tmp_path)


def main_data(path: Path) -> Path:
    return path / "data" / "main_data.hdf5"


def edit(path: Path, name: str, value: np.ndarray | None) -> None:
    with h5py.File(main_data(path), "a") as file:
        del file[name]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("actions", None, r"episode_1 has no array 'actions'"),
        ("rewards", None, r"episode_1 has no array 'rewards'"),
        ("terminations", None, r"episode_1 has no array 'terminations'"),
        ("observations", None, r"episode_1: no 'observations'"),
        ("rewards", np.zeros(3), r"arrays of different lengths .*'rewards' 3"),
        ("observations", np.zeros((STEPS - 1, 3)), r"'observations/ less one' 3"),
        ("observations", np.full((STEPS + 1, 3), np.nan), r"state' at step 0, component 0 is nan"),
        ("observations", np.zeros((STEPS + 1, 4)), r"state' has shape \(6, 4\), expected \(6, 3\)"),
        ("actions", np.full((STEPS, 2), np.inf), r"'action' at step 0, component 0 is inf"),
        ("actions", np.zeros((STEPS, 3)), r"episode_1: 'action' has shape \(5, 3\), expected"),
    ],
)
def test_damaged_episodes(
    written: Writer, name: str, value: np.ndarray | None, message: str
) -> None:
    path, _ = written()
    edit(path, f"episode_1/{name}", value)
    with pytest.raises(DataError, match=message) as caught:
        MinariSource(path).read("episode_1")
    assert "episode_1" in str(caught.value)
    assert str(path) in str(caught.value)


def test_infos_of_another_length(written: Writer) -> None:
    path, _ = written(infos=lambda seed: {"success": [False] * STEPS})
    edit(path, "episode_1/infos/success", np.zeros(3, bool))
    with pytest.raises(DataError, match=r"infos/success has 3 values for 5 actions"):
        MinariSource(path).read("episode_1")


def test_a_damaged_picture(written: Writer) -> None:
    path, _ = written(CAMERA)
    with h5py.File(main_data(path), "a") as file:
        pictures = cast("h5py.Dataset", file["episode_1/observations"])
        pictures[3] = pictures[3][:40]
    with pytest.raises(DataError, match=r"episode_1/observations, step 3: .*download it again"):
        MinariSource(path, control_hz=10).read("episode_1")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_a_file_cut_while_downloading(written: Writer, share: float) -> None:
    path, _ = written()
    whole = main_data(path).read_bytes()
    main_data(path).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"cannot read .*main_data.hdf5"):
        MinariSource(path)


def test_files_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "hopper-medium-v2.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.zeros((3, 2))
    with pytest.raises(DataError, match=r"no group episode_0 \(it has \['observations'\]\)"):
        MinariSource(path)
    path.write_text("no HDF5")
    with pytest.raises(DataError, match="cannot read"):
        MinariSource(path)


def test_damaged_metadata(written: Writer) -> None:
    path, _ = written()
    (path / "data" / "metadata.json").write_text('{"action_space": "{Box"}')
    with pytest.raises(DataError, match=r"metadata.json: 'action_space' is not JSON"):
        MinariSource(path)
    (path / "data" / "metadata.json").write_text("[]")
    with pytest.raises(DataError, match=r"metadata.json is damaged .*got `array`"):
        MinariSource(path)


def test_nothing_in_the_dataset_is_unmentioned() -> None:
    source = MinariSource(ADROIT)
    told = "\n".join(told_contents(source))
    found = hdf5_arrays(source.path)
    assert found
    for name in found:
        assert f"  {name.partition('/')[2]} " in told, name


def test_episodes_without_their_final_observation(written: Writer) -> None:
    """antmaze-umaze-v0 has four of them: Minari, issue 199."""
    path, _ = written()
    file = path / "data/main_data.hdf5"
    with h5py.File(file, "a") as data:
        seen = np.asarray(cast("h5py.Dataset", data["episode_1/observations"]))[:-1]
        del data["episode_1/observations"]
        data["episode_1/observations"] = seen
    source = MinariSource(path)
    episode = source.read("episode_1")
    assert episode.length == len(seen)
    np.testing.assert_array_equal(episode.observations[STATE][-1], seen[-1].astype(np.float32))
    assert episode.metadata["final_observation"] == "repeated"
    assert "no final observation" in source.notes.drained()[0]
