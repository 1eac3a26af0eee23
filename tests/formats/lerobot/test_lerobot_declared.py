"""LeRobot datasets of strangers that declare more than they hold."""

from __future__ import annotations

import io
import json
import shutil
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
    rows,
    shown,
    store_with,
    table_path,
    video_path,
    write_video,
)
from PIL import Image
from strange_lerobot import read_all, refused
from strangers import MIB, Outside, damaged, outcome

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.files.limits import EPISODE_LIMIT_VARIABLE, GIB
from softflow.errors import DataError
from softflow.formats.frames import decoded_picture
from softflow.formats.lerobot import pages
from softflow.formats.lerobot.export import export_lerobot
from softflow.utils.progress import SilentProgress


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
