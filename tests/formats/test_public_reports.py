"""What hurt users of HDF5 and Zarr datasets, by the public report of it, rebuilt small."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numcodecs
import numpy as np
import pytest
import zarr
from robomimic_files import ROBOMIMIC, STATE, array, edited, replace, write

from softflow.curation.validation import validate_store
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError, SoftflowError
from softflow.formats.d4rl import D4RLSource
from softflow.formats.importing import import_into
from softflow.formats.minari.reading import MinariSource
from softflow.formats.replay_buffer.reading import ReplayBufferSource
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.utils.progress import SilentProgress

ADROIT = Path(__file__).parent / "minari" / "fixtures" / "minari_adroit_door"


def test_a_mask_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    """A bare KeyError told of a missing 'train': robomimic, issue 48."""
    path = write(tmp_path / "a.hdf5")
    with pytest.raises(DataError, match=r"no filter key 'train'.*even"):
        RobomimicSource(path, filter_key="train").episodes()


def test_observations_that_are_matrices_are_mentioned(tmp_path: Path) -> None:
    """A pose [1, 4] for each hand made training stop later: MimicPlay, issue 12."""
    path = write(tmp_path / "a.hdf5")
    with edited(path) as data:
        for demo in data:
            data[f"{demo}/obs/poses"] = np.zeros((6, 1, 4))
            data[f"{demo}/next_obs/poses"] = np.zeros((6, 1, 4))
    source = RobomimicSource(path)
    (part,) = (part for part in source.contents() if part.name.startswith("data/*/obs/poses"))
    assert part.becomes or part.why


def test_a_camera_that_is_black_all_the_time_is_found(tmp_path: Path) -> None:
    """Episodes rendered on a busy machine were black: robocasa, issue 49."""
    path = write(tmp_path / "a.hdf5", demos=1)
    with edited(path) as data:
        for part in ("obs", "next_obs"):
            replace(data, f"demo_0/{part}/agentview_image", np.zeros((6, 8, 10, 3), np.uint8))
    import_into(RobomimicSource(path, control_hz=2), tmp_path / "store", SilentProgress())
    found = list(validate_store(EpisodeStore.open(tmp_path / "store")))
    assert any("images.agentview" in str(problem) for problem in found), found


def test_demonstrations_are_numbered_not_spelled(tmp_path: Path) -> None:
    """demo_10 came before demo_2, and a split by position took others: robomimic's own order."""
    path = write(tmp_path / "a.hdf5", demos=12)
    assert RobomimicSource(path).episodes() == [f"demo_{number}" for number in range(12)]


def d4rl(path: Path, steps: int = 9, **arrays: Any) -> Path:
    rng = np.random.default_rng(0)
    usual = {
        "observations": rng.normal(size=(steps, 39)),
        "actions": rng.uniform(-0.5, 0.5, (steps, 28)).astype(np.float32),
        "rewards": rng.normal(size=steps),
        "terminals": np.zeros(steps, bool),
        "timeouts": np.arange(steps) == 3,
    }
    with h5py.File(path, "w") as file:
        for name, values in (usual | arrays).items():
            file[name] = values
    return path


def test_the_last_episode_counts_though_nothing_ends_it(tmp_path: Path) -> None:
    """Loaders threw it away: CORL, issue 43."""
    source = D4RLSource(d4rl(tmp_path / "door-human-v1.hdf5"))
    assert [source.read(name).length for name in source.episodes()] == [4, 5]
    assert source.read("episode_1").truncated


def test_arrays_that_are_not_one_value_a_step(tmp_path: Path) -> None:
    """Scalars among the arrays stopped a loader in the middle: D4RL, pull request 104."""
    facts: dict[str, Any] = {
        "metadata/iteration": np.int64(7),
        "metadata/policy/weights": np.zeros((3, 2)),
    }
    source = D4RLSource(d4rl(tmp_path / "door-human-v1.hdf5", **facts))
    assert source.read("episode_0").length == 4
    told = {part.name for part in source.contents()}
    assert set(facts) <= told


def test_all_steps_are_not_one_episode_without_marks(tmp_path: Path) -> None:
    """768,445 steps were added up to one return: Diffusion-QL, issue 6."""
    path = d4rl(tmp_path / "door-human-v1.hdf5", timeouts=np.zeros(9, bool))
    with pytest.raises(DataError, match=r"--max-episode-steps"):
        D4RLSource(path)
    with h5py.File(path, "a") as file:
        del file["timeouts"]
    with pytest.raises(DataError, match=r"--max-episode-steps"):
        D4RLSource(path)
    cut = D4RLSource(path, max_episode_steps=4)
    assert [cut.read(name).length for name in cut.episodes()] == [4, 4, 1]


def test_an_episode_without_its_last_observation_is_told(tmp_path: Path) -> None:
    """A few episodes of antmaze had as many observations as actions: Minari, issue 199."""
    folder = tmp_path / "door"
    (folder / "data").mkdir(parents=True)
    for file in (ADROIT / "data").iterdir():
        (folder / "data" / file.name).write_bytes(file.read_bytes())
    with h5py.File(folder / "data/main_data.hdf5", "a") as data:
        values = np.asarray(data["episode_0/observations"])
        del data["episode_0/observations"]
        data["episode_0/observations"] = values[:-1]
    source = MinariSource(folder)
    try:
        episode = source.read(source.episodes()[0])
    except DataError as error:
        assert "episode_0" in str(error) and "observations" in str(error)  # noqa: PT017, PT018
    else:
        assert episode.metadata["final_observation"] == "repeated"


def buffer(path: Path, zarr_format: Any = 2, **arrays: Any) -> Path:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    usual = {"state": np.zeros((8, 3), np.float32), "action": np.zeros((8, 2), np.float32)}
    for name, values in (usual | arrays).items():
        group.create_array(f"data/{name}", shape=values.shape, dtype=values.dtype)[...] = values
    group.create_array("meta/episode_ends", shape=(2,), dtype=np.int64)[...] = [5, 8]
    return path


def test_a_replay_buffer_of_the_newer_zarr(tmp_path: Path) -> None:
    """zarr 3 writes its own format unless told otherwise, which older readers find empty."""
    with pytest.raises(DataError, match=r"(?i)zarr.*format"):
        ReplayBufferSource(buffer(tmp_path / "new.zarr", 3), control_hz=10).episodes()


def test_pictures_whose_codec_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """'codec not available: imagecodecs_jpegxl': numcodecs, issue 547; imagecodecs, 74 and 82."""
    path = buffer(tmp_path / "umi.zarr", camera0_rgb=np.ones((8, 16, 16, 3), np.uint8))
    file = path / "data/camera0_rgb/.zarray"
    document = json.loads(file.read_text())
    document["compressor"] = {"id": "imagecodecs_jpegxl"}
    file.write_text(json.dumps(document))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    source = ReplayBufferSource(path, control_hz=10)
    with pytest.raises(SoftflowError, match=r"JPEG XL.*pip install 'softflow\[umi\]'"):
        source.read(source.episodes()[0])


def test_ends_of_episodes_beyond_the_rows(tmp_path: Path) -> None:
    """A recording that was killed has ends of episodes that were never written."""
    path = buffer(tmp_path / "cut.zarr")
    group: Any = zarr.open_group(path, mode="a", zarr_format=2)
    group["meta/episode_ends"][...] = [5, 80]
    with pytest.raises(DataError, match=r"episode_ends"):
        ReplayBufferSource(path, control_hz=10).episodes()


def test_numbers_of_another_byte_order(tmp_path: Path) -> None:
    """Files of big-endian recorders hold the same numbers."""
    path = write(tmp_path / "a.hdf5", demos=1)
    with edited(path) as data:
        actions = array(data, "demo_0/actions")
        replace(data, "demo_0/actions", actions.astype(">f8"))
    episode = RobomimicSource(path).read("demo_0")
    np.testing.assert_allclose(episode.actions, actions, atol=1e-6)
    assert episode.actions.dtype == np.float32


def test_a_file_that_robomimic_wrote_says_all_of_its_parts() -> None:
    """Observations added to a task were lost on the way: robomimic, issue 256."""
    with h5py.File(ROBOMIMIC) as file:
        names = set(file["data/demo_1/obs"])  # pyright: ignore[reportArgumentType]
    told = {part.name.partition(" ")[0] for part in RobomimicSource(ROBOMIMIC).contents()}
    assert {f"data/*/obs/{name}" for name in names} <= told
    assert STATE in RobomimicSource(ROBOMIMIC).spec.observation_shapes


def test_codecs_that_shuffle_bits_are_those_of_zarr(tmp_path: Path) -> None:
    """Blosc's bitshuffle, which Diffusion Policy writes, is read without Zarr: numbers agree."""
    path = tmp_path / "a.zarr"
    group: Any = zarr.open_group(path, mode="w", zarr_format=2)
    values = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    codec = numcodecs.Blosc("zstd", 5, numcodecs.Blosc.BITSHUFFLE)
    for name in ("state", "action"):
        made = group.create_array(
            f"data/{name}", shape=values.shape, dtype=values.dtype, compressors=codec
        )
        made[...] = values
    group.create_array("meta/episode_ends", shape=(1,), dtype=np.int64)[...] = [8]
    source = ReplayBufferSource(path, control_hz=10)
    np.testing.assert_array_equal(source.read(source.episodes()[0]).actions, values)


def test_two_rewards_a_step_are_no_choice_of_ours(tmp_path: Path) -> None:
    """The first of several columns was taken, silently."""
    path = write(tmp_path / "a.hdf5", demos=1)
    with edited(path) as data:
        replace(data, "demo_0/rewards", np.ones((6, 2)))
    with pytest.raises(DataError, match=r"demo_0/rewards has shape \(6, 2\), one value a step"):
        RobomimicSource(path).read("demo_0")
    flat = d4rl(tmp_path / "door-human-v1.hdf5", rewards=np.ones((9, 2)))
    with pytest.raises(DataError, match=r"reward has shape \(4, 2\), one value a step"):
        D4RLSource(flat).read("episode_0")


def test_two_cameras_of_one_name_are_told(tmp_path: Path) -> None:
    """The second one replaced the first, silently."""
    seen = np.ones((8, 16, 16, 3), np.uint8)
    path = buffer(tmp_path / "umi.zarr", camera0=seen, camera0_rgb=2 * seen)
    with pytest.raises(DataError, match=r"'camera0' and 'camera0_rgb' would both become"):
        ReplayBufferSource(path, control_hz=10)
    assert ReplayBufferSource(path, control_hz=10, cameras=["camera0_rgb"]).spec.image_keys
