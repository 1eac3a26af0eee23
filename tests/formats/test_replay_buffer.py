"""Replay buffers of Diffusion Policy and UMI, written by Zarr itself in format 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.contents import told_contents
from softflow.formats.recognising import advice
from softflow.formats.replay_buffer.reading import ReplayBufferSource

STATE = "observation.state"
ENDS = [5, 12]
ROWS = 12


def write(path: Path, arrays: dict[str, tuple[np.ndarray, Any]], ends: list[int] = ENDS) -> Path:
    """A group with these arrays of data, each with its compressor, in pieces of 4 rows."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for name, (values, compressor) in arrays.items():
        chunks = (1 if values.ndim == 4 else 4, *values.shape[1:])
        target = group.create_array(
            f"data/{name}",
            shape=values.shape,
            chunks=chunks,
            dtype=values.dtype,
            compressors=compressor,
            config={"write_empty_chunks": True},
        )
        target[...] = values
    stops = np.array(ends, np.int64)
    group.create_array("meta/episode_ends", shape=stops.shape, dtype=stops.dtype)[...] = stops
    return path


BLOSC = numcodecs.Blosc("zstd", 5, numcodecs.Blosc.BITSHUFFLE)


def pusht(path: Path, compressor: Any = BLOSC) -> Path:
    """Diffusion Policy's PushT: pictures are floats of 0 to 255."""
    rng = np.random.default_rng(0)
    return write(
        path,
        {
            "img": (rng.integers(0, 256, (ROWS, 16, 16, 3)).astype(np.float32), compressor),
            "state": (rng.normal(size=(ROWS, 5)).astype(np.float32), compressor),
            "action": (rng.normal(size=(ROWS, 2)).astype(np.float32), compressor),
            "keypoint": (rng.normal(size=(ROWS, 9, 2)).astype(np.float32), compressor),
            "n_contacts": (rng.integers(0, 3, (ROWS, 1)).astype(np.float32), compressor),
        },
    )


def umi(path: Path, compressor: Any = None) -> Path:
    rng = np.random.default_rng(1)
    seen = np.cumsum(rng.integers(-2, 3, (ROWS, 32, 48, 3)), 2).clip(0, 255).astype(np.uint8)
    names = {"robot0_eef_pos": 3, "robot0_eef_rot_axis_angle": 3, "robot0_gripper_width": 1}
    names |= {"robot0_demo_start_pose": 6, "robot0_demo_end_pose": 6}
    values = {k: (rng.normal(size=(ROWS, n)).astype(np.float32), BLOSC) for k, n in names.items()}
    return write(path, {"camera0_rgb": (seen, compressor), **values})


def stored(path: Path, name: str) -> np.ndarray:
    group: Any = zarr.open_group(path, mode="r", zarr_format=2)
    return np.asarray(group[f"data/{name}"][...])


CODECS = [
    None,
    BLOSC,
    numcodecs.Blosc("lz4", 5, numcodecs.Blosc.SHUFFLE),
    numcodecs.Zstd(3),
    numcodecs.GZip(3),
    numcodecs.Zlib(3),
    numcodecs.LZ4(),
]


@pytest.mark.parametrize("compressor", CODECS, ids=lambda c: "plain" if c is None else c.codec_id)
def test_every_array_comes_as_zarr_reads_it(tmp_path: Path, compressor: Any) -> None:
    path = pusht(tmp_path / "pusht.zarr", compressor)
    source = ReplayBufferSource(path, control_hz=10)
    assert source.episodes() == ["episode_0", "episode_1"]
    camera = "observation.images.img"
    assert source.spec.observation_shapes == {camera: (16, 16, 3), STATE: (6,)}
    assert source.spec.names[STATE] == ("n_contacts", *(f"state.{k}" for k in range(5)))
    episode = source.read("episode_1")
    rows = slice(5, 12)
    np.testing.assert_array_equal(episode.actions, stored(path, "action")[rows])
    np.testing.assert_array_equal(episode.observations[STATE][:-1, 1:], stored(path, "state")[rows])
    np.testing.assert_array_equal(episode.observations[camera][:-1], stored(path, "img")[rows])
    assert episode.metadata["unlabelled"]
    assert episode.metadata["final_observation"] == "repeated"


def test_umi_acts_by_where_the_hand_went(tmp_path: Path) -> None:
    path = umi(tmp_path / "dataset.zarr")
    source = ReplayBufferSource(path, control_hz=60)
    episode = source.read("episode_0")
    names = ("robot0_eef_pos", "robot0_eef_rot_axis_angle", "robot0_gripper_width")
    poses = np.concatenate([stored(path, name)[:5] for name in names], 1)
    np.testing.assert_array_equal(episode.observations[STATE], poses)
    np.testing.assert_array_equal(episode.actions, poses[1:])
    camera = episode.observations["observation.images.camera0"]
    np.testing.assert_array_equal(camera, stored(path, "camera0_rgb")[:5])
    assert "final_observation" not in episode.metadata
    told = "\n".join(told_contents(source))
    assert "observation.state[0:3], the next row's action[0:3]" in told
    left = told.partition("not taken:")[2]
    assert "robot0_demo_end_pose [6] float32" in left


def test_umis_pictures_are_jpeg_xl(tmp_path: Path) -> None:
    """ "codec not available: 'imagecodecs_jpegxl'": numcodecs, issue 547."""
    imagecodecs = pytest.importorskip("imagecodecs.numcodecs")
    imagecodecs.register_codecs(verbose=False)
    path = umi(tmp_path / "dataset.zarr", imagecodecs.Jpegxl(level=99, numthreads=1))
    archive = shutil.make_archive(str(tmp_path / "dataset.zarr"), "zip", path)
    source = ReplayBufferSource(Path(archive), control_hz=60, image_size=(16, 24))
    assert source.read("episode_1").observations["observation.images.camera0"].shape[1:3] == (
        16,
        24,
    )
    whole = ReplayBufferSource(Path(archive), control_hz=60).read("episode_1")
    frames = whole.observations["observation.images.camera0"]
    np.testing.assert_array_equal(frames, stored(path, "camera0_rgb")[5:])
    file = path / "data/camera0_rgb/7.0.0.0"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=r"camera0_rgb/7\.0\.0\.0: .*damaged"):
        ReplayBufferSource(path, control_hz=60).read("episode_1")


def test_nothing_in_the_buffer_is_unmentioned(tmp_path: Path) -> None:
    path = pusht(tmp_path / "pusht.zarr")
    group = zarr.open_group(path, zarr_format=2)
    group.create_array("meta/episode_lengths", shape=(2,), dtype="i8")[...] = [5, 7]
    told = "\n".join(told_contents(ReplayBufferSource(path, control_hz=10)))
    for file in path.rglob(".zarray"):
        assert f"  {file.parent.relative_to(path)}" in told
    assert "data/keypoint [9, 2] float32  more than a vector a row" in told


def test_choices(tmp_path: Path) -> None:
    path = pusht(tmp_path / "pusht.zarr")
    source = ReplayBufferSource(
        path, control_hz=10, state_keys=["keypoint"], cameras=[], action_key=["state", "action"]
    )
    assert source.spec.observation_shapes == {STATE: (18,)}
    assert source.spec.action_dim == 7
    with pytest.raises(DataError, match="no array 'wrist'"):
        ReplayBufferSource(path, control_hz=10, cameras=["wrist"])
    with pytest.raises(DataError, match="--control-hz"):
        ReplayBufferSource(path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("codec", r"is stored with pickle.*write it anew"),
        ("filters", "has filters"),
        ("object", r"has numbers of kind \|O"),
        ("cut piece", r"state/1\.0: .*damaged"),
        ("ends", r"episode_ends is \[5, 40\] .* but .* has 12 rows"),
        ("huge", "declares .* bytes for one episode"),
        ("no action", r"--action-key NAME"),
    ],
)
def test_what_is_no_such_buffer(tmp_path: Path, damage: str, told: str) -> None:
    path = pusht(tmp_path / "pusht.zarr")
    file = path / "data/state/.zarray"
    said = json.loads(file.read_text())
    if damage == "codec":
        said["compressor"] = {"id": "pickle", "protocol": 5}
    elif damage == "filters":
        said["filters"] = [{"id": "pickle"}]
    elif damage == "object":
        said["dtype"] = "|O"
    elif damage == "cut piece":
        piece = path / "data/state/1.0"
        piece.write_bytes(piece.read_bytes()[:-3])
    elif damage == "huge":
        said["shape"] = [12, 10**12]
        said["chunks"] = [1, 10**6]
    elif damage == "no action":
        shutil.rmtree(path / "data/action")
    elif damage == "ends":
        group: Any = zarr.open_group(path, zarr_format=2)
        group["meta/episode_ends"][...] = [5, 40]
    file.write_text(json.dumps(said))

    def read() -> None:
        source = ReplayBufferSource(path, control_hz=10)
        for name in source.episodes():
            source.read(name)

    with pytest.raises(DataError, match=told):
        read()


def test_pieces_that_were_never_written_are_told(tmp_path: Path) -> None:
    path = pusht(tmp_path / "pusht.zarr")
    (path / "data/state/1.0").unlink()
    source = ReplayBufferSource(path, control_hz=10)
    episode = source.read("episode_1")
    assert (episode.observations[STATE][:3, 1:] == 0).all()
    assert any("state: 1 piece(s) of rows 5 to 11" in line for line in source.notes.drained())


def test_two_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "set").mkdir()
    pusht(tmp_path / "set/pusht.zarr")
    store = tmp_path / "store"
    assert "data import umi" in advice(tmp_path / "set", "lerobot")
    words = ["data", "import", "umi", str(tmp_path / "set"), "--control-hz", "10"]
    assert main([*words, "--check"]) == 0
    assert main([*words, "--out", str(store), "--unlabelled", "success"]) == 0
    assert "not taken:" in capsys.readouterr().out
    assert [s.success for s in EpisodeStore.open(store).summaries()] == [True, True]


def test_links_that_lead_out(tmp_path: Path) -> None:
    path = pusht(tmp_path / "inside/pusht.zarr")
    (path / "data/state").rename(tmp_path / "state")
    (path / "data/state").symlink_to(tmp_path / "state")
    with pytest.raises(DataError, match="data/state is a link, which is not followed"):
        ReplayBufferSource(path, control_hz=10, state_keys=["state"])
