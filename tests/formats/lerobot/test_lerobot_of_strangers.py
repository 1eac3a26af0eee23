"""LeRobot datasets of strangers: damaged, or made to read other files, fill memory or run code."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_datasets import (
    CAMERA,
    change_info,
    change_table,
    episode_of,
    rows,
    shown,
    store_with,
    table_path,
    video_path,
    write_table,
    write_v21,
    write_video,
)
from PIL import Image
from strangers import MIB, OTHER_FORMATS, Bomb, Outside, damaged, outcome

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.limits import EPISODE_LIMIT_VARIABLE, GIB
from softflow.errors import DataError
from softflow.formats.frames import decoded_picture
from softflow.formats.lerobot import pages
from softflow.formats.lerobot.export import export_lerobot
from softflow.formats.lerobot.reading import LeRobotSource
from softflow.utils.progress import SilentProgress

SPEC = DataSpec({"observation.state": (3,), CAMERA: (48, 64, 3)}, 2, (-1, -1), (1, 1), 20.0)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small dataset of each version, pictures in the table of the second."""
    folder = tmp_path_factory.mktemp("healthy")
    store = store_with(folder / "store", SPEC, [episode_of(SPEC, 5, n, n == 0) for n in (0, 1)])
    export_lerobot(store, folder / "v3.0", SilentProgress(), cameras_as="video")
    export_lerobot(store, folder / "pictures", SilentProgress(), cameras_as="images")
    write_v21(folder / "v2.1", (5, 6))
    return {name: folder / name for name in ("v2.1", "v3.0", "pictures")}


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


LONGER = [pytest.param(name, marks=pytest.mark.slow) for name in ("v3.0", "pictures")]


@pytest.fixture(params=["v2.1", *LONGER])
def copy(request: pytest.FixtureRequest, healthy: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy[request.param], tmp_path / "dataset"))


def read_all(path: Path) -> list[Any]:
    source = LeRobotSource(path)
    return [source.read(name) for name in source.episodes()]


def refused(path: Path, outside: Outside, growth: int = 256 * MIB) -> str:
    with outside.watched(growth=growth):
        message = outcome(lambda: read_all(path))
    assert message, "it was read"
    return message


def test_healthy_datasets_are_read(copy: Path, outside: Outside) -> None:
    with outside.watched():
        assert len(read_all(copy)) == 2


# ---- nothing outside the folder ------------------------------------------------------------------

TEMPLATES = [
    "{outside}/{file}",
    "../outside/{file}",
    "data/../../outside/{file}",
    "{episode_index.__class__}/{file}",
    "{episode_index:09999999999d}",
    "{episode_index:{episode_chunk}d}",
    "{unknown}/{file}",
    "{}",
    "{0}",
    "{episode_index!r}",
    "data/{episode_index",
    "data/\0",
    "",
    "http://localhost:1/{file}",
    "concat:a|b",
    ".",
    "x" * 5000,
]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda text: f"{text:.30}")
@pytest.mark.parametrize("kind", ["data_path", "video_path"])
def test_templates_that_lead_out(dataset: Path, outside: Outside, template: str, kind: str) -> None:
    inner = table_path(dataset, 0) if kind == "data_path" else video_path(dataset, 0)
    shutil.copy(inner, outside.folder / inner.name)
    path = template.replace("{outside}", str(outside.folder)).replace("{file}", inner.name)
    change_info(dataset, lambda info: info.update({kind: path}))
    message = refused(dataset, outside)
    if "outside" in template:
        assert "outside of itself" in message


@pytest.mark.parametrize("place", ["data", "videos", "meta", "a table", "a video", "a list"])
def test_links_that_lead_out(dataset: Path, outside: Outside, place: str) -> None:
    files = {
        "a table": table_path(dataset, 0),
        "a video": video_path(dataset, 0),
        "a list": dataset / "meta/episodes.jsonl",
    }
    inner = files.get(place, dataset / place)
    inner.rename(outside.folder / inner.name)
    inner.symlink_to(outside.folder / inner.name)
    assert "outside of itself" in refused(dataset, outside)


def test_links_of_the_hugging_face_cache_are_followed(
    healthy: dict[str, Path], tmp_path: Path
) -> None:
    blobs, snapshot = tmp_path / "hub/blobs", tmp_path / "hub/snapshots/1a2b"
    blobs.mkdir(parents=True)
    shutil.copytree(healthy["v3.0"], snapshot)
    for number, file in enumerate(sorted(snapshot.rglob("*.*"))):
        if file.is_file():
            file.rename(blobs / str(number))
            file.symlink_to(blobs / str(number))
    assert len(read_all(snapshot)) == 2


def test_names_of_cameras_that_lead_out(dataset: Path, outside: Outside) -> None:
    key = "observation.images.x/../../../../../outside"

    def change(info: dict[str, Any]) -> None:
        info["features"][key] = info["features"].pop(CAMERA)
        info["video_path"] = "videos/{video_key}/secret.bin"

    change_info(dataset, change)
    refused(dataset, outside)


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile {name}\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{path}\n#EXT-X-ENDLIST\n",
    "SDP": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "DASH": '<?xml version="1.0"?><MPD><Period><AdaptationSet><Representation><BaseURL>{path}'
    "</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "HTML": "<html><video src='{path}'></html>",
    "SVG": "<svg xmlns='http://www.w3.org/2000/svg'><image href='{path}'/></svg>",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_videos_that_name_other_files(dataset: Path, outside: Outside, kind: str) -> None:
    """FFmpeg by itself would read the frames of the file that such a "video" names."""
    other, video = outside.folder / "other.mp4", video_path(dataset, 0)
    shutil.copy(video, other)
    shutil.copy(video, video.with_name("beside.mp4"))
    video.write_text(PLAYLISTS[kind].format(path=other, name="beside.mp4"))
    assert "cannot read" in refused(dataset, outside)


def test_a_video_by_another_name_is_not_opened(dataset: Path, outside: Outside) -> None:
    for ending in (".m3u8", ".txt", "", ".yuv", ".ffconcat"):
        other = video_path(dataset, 0).with_suffix(ending)
        shutil.copy(video_path(dataset, 0), other)
        name = "videos/chunk-000/{video_key}/" + other.name
        change_info(dataset, lambda info, name=name: info.update(video_path=name))
        assert "a video's name ends in" in refused(dataset, outside)


def test_pictures_that_name_other_files(dataset: Path, outside: Outside) -> None:
    cells = [{"bytes": None, "path": str(outside.secret)}] * 8
    change_table(dataset, 0, CAMERA, pa.array(cells))
    change_info(dataset, lambda info: info["features"][CAMERA].update(dtype="image"))
    assert "holds no picture" in refused(dataset, outside)


# ---- no code -------------------------------------------------------------------------------------


def test_types_of_a_table_are_not_unpickled(dataset: Path, outside: Outside) -> None:
    """pyarrow up to 14.0.0 unpickled this (CVE-2023-47248)."""
    bomb = pickle.dumps(Bomb(outside.mark))
    table = pq.read_table(table_path(dataset, 0))
    for name in ("arrow.py_extension_type", "arrow.json", "arrow.opaque", "datasets.features"):
        said = {"ARROW:extension:name": name, "ARROW:extension:metadata": bomb}
        fields = [field.with_metadata(said) for field in table.schema]
        marked = pa.table(table.columns, schema=pa.schema(fields))
        pq.write_table(
            marked.replace_schema_metadata({"pandas": bomb, "huggingface": bomb}),
            table_path(dataset, 0),
        )
        with outside.watched():
            outcome(lambda: read_all(dataset))


@pytest.mark.parametrize("form", ["EPS", "GIF", "BMP", "TIFF", "PPM", "PDF", "ICO", "TGA"])
def test_other_kinds_of_pictures_are_not_decoded(outside: Outside, form: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, form)
    with outside.watched(), pytest.raises(DataError, match="no PNG, JPEG, WEBP picture"):
        decoded_picture(file.getvalue(), "here")


# ---- no more memory than was declared and checked ------------------------------------------------


def picture_of(kind: str, size: tuple[int, int], mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(
    "kind", ["JPEG", *[pytest.param(kind, marks=pytest.mark.slow) for kind in ("PNG", "WEBP")]]
)
def test_pictures_are_decoded_to_what_was_promised(outside: Outside, kind: str) -> None:
    data = picture_of(kind, (5_800, 5_800))
    assert len(data) < 2_000_000
    with outside.watched(growth=32 * 2**20):
        assert "was promised" in outcome(lambda: decoded_picture(data, "here", (48, 64, 3)))
        assert "at most 33,554,432 are decoded" in outcome(lambda: decoded_picture(data, "here"))


def test_a_picture_beyond_all_bounds(outside: Outside) -> None:
    head = bytearray(picture_of("PNG", (8, 8)))
    head[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    with outside.watched():
        assert outcome(lambda: decoded_picture(bytes(head), "here"))
    for mode in ("I;16", "CMYK", "LA", "F"):
        data = picture_of(
            "JPEG" if mode == "CMYK" else "TIFF" if mode == "F" else "PNG", (8, 8), mode
        )
        assert outcome(lambda data=data: decoded_picture(data, "here"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_pictures(kind: str) -> None:
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (40, 40, 3)).astype(np.uint8)).save(file, kind)
    for _, content in damaged(file.getvalue(), cuts=10, flips=80):
        outcome(lambda content=content: decoded_picture(content, "here", (40, 40, 3)))


def with_rows(path: Path, count: int) -> None:
    with pq.ParquetWriter(path, pa.schema([("episode_index", pa.int64())])) as writer:
        batch = pa.table({"episode_index": np.zeros(2**20, np.int64)})
        for _ in range(count // 2**20):
            writer.write_table(batch)


def test_tables_of_any_number_of_rows(dataset: Path, outside: Outside) -> None:
    with_rows(table_path(dataset, 0), 2 * pages.MAX_TABLE_ROWS)
    assert table_path(dataset, 0).stat().st_size < 200_000
    assert "at most 16,777,216 are read" in refused(dataset, outside, growth=64 * 2**20)


@pytest.mark.parametrize(
    "codec", ["gzip", "brotli", "snappy", "lz4", pytest.param("zstd", marks=pytest.mark.slow)]
)
def test_pages_of_any_size(
    dataset: Path, outside: Outside, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of a few kilobytes, decompressed to hundreds of megabytes; but for one, to fewer."""
    size = 300 * 2**20
    if codec != "zstd":
        size //= 300
        monkeypatch.setattr(pages, "MAX_PAGE_BYTES", size)
    table = pq.read_table(table_path(dataset, 0))
    names = pa.array(["x" * size] + ["y"] * (len(table) - 1), pa.large_string())
    pq.write_table(
        table.append_column("next.done", names),
        table_path(dataset, 0),
        compression=codec,
        use_dictionary=False,
        write_statistics=False,
    )
    assert "a page of" in refused(dataset, outside)


@pytest.mark.slow
def test_one_value_for_many_rows(
    healthy: dict[str, Path], dataset: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long text that many rows refer to is counted for each of them."""
    table = pq.read_table(table_path(dataset, 0))
    value = pa.array(["x" * 20_000_000] * len(table)).dictionary_encode()
    pq.write_table(table.append_column("next.done", value), table_path(dataset, 0))
    assert "'next.done' holds" in refused(dataset, outside, growth=400 * MIB)
    with monkeypatch.context() as patch:
        patch.setenv(EPISODE_LIMIT_VARIABLE, str(100 * MIB / GIB))
        assert "at most 104,857,600" in refused(dataset, outside, growth=100 * MIB)
    encoding = {"next.done": "DELTA_BYTE_ARRAY"}
    plain = table.append_column("next.done", pa.array(["x"] * len(table)))
    pq.write_table(plain, table_path(dataset, 0), use_dictionary=False, column_encoding=encoding)
    assert "DELTA_BYTE_ARRAY" in refused(dataset, outside)
    path = dataset.with_name("shared")
    shutil.copytree(healthy["v3.0"], path)
    file = path / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    names = [name for name in table.column_names if not name.startswith("stats/")]
    table = table.select(names).slice(0, 1)
    tasks = pa.array([["x" * 100_000]] * 3000, pa.list_(pa.string()))
    table = pa.concat_tables([table] * 3000).set_column(names.index("tasks"), "tasks", tasks)
    pq.write_table(table, file)
    assert file.stat().st_size < 200_000
    monkeypatch.setenv(EPISODE_LIMIT_VARIABLE, str(50 * MIB / GIB))
    assert "at most 52,428,800 are read" in refused(path, outside)


@pytest.mark.parametrize(("side", "steps"), [(84, 250), (16, 1500)])
def test_pictures_of_a_long_episode_are_read(tmp_path: Path, side: int, steps: int) -> None:
    """pyarrow writes 1024 of them into one page before it looks how long that became."""
    spec = DataSpec({CAMERA: (side, side, 3)}, 1, (-1,), (1,), 20.0)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (steps + 1, side, side, 3)).astype(np.uint8)
    zeros = np.zeros((steps, 1), np.float32)
    episode = Episode({CAMERA: frames}, zeros, zeros[:, 0], True, False, True, {})
    store = store_with(tmp_path / "store", spec, [episode])
    export_lerobot(store, tmp_path / "pictures", SilentProgress(), cameras_as="images")
    (found,) = read_all(tmp_path / "pictures")
    np.testing.assert_array_equal(found.observations[CAMERA], frames)


@pytest.mark.slow
def test_one_row_of_many_values(dataset: Path, outside: Outside) -> None:
    columns = rows(0, 8)
    long = pa.array([[0.0] * (2**24 + 8)] + [[0.0] * 3] * 7, pa.list_(pa.float32()))
    table = pa.table({**columns, "observation.state": long, "action": list(columns["action"])})
    pq.write_table(table, table_path(dataset, 0), data_page_size=2**30)
    assert table_path(dataset, 0).stat().st_size < 100_000
    assert "values; at most 16,777,216" in refused(dataset, outside)


@pytest.mark.parametrize("encoding", ["DELTA_BINARY_PACKED", "PLAIN", "BYTE_STREAM_SPLIT"])
def test_a_header_that_promises_a_billion_values(
    tmp_path: Path, outside: Outside, encoding: str
) -> None:
    """300 bytes that a decoder would reserve gigabytes for (apache/arrow issue 49955)."""
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"action": np.arange(8)}), path, use_dictionary=False, compression="none",
        column_encoding={"action": encoding}, write_statistics=False,
    )  # fmt: skip
    content = path.read_bytes()
    at = content.index(b"\x2c\x15\x10") + 2  # a data page's header, and in it 8 values
    path.write_bytes(content[:at] + b"\x80\xa8\xd6\xb9\x07" + content[at + 1 :])
    with outside.watched(growth=32 * MIB):
        said = outcome(lambda: pages.column_sizes(pq.ParquetFile(path), path, ["action"]))
    assert "a page of 'action' of 1,000,000,000 values" in said


def test_what_pages_declare_is_what_pyarrow_decodes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {
        "state": pa.array(rng.normal(size=(500, 3)).tolist(), pa.list_(pa.float32(), 3)),
        "observation.state": pa.array(rng.normal(size=(500, 2)).tolist()),
        "observation": pa.array(rng.integers(0, 3, 500)),
        "text": pa.array([f"{n % 7}" * 50 for n in range(500)]),
        "image": pa.array([{"bytes": bytes(n), "path": None} for n in range(500)]),
    }
    for version in ("1.0", "2.0"):
        choices: list[dict[str, Any]] = [{}, {"use_dictionary": False}, {"compression": "none"}]
        for options in choices:
            path = tmp_path / "a.parquet"
            table = pa.table(columns)
            pq.write_table(
                table,
                path,
                data_page_version=version,
                row_group_size=200,
                data_page_size=500,
                **options,
            )
            file = pq.ParquetFile(path)
            groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
            for key in columns:
                told = [
                    sum(
                        g.column(c).total_uncompressed_size
                        for c in range(g.num_columns)
                        if g.column(c)
                        .path_in_schema.split(".list")[0]
                        .split(".bytes")[0]
                        .split(".path")[0]
                        == key
                    )
                    for g in groups
                ]
                sizes = pages.column_sizes(file, path, [key])
                found = [size.decoded for size in sizes]
                texts = {"text": 50, "image": 499}.get(key, 0) * (
                    options.get("use_dictionary") is not False
                )
                assert max(size.longest for size in sizes) == texts
                # Theirs counts the headers too.
                assert all(0 < ours <= theirs for ours, theirs in zip(found, told, strict=True)), (
                    key
                )


def test_an_episode_is_held_against_one_limit(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EPISODE_LIMIT_VARIABLE, str(40_000 / GIB))
    with pytest.raises(DataError, match=r"at most 40,000 are read.*SOFTFLOW_MAX_EPISODE_GIB"):
        read_all(copy)


@pytest.mark.parametrize(
    "shape", [[10**9, 10**9, 3], [10**30, 1, 3], [48, 64], [], [0, 0, 3], [48, 64, 3, 1]], ids=str
)
def test_cameras_of_any_size(dataset: Path, outside: Outside, shape: list[int]) -> None:
    change_info(dataset, lambda info: info["features"][CAMERA].update(shape=shape))
    refused(dataset, outside)


@pytest.mark.parametrize("length", [2**40, 2**62, 10**30, -1, 1.5, "8", None, True, [8]], ids=repr)
def test_episodes_of_any_length(dataset: Path, outside: Outside, length: Any) -> None:
    row = {"episode_index": 0, "tasks": ["push"], "length": length}
    (dataset / "meta/episodes.jsonl").write_text(json.dumps(row) + "\n")
    change_info(dataset, lambda info: info.pop("total_episodes"))
    refused(dataset, outside)


def test_a_video_of_another_size_is_not_decoded(dataset: Path, outside: Outside) -> None:
    frames = [np.zeros((2160, 3840, 3), np.uint8)] * 2
    write_video(video_path(dataset, 0), frames, "libx264")
    assert "the frame is 2160 × 3840" in refused(dataset, outside, growth=64 * 2**20)


def test_a_video_of_another_codec_is_not_decoded(dataset: Path, outside: Outside) -> None:
    with av.open(str(video_path(dataset, 0).with_suffix(".avi")), "w") as container:
        stream: Any = container.add_stream("huffyuv", rate=20)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv422p"
        for step in range(8):
            frame = av.VideoFrame.from_ndarray(shown(step), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    name = "videos/chunk-000/{video_key}/episode_{episode_index:06d}.avi"
    change_info(dataset, lambda info: info.update(video_path=name))
    assert "encoded as huffyuv" in refused(dataset, outside)


# ---- damage --------------------------------------------------------------------------------------


def test_damaged_files(copy: Path, outside: Outside) -> None:
    """Every file of a dataset, each damaged in some twenty ways."""
    for file in sorted(path for path in copy.rglob("*") if path.is_file()):
        if file.name == "stats.json":
            continue
        original = file.read_bytes()
        for how, content in damaged(original, cuts=3, flips=5):
            file.write_bytes(content)
            with outside.watched():
                message = outcome(lambda: read_all(copy))
            assert not message or str(copy) in message, (file, how)
        file.write_bytes(original)


@pytest.mark.slow
def test_many_flipped_bytes(copy: Path, outside: Outside) -> None:
    for file in sorted([*copy.rglob("*.parquet"), *copy.rglob("*.mp4")]):
        original = file.read_bytes()
        for _, content in damaged(original, cuts=6, flips=12):
            file.write_bytes(content)
            with outside.watched():
                outcome(lambda: read_all(copy))
        file.write_bytes(original)


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_other_formats_under_those_names(copy: Path, outside: Outside, kind: str) -> None:
    for file in sorted(path for path in copy.rglob("*") if path.is_file()):
        if file.name == "stats.json" or (file.name == "tasks.jsonl" and kind == "zip"):
            continue
        original = file.read_bytes()
        file.write_bytes(OTHER_FORMATS[kind])
        refused(copy, outside)
        file.write_bytes(original)
        file.unlink()
        file.mkdir()
        with outside.watched():
            outcome(lambda: read_all(copy))
        file.rmdir()
        file.write_bytes(original)


INFO = [
    ("fps", [0, -5, "20", None, 1e400, [20], True]),
    ("features", [None, [], {}, {"action": 5}, {"action": {}}, {"action": {"dtype": "float32"}}]),
    ("codebase_version", [None, 3, [], "v" * 10_000, "v3.0"]),
    ("data_path", [None, 5, {}]),
    ("video_path", [None, 5, ["a"]]),
    ("chunks_size", [0, -1, "1000", None, 1.5]),
    ("total_episodes", ["2", 1e9, [], -1]),
    ("robot_type", [5, [], {}]),
]


@pytest.mark.parametrize(
    ("key", "value"), [(k, v) for k, values in INFO for v in values], ids=lambda v: f"{v!r:.30}"
)
def test_info_of_another_type(dataset: Path, outside: Outside, key: str, value: Any) -> None:
    change_info(dataset, lambda info: info.update({key: value}))
    refused(dataset, outside)


NAMES: list[Any] = [
    5,
    [[["a"]]] * 3,
    {"a": {"b": ["c"]}},
    "abc",
    {"a": None},
    [None, 1, 2],
    [["\udc80"]],
]


@pytest.mark.parametrize("names", NAMES, ids=repr)
def test_names_in_any_form(dataset: Path, names: Any) -> None:
    change_info(dataset, lambda info: info["features"]["action"].update(names=names))
    outcome(lambda: read_all(dataset))


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "5", nested(100_000), '{"a": ' * 50_000, "\xff"]
)
@pytest.mark.parametrize("name", ["info.json", "episodes.jsonl", "tasks.jsonl"])
def test_documents_that_are_something_else(dataset: Path, name: str, text: str) -> None:
    for encoding in ("utf-8", "latin-1", "utf-16"):
        (dataset / "meta" / name).write_bytes(text.encode(encoding))
        message = outcome(lambda: read_all(dataset))
        assert not message or name in message or "meta lists no" in message


def test_names_nested_without_end(dataset: Path) -> None:
    text = (dataset / "meta/info.json").read_text()
    deep = text.replace('"names": {"motors": ["x", "y"]}', f'"names": {nested(900)}')
    (dataset / "meta/info.json").write_text(deep)
    outcome(lambda: read_all(dataset))


SAID = ["", "[]", "{}", '{"format_version": 1}', '{"format_version": "1", "spec": {}}']


@pytest.mark.parametrize("text", [*SAID, '{"format_version": 1, "spec": {"a": 1}}', nested(99_999)])
def test_extras_that_are_something_else(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside, text: str
) -> None:
    copy = Path(shutil.copytree(healthy["v3.0"], tmp_path / "dataset"))
    (copy / "meta/softflow/spec.json").write_text(text)
    assert "meta/softflow is damaged" in refused(copy, outside)


@pytest.mark.parametrize("metadata", ["", "[]", "5", "{", '{"a":' * 50_000, None])
def test_metadata_that_is_something_else(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside, metadata: str | None
) -> None:
    copy = Path(shutil.copytree(healthy["v3.0"], tmp_path / "dataset"))
    file = copy / "meta/softflow/episodes.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("metadata")
    column = pa.array([metadata] * len(table), pa.string())
    pq.write_table(table.set_column(place, "metadata", column), file)
    refused(copy, outside)


COLUMNS: dict[str, Callable[[int], pa.Array]] = {
    "text": lambda n: pa.array(["a"] * n),
    "nothing": lambda n: pa.nulls(n),
    "empty cells": lambda n: pa.array([None] * n, pa.list_(pa.float32())),
    "lists of lists": lambda n: pa.array([[[1.0]]] * n),
    "structs": lambda n: pa.array([{"a": 1}] * n),
    "times": lambda n: pa.array([0] * n, pa.timestamp("s")),
    "decimals": lambda n: pa.array([1] * n, pa.decimal128(5)),
    "maps": lambda n: pa.array([[("a", 1)]] * n, pa.map_(pa.string(), pa.int64())),
    "bytes": lambda n: pa.array([b"a"] * n),
    "one of a dictionary": lambda n: pa.array(["a"] * n).dictionary_encode(),
    "infinity": lambda n: pa.array([np.inf] * n),
    "huge": lambda n: pa.array([2**63 - 1] * n),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize(
    "key",
    [
        "observation.state",
        "action",
        "frame_index",
        "episode_index",
        "task_index",
        "timestamp",
        "next.reward",
        "next.done",
    ],
)
def test_columns_of_another_type(dataset: Path, outside: Outside, key: str, kind: str) -> None:
    change_table(dataset, 0, key, COLUMNS[kind](8))
    with outside.watched():
        outcome(lambda: read_all(dataset))


@pytest.mark.slow
@pytest.mark.parametrize("kind", COLUMNS)
def test_lists_of_another_type(healthy: dict[str, Path], tmp_path: Path, kind: str) -> None:
    file = Path("meta/episodes/chunk-000/file-000.parquet")
    table = pq.read_table(healthy["v3.0"] / file)
    copy = Path(shutil.copytree(healthy["v3.0"], tmp_path / "dataset"))
    for place, key in enumerate(table.column_names):
        if not key.startswith("stats/"):
            pq.write_table(table.set_column(place, key, COLUMNS[kind](len(table))), copy / file)
            outcome(lambda: LeRobotSource(copy))


def test_a_table_of_tasks_without_words(healthy: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(healthy["v3.0"], tmp_path / "dataset"))
    pq.write_table(pa.table({"task_index": [0]}), copy / "meta/tasks.parquet")
    outcome(lambda: read_all(copy))
    pq.write_table(pa.table({"words": ["a"]}), copy / "meta/tasks.parquet")
    assert outcome(lambda: read_all(copy))


def test_rows_that_are_not_there(dataset: Path) -> None:
    write_table(table_path(dataset, 0), {"episode_index": np.zeros(0, np.int64)})
    assert "0 rows" in outcome(lambda: read_all(dataset))
