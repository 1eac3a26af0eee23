"""LeRobot datasets of strangers that reach out of their folder, or hold code."""

from __future__ import annotations

import io
import pickle
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_datasets import (
    CAMERA,
    change_info,
    change_table,
    table_path,
    video_path,
)
from PIL import Image
from strange_lerobot import read_all, refused
from strangers import Bomb, Outside, outcome

from softflow.errors import DataError
from softflow.formats.frames import decoded_picture


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
