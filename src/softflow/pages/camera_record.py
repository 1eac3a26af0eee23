"""What a run folder holds of its cameras: films of episodes, and where networks looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from softflow.data.data_spec import IMAGE_PREFIX
from softflow.data.measures import Count, Number
from softflow.pages.run_files import is_own, read_all
from softflow.utils.png import PNG_SIGNATURE

LARGEST_PICTURE_BYTES = 2**20
LARGEST_FILM_BYTES = 2**21
MAX_PICTURES = 8
"""Of a stage; training writes no more."""
FileName = Annotated[str, msgspec.Meta(pattern=r"^\w[\w.-]*$", max_length=200)]
Camera = Annotated[str, msgspec.Meta(max_length=400)]


@dataclass(frozen=True)
class Look:
    """A sheet of frames and of where a network looked in them.

    `largest_change` is the share of the network's range by which hiding the brightest place moves
    its answer.
    """

    stage: str
    network: str
    camera: str
    path: Path
    largest_change: float


@dataclass(frozen=True)
class CameraFilm:
    """What a camera saw in an evaluation episode."""

    stage: str
    camera: str
    path: Path
    success: bool
    length: int
    seed: int | None


class _LookDocument(msgspec.Struct):
    network: Literal["policy", "critic"]
    camera: Camera
    file: FileName
    largest_change: Number


class _LooksDocument(msgspec.Struct):
    """diagnostics/LABEL.json, as far as it tells of sheets."""

    saliency: Annotated[tuple[_LookDocument, ...], msgspec.Meta(max_length=MAX_PICTURES)] = ()


class _FilmDocument(msgspec.Struct):
    camera: Camera
    file: FileName
    success: bool
    length: Count
    seed: int | None = None


class _FilmsDocument(msgspec.Struct):
    """videos/cameras/LABEL.json."""

    films: Annotated[tuple[_FilmDocument, ...], msgspec.Meta(max_length=MAX_PICTURES)] = ()


def read_looks(run: Path, stages: Sequence[str], problems: list[str]) -> list[Look]:
    """The sheets of a run, stage by stage; what is wrong with one is told in `problems`."""
    folder = run / "diagnostics"
    found = read_all(folder, partial(_looks, folder), problems)
    looks = [look for of_one in found for look in of_one if _is_picture(look.path, problems)]
    return [look for stage in stages for look in looks if look.stage == stage]


def read_films(run: Path, stages: Sequence[str], problems: list[str]) -> list[CameraFilm]:
    """The films of a run, stage by stage; what is wrong with one is told in `problems`."""
    folder = run / "videos" / "cameras"
    found = read_all(folder, partial(_films, folder), problems)
    films = [
        film
        for of_one in found
        for film in of_one
        if _is_shown(film.path, LARGEST_FILM_BYTES, problems)
    ]
    return [film for stage in stages for film in films if film.stage == stage]


def _looks(folder: Path, label: str, value: dict[str, Any]) -> list[Look]:
    told = msgspec.convert(value, _LooksDocument).saliency
    return [
        Look(label, t.network, _short(t.camera), folder / t.file, t.largest_change) for t in told
    ]


def _films(folder: Path, label: str, value: dict[str, Any]) -> list[CameraFilm]:
    told = msgspec.convert(value, _FilmsDocument).films
    return [
        CameraFilm(label, _short(t.camera), folder / t.file, t.success, t.length, t.seed)
        for t in told
    ]


def _short(camera: str) -> str:
    return camera.removeprefix(IMAGE_PREFIX)


def _is_picture(path: Path, problems: list[str]) -> bool:
    if not _is_shown(path, LARGEST_PICTURE_BYTES, problems):
        return False
    with path.open("rb") as file:
        if file.read(len(PNG_SIGNATURE)) == PNG_SIGNATURE:
            return True
    problems.append(f"'{path}' is no PNG file; remove it")
    return False


def _is_shown(path: Path, most_bytes: int, problems: list[str]) -> bool:
    """Whether a file is there, the run's own, and small enough for a page."""
    if not path.exists():
        problems.append(f"'{path}' is gone")
        return False
    if not is_own(path, problems):
        return False
    if (size := path.stat().st_size) <= most_bytes:
        return True
    problems.append(f"'{path}' has {size:,} bytes; the page shows at most {most_bytes:,}")
    return False
