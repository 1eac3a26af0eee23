"""ACT's and ALOHA's files, written as their recorders write them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from array_names import hdf5_arrays
from PIL import Image

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.act.reading import ActSource
from softflow.formats.contents import told_contents
from softflow.formats.recognising import advice

STATE = "observation.state"
HIGH, WRIST = "observation.images.cam_high", "observation.images.cam_left_wrist"
STEPS = 6


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="jpeg", quality=95)
    return file.getvalue()


def write(folder: Path, episodes: int = 3, encoded: bool = False) -> Path:
    """Three files, one of them number 10; a frame of one colour tells the step."""
    folder.mkdir()
    for number in [*range(episodes - 1), 10]:
        rng = np.random.default_rng(number)
        with h5py.File(folder / f"episode_{number}.hdf5", "w") as file:
            file.attrs["sim"] = np.bool_(False)
            file["observations/qpos"] = rng.normal(size=(STEPS, 3))
            file["observations/qvel"] = rng.normal(size=(STEPS, 3))
            file["observations/effort"] = rng.normal(size=(STEPS, 2))
            file["action"] = rng.normal(size=(STEPS, 3))
            file["base_action"] = rng.normal(size=(STEPS, 2))
            frames = np.zeros((STEPS, 48, 64, 3), np.uint8)
            frames[...] = np.arange(STEPS)[:, None, None, None] * 20 + np.array([100, 50, 10])
            for camera in ("cam_high", "cam_left_wrist"):
                if not encoded:
                    file[f"observations/images/{camera}"] = frames
                    continue
                pictures = [jpeg(frame) for frame in frames]
                longest = max(map(len, pictures))
                padded = np.zeros((STEPS, longest), np.uint8)
                for row, picture in zip(padded, pictures, strict=True):
                    row[: len(picture)] = np.frombuffer(picture, np.uint8)
                file[f"observations/images/{camera}"] = padded
            if encoded:
                file.attrs["compress"] = np.bool_(True)
                file["compress_len"] = np.full((2, STEPS), longest, np.float64)
    return folder


def test_a_folder_of_episodes(tmp_path: Path) -> None:
    source = ActSource(write(tmp_path / "task"), control_hz=50)
    assert source.episodes() == ["episode_0", "episode_1", "episode_10"]
    assert source.spec.observation_shapes == {HIGH: (48, 64, 3), WRIST: (48, 64, 3), STATE: (8,)}
    assert source.spec.names[STATE][:4] == ("qpos.0", "qpos.1", "qpos.2", "qvel.0")
    episode = source.read("episode_10")
    with h5py.File(tmp_path / "task/episode_10.hdf5") as file:
        for name, where in (("qpos", slice(0, 3)), ("effort", slice(6, 8))):
            stored: Any = file[f"observations/{name}"]
            found = episode.observations[STATE][:-1, where]
            np.testing.assert_array_equal(found, stored[:].astype(np.float32))
        acted: Any = file["action"]
        np.testing.assert_array_equal(episode.actions, acted[:].astype(np.float32))
        seen: Any = file["observations/images/cam_high"]
        np.testing.assert_array_equal(episode.observations[HIGH][:-1], seen[:])
    assert episode.metadata["unlabelled"]
    assert episode.metadata["act"] == {"sim": False}


def test_encoded_pictures_and_their_colours(tmp_path: Path) -> None:
    """Mobile ALOHA's own files: "the images are not three dimensional" (issue 10)."""
    folder = write(tmp_path / "task", encoded=True)
    source = ActSource(folder, control_hz=50, cameras=["cam_high"])
    frames = source.read("episode_0").observations[HIGH].astype(int)
    expected = np.arange(STEPS)[:, None] * 20 + np.array([100, 50, 10])
    assert np.abs(frames[:-1, 20, 20] - expected).max() < 6
    assert "exchange red and blue" in source.notes.drained()[0]
    swapped = ActSource(folder, control_hz=50, swap_red_blue=True)
    assert np.abs(swapped.read("episode_0").observations[HIGH] - frames[..., ::-1]).max() == 0
    assert not swapped.notes.drained()
    small = ActSource(folder, control_hz=50, image_size=(24, 32)).read("episode_1")
    assert small.observations[HIGH].shape == (7, 24, 32, 3)


def test_the_rate_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--control-hz.*ALOHA records 50"):
        ActSource(write(tmp_path / "task"))


def test_choices(tmp_path: Path) -> None:
    folder = write(tmp_path / "task")
    source = ActSource(
        folder,
        control_hz=50,
        state_keys=["qpos"],
        cameras=[],
        action_key=["action", "base_action"],
    )
    assert source.spec.observation_shapes == {STATE: (3,)}
    assert source.spec.action_dim == 5
    with pytest.raises(DataError, match=r"no camera 'front'; it has \['cam_high', 'cam_left"):
        ActSource(folder, control_hz=50, cameras=["front"])
    with pytest.raises(DataError, match="no observation 'gripper'"):
        ActSource(folder, control_hz=50, state_keys=["gripper"])


def test_nothing_in_the_files_is_unmentioned(tmp_path: Path) -> None:
    folder = write(tmp_path / "task", encoded=True)
    with h5py.File(folder / "episode_1.hdf5", "a") as file:
        file["observations/images_depth/cam_high"] = np.zeros((STEPS, 48, 64), np.uint16)
        file["language"] = "push the cube"
    told = "\n".join(told_contents(ActSource(folder, control_hz=50)))
    for path in folder.iterdir():
        for name in hdf5_arrays(path):
            assert f"  {name} " in told, name
    assert "images_depth/cam_high (in 1 of 3 episodes) [48, 64] uint16" in told


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("short", r"arrays of different lengths .*'observations/qpos' 4"),
        ("camera", r"no pictures 'observations/images/cam_high'"),
        ("nan", r"observation.state.* at step 2, component 1 is nan"),
        ("picture", r"step 3: .* bytes that are no PNG, JPEG"),
    ],
)
def test_damaged_episodes_are_named(tmp_path: Path, damage: str, told: str) -> None:
    folder = write(tmp_path / "task", encoded=True)
    with h5py.File(folder / "episode_1.hdf5", "a") as file:
        values: Any = file["observations/qpos"]
        if damage == "short":
            kept = values[:4]
            del file["observations/qpos"]
            file["observations/qpos"] = kept
        elif damage == "camera":
            del file["observations/images/cam_high"]
        elif damage == "nan":
            values[2, 1] = np.nan
        else:
            pictures: Any = file["observations/images/cam_high"]
            pictures[3, 4:] = 0
    source = ActSource(folder, control_hz=50)
    with pytest.raises(DataError, match=told) as caught:
        source.read("episode_1")
    assert "episode_1.hdf5" in str(caught.value)
    assert source.read("episode_0").length == STEPS


def test_two_commands_and_a_choice_of_episodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, store = write(tmp_path / "task"), tmp_path / "store"
    assert "data import act" in advice(folder, "robomimic")
    assert "data import act" in advice(folder / "episode_0.hdf5", "d4rl")
    words = ["data", "import", "act", str(folder), "--control-hz", "50", "--image-size", "24", "32"]
    assert main([*words, "--episodes", "0-1", "--out", str(store)]) == 0
    shown = capsys.readouterr().out
    assert "not taken:" in shown
    assert "base_action [2] float64" in shown
    opened = EpisodeStore.open(store)
    assert [s.metadata["source"][-6:] for s in opened.summaries()] == ["0.hdf5", "1.hdf5"]
    assert opened.spec.observation_shapes[HIGH] == (24, 32, 3)
    assert main([*words, "--episodes", "2-", "--out", str(store)]) == 0
    assert len(EpisodeStore.open(store)) == 3
    for wrong in ("3", "1-0", "x"):
        assert main([*words, "--episodes", wrong, "--out", str(store)]) == 2
        assert "--episodes" in capsys.readouterr().err


def test_hidden_files_of_macos_are_no_episodes(tmp_path: Path) -> None:
    """ "Error loading episode_10.hdf5": act-plus-plus, issue 45."""
    folder = write(tmp_path / "task")
    for name in (".episode_3.hdf5", "._episode_0.hdf5"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07Mac OS X")
    assert len(ActSource(folder, control_hz=50).episodes()) == 3
    assert "data import act" in advice(folder, "robomimic")
