"""HDF5 files of strangers, damaged: RoboMimic, Minari and D4RL."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from strange_hdf5 import ALL_PLACES, KINDS, STEPS, changed, read_all, refused, write_minari, written
from strangers import OTHER_FORMATS, Outside, damaged, outcome

from softflow.errors import DataError, SoftflowError
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.utils.files import inside


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_damaged_files(tmp_path: Path, outside: Outside, kind: str) -> None:
    path = written(tmp_path, kind)
    original, told = path.read_bytes(), 0
    for how, content in damaged(original, cuts=6, flips=16):
        path.write_bytes(content)
        with outside.watched():
            message = outcome(lambda: read_all(path, kind))
        told += bool(message)
        assert not message or str(path) in message, how
    assert told > 10


@pytest.mark.slow
def test_many_flipped_bytes(tmp_path: Path, outside: Outside, kind: str) -> None:
    path = written(tmp_path, kind)
    for _, content in damaged(path.read_bytes(), cuts=20, flips=120):
        path.write_bytes(content)
        with outside.watched():
            outcome(lambda: read_all(path, kind))


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_other_formats_under_that_name(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / "a.hdf5"
    path.write_bytes(OTHER_FORMATS[name])
    told = "git lfs pull" if "lfs" in name else "no HDF5 file"
    assert told in outcome(lambda: read_all(path, kind))


@pytest.mark.parametrize(("kind", "place"), ALL_PLACES)
def test_something_else_in_every_place(tmp_path: Path, kind: str, place: str) -> None:
    """Missing, a group, a scalar, text, nothing, a type by name, three axes, no rows, compound."""
    things: dict[str, Callable[[Any], object]] = {
        "missing": lambda file: None,
        "group": lambda file: file.create_group(place),
        "scalar": lambda file: file.create_dataset(place, data=1.0),
        "text": lambda file: file.create_dataset(place, data="text"),
        "texts": lambda file: file.create_dataset(place, data=["a"] * STEPS),
        "empty": lambda file: file.create_dataset(place, data=h5py.Empty("f4")),
        "type": lambda file: file.__setitem__(place, np.dtype("f4")),
        "cube": lambda file: file.create_dataset(place, data=np.zeros((STEPS, 2, 2))),
        "no rows": lambda file: file.create_dataset(place, data=np.zeros((0, 2))),
        "no columns": lambda file: file.create_dataset(place, (STEPS, 0), np.float64),
        "compound": lambda file: file.create_dataset(place, data=np.zeros(STEPS, "i4,f4")),
        "complex": lambda file: file.create_dataset(place, data=np.zeros((STEPS, 2), complex)),
        "ragged": lambda file: file.create_dataset(place, (STEPS,), h5py.vlen_dtype(np.float32)),
        "enum": lambda file: file.create_dataset(
            place, (STEPS,), h5py.enum_dtype({"A": 0}, np.uint8)
        ),
    }
    for thing in things.values():
        path = written(tmp_path, kind)

        def change(file: Any, thing: Callable[[Any], object] = thing) -> None:
            del file[place]
            thing(file)

        changed(path, change)
        outcome(lambda path=path: read_all(path, kind))
        path.unlink()


ATTRIBUTES = [
    *(None, "", "{", "[]", '"text"', "null", "{}", '{"env_kwargs": 5}', "\udc80", "\x1b[31m"),
    *('{"type": [], "env_name": {}}', '{"env_kwargs": {"control_freq": 1e999}}', 5, -1, 2.5),
    *('{"env_kwargs": {"control_freq": -5}}', '{"a":' * 10_000, [1, 2], np.zeros((2, 2))),
]


@pytest.mark.parametrize("name", ["env_args", "env_info", "env", "softflow", "total"])
@pytest.mark.parametrize("value", ATTRIBUTES, ids=lambda value: f"{value!r:.30}")
def test_attributes_of_another_type(tmp_path: Path, name: str, value: Any) -> None:
    path = written(tmp_path, "robomimic")

    def change(file: Any) -> None:
        data = file["data"]
        if name == "env_info":
            del data.attrs["env_args"]
        texts = isinstance(value, str)
        stored = value.encode(errors="surrogateescape") if texts else value
        if value is None:
            data.attrs[name] = h5py.Empty("f4")
        else:
            data.attrs[name] = stored

    changed(path, change)
    outcome(lambda: [RobomimicSource(path).read(name) for name in ("demo_0", "demo_1")])


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"terminated": 1, "truncated": 0, "success": 0, "metadata": {}},
        {"terminated": True, "truncated": False, "success": True, "metadata": []},
        {"terminated": True, "truncated": False, "success": True, "metadata": {"robomimic": 5}},
        {"terminated": True, "truncated": False, "success": "yes", "metadata": {}},
    ],
)
def test_what_an_export_said_of_a_demonstration(tmp_path: Path, said: object) -> None:
    path = written(tmp_path, "robomimic")
    changed(path, lambda f: f["data/demo_0"].attrs.__setitem__("softflow", json.dumps(said)))
    with pytest.raises(DataError, match="attribute 'softflow'"):
        read_all(path, "robomimic")


@pytest.mark.parametrize(
    "said",
    [
        {"version": 1},
        {"version": 1, "spec": {}, "parts": {}, "added": []},
        {"version": 1, "spec": [], "parts": {}, "added": []},
        {"version": 1, "spec": {}, "parts": [], "added": []},
        {"version": "1" * 500, "spec": {}, "parts": {}, "added": []},
        {
            "version": 1,
            "spec": {
                "observation_shapes": {"observation.state": [3]},
                "action_dim": 2,
                "action_low": [-1, -1],
                "action_high": [1, 1],
                "control_hz": 20,
                "env_id": "",
                "names": {},
            },
            "parts": {"observation.other": ["eef_pos"]},
            "added": [],
        },
    ],
)
def test_what_an_export_said_of_itself(tmp_path: Path, said: object) -> None:
    path = written(tmp_path, "robomimic")
    changed(path, lambda file: file["data"].attrs.__setitem__("softflow", json.dumps(said)))
    assert outcome(lambda: read_all(path, "robomimic"))


METADATA = [
    *("", "{", "[]", "5", "null", '{"env_spec": 5}', '{"env_spec": "{"}', '{"data_format": []}'),
    *('{"action_space": "{\\"type\\": \\"Box\\"}"}', '{"action_space": {}}', '{"a":' * 100_000),
    '{"action_space": "{\\"type\\": \\"Box\\", \\"low\\": [\\"a\\"], \\"high\\": [1]}"}',
    '{"action_space": "{\\"type\\": \\"Box\\", \\"low\\": [1, [2]], \\"high\\": [1]}"}',
    '{"action_space": "{\\"type\\": \\"Box\\", \\"low\\": [-1], \\"high\\": [1]}"}',
    '{"env_spec": "' + '{\\"a\\":' * 50_000 + '"}',
]


@pytest.mark.parametrize("text", METADATA, ids=lambda text: f"{text:.30}")
def test_minari_metadata(tmp_path: Path, text: str) -> None:
    (tmp_path / "data").mkdir()
    write_minari(tmp_path / "data" / "main_data.hdf5")
    for content in (text.encode(), text.encode("utf-16"), b"\xff\xfe\xfd" + text.encode()):
        (tmp_path / "data" / "metadata.json").write_bytes(content)
        message = outcome(lambda: read_all(tmp_path, "minari"))
        assert not message or str(tmp_path) in message


def test_minari_folders_that_lead_out(tmp_path: Path, outside: Outside) -> None:
    write_minari(outside.folder / "main_data.hdf5")
    (outside.folder / "metadata.json").write_text("{}")
    folder = tmp_path / "dataset"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "main_data.hdf5").symlink_to(outside.folder / "main_data.hdf5")
    assert "outside of itself" in refused(folder, "minari", outside)
    (folder / "data" / "main_data.hdf5").unlink()
    write_minari(folder / "data" / "main_data.hdf5")
    (folder / "data" / "metadata.json").symlink_to(outside.folder / "metadata.json")
    assert "outside of itself" in refused(folder, "minari", outside)


@pytest.mark.parametrize(
    "name",
    ["../outside/x", "/etc/passwd", "a/../../outside/x", "link/x", "loop", "a\0b"],
)
def test_paths_that_lead_out(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "loop").symlink_to("loop")
    with pytest.raises(SoftflowError, match=r"names a file"):
        inside(folder, name)


def test_paths_that_stay_inside(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "1a2b"
    for folder in (blobs, snapshot / "data"):
        folder.mkdir(parents=True)
    (blobs / "abc").touch()
    (snapshot / "data" / "file.parquet").symlink_to("../../../blobs/abc")
    (snapshot / "again").symlink_to("data")
    for name in ("data/file.parquet", "not/there", "again/file.parquet", "data/../data", ""):
        assert inside(snapshot, name) == snapshot / name
    with pytest.raises(DataError, match="outside of itself"):
        inside(snapshot, "../../refs/main")
