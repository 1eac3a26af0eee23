"""HDF5 files of strangers: RoboMimic, Minari and D4RL, damaged or made to reach out of the file."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t  # pyright: ignore[reportAttributeAccessIssue]
from strangers import OTHER_FORMATS, Bomb, Outside, damaged, deflate_bomb, outcome

from softflow.data.limits import EPISODE_LIMIT_VARIABLE, GIB
from softflow.errors import DataError, SoftflowError
from softflow.formats.d4rl import D4RLSource
from softflow.formats.minari.reading import MinariSource
from softflow.formats.recognising import advice
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.formats.robomimic.record import PACKED, unpacked
from softflow.utils.files import inside

STEPS = 6
RNG = np.random.default_rng(0)


def write_robomimic(path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "type": 1, "env_kwargs": {}})
        for name in ("demo_0", "demo_1"):
            demo = data.create_group(name)
            demo.attrs["num_samples"] = STEPS
            demo["actions"] = RNG.uniform(-1, 1, (STEPS, 2))
            demo["rewards"] = np.zeros(STEPS)
            demo["dones"] = np.zeros(STEPS, np.int64)
            demo["obs/eef_pos"] = RNG.normal(size=(STEPS, 3))
            frames = RNG.integers(0, 255, (STEPS, 8, 8, 3)).astype(np.uint8)
            demo.create_dataset("obs/front_image", data=frames, compression="gzip")
        file["mask/train"] = np.array([b"demo_0", b"demo_1"])


def write_minari(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for name in ("episode_0", "episode_1"):
            group = file.create_group(name)
            group.attrs["seed"] = 3
            group["actions"] = RNG.uniform(-1, 1, (STEPS, 2))
            group["rewards"] = np.zeros(STEPS)
            group["terminations"] = np.zeros(STEPS, bool)
            group["truncations"] = np.arange(STEPS) == STEPS - 1
            group["observations/joints"] = RNG.normal(size=(STEPS + 1, 3))
            frames = RNG.integers(0, 255, (STEPS + 1, 32, 32, 3)).astype(np.uint8)
            group.create_dataset("observations/camera", data=frames, compression="gzip")
            group["infos/success"] = np.zeros(STEPS, bool)


def write_d4rl(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["observations"] = RNG.normal(size=(2 * STEPS, 3))
        actions = RNG.uniform(-1, 1, (2 * STEPS, 2))
        file.create_dataset("actions", data=actions, compression="gzip", shuffle=True)
        file["rewards"] = np.zeros(2 * STEPS)
        file["terminals"] = np.arange(2 * STEPS) == STEPS - 1
        file["timeouts"] = np.arange(2 * STEPS) == 2 * STEPS - 1
        file["infos/qpos"] = RNG.normal(size=(2 * STEPS, 4))
        file["infos/goal_achieved"] = np.zeros(2 * STEPS, bool)


Kind = tuple[Callable[[Path], None], Callable[[Path], Any], str, str, list[str]]
KINDS: dict[str, Kind] = {
    # how it is written and opened; an array, a group, and everything else that is read
    "robomimic": (
        write_robomimic,
        lambda path: RobomimicSource(path, control_hz=20),
        "data/demo_0/actions",
        "data/demo_0/obs",
        [f"data/demo_0/{key}" for key in ("rewards", "dones", "obs/eef_pos", "obs/front_image")]
        + ["mask/train", "data/demo_0", "mask", "data"],
    ),
    "minari": (
        write_minari,
        lambda path: MinariSource(path, control_hz=20),
        "episode_0/actions",
        "episode_0/observations",
        [f"episode_0/{key}" for key in ("rewards", "terminations", "infos/success", "infos")]
        + ["episode_0/observations/joints", "episode_0/observations/camera", "episode_0"],
    ),
    "d4rl": (
        write_d4rl,
        lambda path: D4RLSource(path, control_hz=20),
        "actions",
        "infos",
        ["observations", "rewards", "terminals", "timeouts", "infos/qpos", "infos/goal_achieved"],
    ),
}
ALL_PLACES = [
    (kind, place)
    for kind, (*_, array, group, more) in KINDS.items()
    for place in (array, group, *more)
]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


def written(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.hdf5"
    KINDS[kind][0](path)
    return path


def read_all(path: Path, kind: str) -> list[Any]:
    """Every episode, and what a wrong importer would advise."""
    advice(path, "lerobot")
    source = KINDS[kind][1](path)
    return [source.read(name) for name in source.episodes()]


def changed(path: Path, change: Callable[[Any], object]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def refused(path: Path, kind: str, outside: Outside) -> str:
    with outside.watched():
        message = outcome(lambda: read_all(path, kind))
    assert str(path) in message
    return message


def test_healthy_files_are_read(tmp_path: Path, outside: Outside, kind: str) -> None:
    with outside.watched():
        assert [episode.length for episode in read_all(written(tmp_path, kind), kind)] == [6, 6]


# ---- nothing outside the file ------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "place"), ALL_PLACES)
def test_links_to_another_file(tmp_path: Path, outside: Outside, kind: str, place: str) -> None:
    other = written(outside.folder, kind)
    path = written(tmp_path, kind)

    def change(file: Any) -> None:
        del file[place]
        file[place] = h5py.ExternalLink(str(other), f"/{place}")

    assert "to another file" in refused(changed(path, change), kind, outside)


@pytest.mark.parametrize(("kind", "place"), ALL_PLACES)
def test_soft_links_in_the_file_are_followed_and_those_out_of_it_or_in_a_circle_are_not(
    tmp_path: Path, outside: Outside, kind: str, place: str
) -> None:
    other = written(outside.folder, kind)

    def moved(file: Any, target: Callable[[Any], str]) -> None:
        file.move(place, "elsewhere")
        file[place] = h5py.SoftLink(target(file))

    def by_another_file(file: Any) -> str:
        file["door"] = h5py.ExternalLink(str(other), "/")
        return f"/door/{place}"

    path = written(tmp_path, kind)
    expected = read_all(path, kind)
    changed(path, lambda file: moved(file, lambda _: "/elsewhere"))
    with outside.watched():
        for found, episode in zip(read_all(path, kind), expected, strict=True):
            np.testing.assert_array_equal(found.actions, episode.actions)
    path = changed(written(tmp_path, kind), lambda file: moved(file, by_another_file))
    assert "to another file" in refused(path, kind, outside)
    path = changed(written(tmp_path, kind), lambda file: moved(file, lambda _: f"/{place}"))
    assert "in a circle" in refused(path, kind, outside)


def external(file: Any, place: str, raw: Path) -> None:
    shape, dtype = file[place].shape, file[place].dtype
    del file[place]
    size = int(np.prod(shape)) * dtype.itemsize
    file.create_dataset(place, shape, dtype, external=[(str(raw), 0, size)])


def virtual(file: Any, place: str, source: Path) -> None:
    shape, dtype = file[place].shape, file[place].dtype
    del file[place]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(source, f"/{place}", shape)
    file.create_virtual_dataset(place, layout)


def virtual_of_any_length(file: Any, place: str, source: Path) -> None:
    """HDF5 opens the sources of such an array when only its shape is asked for."""
    dtype = file[place].dtype
    del file[place]
    space = h5s.create_simple((0,), (h5s.UNLIMITED,))
    settings = h5p.create(h5p.DATASET_CREATE)
    space.select_hyperslab((0,), (h5s.UNLIMITED,), (1,), (1,))
    settings.set_virtual(space, bytes(source), place.encode(), space)
    h5d.create(file.id, place.encode(), h5t.py_create(dtype), space, settings)


@pytest.mark.parametrize("how", [external, virtual, virtual_of_any_length])
@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (kind, place)
        for kind, place in ALL_PLACES
        if place.split("/")[-1]
        not in ("data", "mask", "demo_0", "obs", "episode_0", "observations", "infos")
        or (kind, place) == ("d4rl", "observations")
    ],
)
def test_arrays_in_other_files(
    tmp_path: Path, outside: Outside, kind: str, place: str, how: Callable[..., None]
) -> None:
    source = outside.secret if how is external else written(outside.folder, kind)
    path = changed(written(tmp_path, kind), lambda file: how(file, place, source))
    assert "lies in other files" in refused(path, kind, outside).replace("lies", "lies")


def test_links_of_a_kind_nobody_registered(tmp_path: Path, outside: Outside, kind: str) -> None:
    """An external link whose type (64) becomes one that a library would have to register."""
    place = KINDS[kind][2]
    path = written(tmp_path, kind)

    def change(file: Any) -> None:
        del file[place]
        file[place] = h5py.ExternalLink("another_file", "/")

    content = bytearray(changed(path, change).read_bytes())
    name = place.rpartition("/")[2].encode()
    at = content.index(name + b"\x10\x00\x00another_file") - 2
    assert content[at] == 64
    content[at] = 200
    path.write_bytes(content)
    assert "softflow does not follow" in refused(path, kind, outside)


def test_references_lead_nowhere(tmp_path: Path, outside: Outside) -> None:
    """In arrays, attributes and masks they are values, of the wrong kind."""
    path = written(tmp_path, "robomimic")

    def change(file: Any) -> None:
        reference = file["data/demo_1"].ref
        file["data"].attrs["model"] = reference
        file["data/demo_0"].attrs["many"] = np.array([reference] * 3, h5py.ref_dtype)
        del file["mask/train"]
        file.create_dataset("mask/train", data=np.array([reference], h5py.ref_dtype))
        file.create_dataset("mask/numbers", data=np.arange(3))

    with outside.watched():
        assert len(read_all(changed(path, change), "robomimic")) == 2
    changed(path, lambda file: file.__delitem__("data/demo_0/rewards"))
    changed(
        path,
        lambda file: file.create_dataset(
            "data/demo_0/rewards", data=np.array([file["data"].ref] * STEPS, h5py.ref_dtype)
        ),
    )
    assert "not numbers over time" in refused(path, "robomimic", outside)


def test_a_group_that_holds_itself(tmp_path: Path, outside: Outside) -> None:
    path = written(tmp_path, "minari")

    def change(file: Any) -> None:
        for number in range(10):
            file[f"episode_0/observations/again_{number}"] = file["episode_0/observations"]

    assert "holds more than 1000" in refused(changed(path, change), "minari", outside)


# ---- no foreign code ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [32001, 32015, 307, 4, 6, 5, 65535])
def test_filters_are_not_loaded(
    tmp_path: Path, outside: Outside, kind: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(outside.folder))
    place = KINDS[kind][2]
    path = written(tmp_path, kind)

    def change(file: Any) -> None:
        shape, dtype = file[place].shape, file[place].dtype
        del file[place]
        settings = h5p.create(h5p.DATASET_CREATE)
        settings.set_chunk(shape)
        settings.set_deflate(1)
        space = h5s.create_simple(shape)
        made = h5d.create(file.id, place.encode(), h5t.py_create(dtype), space, settings)
        made.write_direct_chunk((0, 0), zlib.compress(bytes(shape[0] * shape[1] * 8)))

    changed(path, change)
    content = bytearray(path.read_bytes())
    # The filter's number in the pipeline message, version 1: gzip is 1, its name "deflate".
    at = content.rindex(b"deflate\0") - 8
    assert content[at : at + 2] == b"\x01\x00"
    content[at : at + 2] = number.to_bytes(2, "little")
    path.write_bytes(content)
    assert f"filter {number}" in refused(path, kind, outside)


def test_compressors_one_upon_the_other(tmp_path: Path, outside: Outside, kind: str) -> None:
    place = KINDS[kind][2]

    def change(file: Any) -> None:
        shape, dtype = file[place].shape, file[place].dtype
        del file[place]
        settings = h5p.create(h5p.DATASET_CREATE)
        settings.set_chunk(shape)
        settings.set_deflate(1)
        settings.set_deflate(1)
        space = h5s.create_simple(shape)
        h5d.create(file.id, place.encode(), h5t.py_create(dtype), space, settings)

    path = changed(written(tmp_path, kind), change)
    assert "the filters [1, 1]" in refused(path, kind, outside)


def test_objects_in_attributes_are_text(tmp_path: Path, outside: Outside) -> None:
    import pickle

    path = written(tmp_path, "robomimic")
    bomb = np.void(pickle.dumps(Bomb(outside.mark)))

    def change(file: Any) -> None:
        file["data"].attrs["model"] = bomb
        file["data/demo_0"].attrs["state"] = bomb

    with outside.watched():
        read_all(changed(path, change), "robomimic")


# ---- no more memory than was declared and checked ------------------------------------------------


@pytest.mark.parametrize("chunked", [True, False])
def test_arrays_that_were_never_written(
    tmp_path: Path, outside: Outside, kind: str, chunked: bool
) -> None:
    place = KINDS[kind][2]

    def change(file: Any) -> None:
        del file[place]
        options = {"chunks": (1000, 2), "compression": "gzip"} if chunked else {}
        file.create_dataset(place, (10**9, 2), np.float64, **options)

    message = refused(changed(written(tmp_path, kind), change), kind, outside)
    assert re.search("not all of it was written|at most|different lengths", message)


@pytest.mark.parametrize("chunked", [True, False])
def test_cameras_that_were_never_written(tmp_path: Path, outside: Outside, chunked: bool) -> None:
    for kind, place in (
        ("robomimic", "data/demo_0/obs/front_image"),
        ("minari", "episode_0/observations/camera"),
    ):

        def change(file: Any, place: str = place) -> None:
            steps = file[place].shape[0]
            del file[place]
            chunks = (1, 4000, 4000, 3) if chunked else None
            file.create_dataset(place, (steps, 4000, 4000, 3), np.uint8, chunks=chunks)

        message = refused(changed(written(tmp_path, kind), change), kind, outside)
        assert "not all of it was written" in message


def test_a_chunk_that_decodes_to_more_than_it_declares(
    tmp_path: Path, outside: Outside, kind: str
) -> None:
    """HDF5 alone would inflate all of it: 1 MB to 1 GB."""
    place = KINDS[kind][2]
    bomb = deflate_bomb(GIB)
    assert len(bomb) < 1_200_000

    def change(file: Any) -> None:
        shape = file[place].shape
        del file[place]
        array = file.create_dataset(place, shape, np.float64, chunks=shape, compression="gzip")
        array.id.write_direct_chunk((0, 0), bomb)

    message = refused(changed(written(tmp_path, kind), change), kind, outside)
    assert "decodes to more than the" in message


def test_chunks_larger_than_are_read(tmp_path: Path, outside: Outside, kind: str) -> None:
    place = KINDS[kind][2]

    def change(file: Any) -> None:
        shape, dtype = file[place].shape, file[place].dtype
        del file[place]
        file.create_dataset(
            place, shape, dtype, maxshape=(None, 2), chunks=(2**27, 2), compression="gzip"
        )

    message = refused(changed(written(tmp_path, kind), change), kind, outside)
    assert "declares chunks of 2,147,483,648 bytes" in message


def test_an_episode_is_held_against_one_limit(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, kind)
    monkeypatch.setenv(EPISODE_LIMIT_VARIABLE, str(300 / GIB))
    with pytest.raises(DataError, match=r"at most 300 are read.*SOFTFLOW_MAX_EPISODE_GIB"):
        read_all(path, kind)
    monkeypatch.setenv(EPISODE_LIMIT_VARIABLE, str(50_000 / GIB))
    read_all(path, kind)


def test_attributes_and_masks_of_any_size(tmp_path: Path, outside: Outside) -> None:
    path = written(tmp_path, "robomimic")

    def many_texts(file: Any) -> None:
        texts = np.array(["x" * 1000] * 1000, h5py.string_dtype())
        file["data"].attrs.create("texts", texts, dtype=h5py.string_dtype())

    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_group("data")
        data.attrs.create("much", np.zeros(9 * 2**20))
    assert "attribute 'much' declares 75,497,472" in refused(path, "robomimic", outside)
    path.unlink()
    path = changed(written(tmp_path, "robomimic"), many_texts)
    assert "attribute 'texts'" in refused(path, "robomimic", outside)
    path.unlink()
    path = changed(
        written(tmp_path, "robomimic"),
        lambda file: file.create_dataset("mask/big", (2**40,), "S10", chunks=(1000,)),
    )
    assert "not all of it was written" in refused(path, "robomimic", outside)


def test_packed_texts_are_unpacked_to_a_bound(outside: Outside) -> None:
    import base64

    bomb = PACKED + base64.b64encode(deflate_bomb(2**29)).decode()
    with outside.watched(), pytest.raises(DataError, match="cannot be unpacked"):
        unpacked(bomb)
    for broken in (PACKED + "???", PACKED, PACKED + "AAAA", bomb[:1000]):
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpacked(broken)


# ---- damage --------------------------------------------------------------------------------------


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
    assert "no HDF5 file" in outcome(lambda: read_all(path, kind))


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
