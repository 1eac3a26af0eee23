"""A folder of rendered pictures and their labels: parts of some hundred, each written whole.

    renders.json        what all of them share: size, cube, hand, seed, how far they differ
    part-00000.npz      JPEGs, masks as PNGs, corners, poses, cameras

A part depends on the seed and its number alone, so a folder that is not complete is gone on with.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softflow.errors import DataError, StoreError, brief
from softflow.perception.camera import Calibration
from softflow.perception.cube_model import NUM_CORNERS, CubeModel
from softflow.perception.geometry import Pose
from softflow.perception.packages import load_cv2
from softflow.perception.scene.labels import Labels
from softflow.utils.files import entries_of, require_regular, written_whole
from softflow.utils.sealed_json import read_sealed, write_sealed

FORMAT = 1
RECORD = "renders.json"
JPEG_QUALITY = 95
MAX_PART_BYTES = 2**30


@dataclass(frozen=True)
class Render:
    """One picture with its labels.

    Attributes:
        picture: uint8 [H, W, 3], RGB.
        labels: what is where in it.
        camera: what took it.
    """

    picture: np.ndarray
    labels: Labels
    camera: Calibration


@dataclass(frozen=True)
class RendersRecord:
    """What all pictures of a folder share.

    Attributes:
        height, width: pixels.
        part_size: pictures in a part.
        cube: the cube in them.
        settings: everything else that decides them; two folders with equal ones are equal.
    """

    height: int
    width: int
    part_size: int
    cube: CubeModel
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        size = {"height": self.height, "width": self.width, "part_size": self.part_size}
        return {"format": FORMAT, **size, "cube": self.cube.to_json(), "settings": self.settings}


def write_record(folder: Path, record: RendersRecord) -> None:
    """Write what the pictures of a folder share, or check that it is the same.

    Raises:
        DataError: the folder holds pictures made otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / RECORD).exists():
        write_sealed(folder / RECORD, record.to_json())
        return
    there, wanted = read_record(folder).to_json(), record.to_json()
    if there != wanted:
        differs = [key for key in wanted if there[key] != wanted[key]]
        raise DataError(
            f"'{folder}' holds renders that were made with other {', '.join(differs)}; go on with "
            f"the options they were made with (see {RECORD}), or choose another folder"
        )


def read_record(folder: Path) -> RendersRecord:
    """What the pictures of a folder share.

    Raises:
        StoreError: there is none, it is damaged or of a newer format.
    """
    value, _ = read_sealed(folder / RECORD)
    try:
        if value["format"] != FORMAT:
            raise StoreError(
                f"'{folder / RECORD}' has format {value['format']}, this softflow reads {FORMAT}; "
                "render anew"
            )
        cube = CubeModel(**value["cube"])
        height, width, part_size = (int(value[k]) for k in ("height", "width", "part_size"))
        return RendersRecord(height, width, part_size, cube, dict(value["settings"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"'{folder / RECORD}' is damaged: {brief(error)}; render anew") from error


def part_path(folder: Path, number: int) -> Path:
    """The file of a part."""
    return folder / f"part-{number:05d}.npz"


def write_part(path: Path, renders: Sequence[Render]) -> None:
    """Write pictures and labels, whole or not at all.

    Raises:
        StoreError: the system refused.
    """
    cv2 = load_cv2()
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    pictures = [cv2.imencode(".jpg", r.picture[..., ::-1], quality)[1] for r in renders]
    segments = [cv2.imencode(".png", r.labels.segments)[1] for r in renders]
    labels = [r.labels for r in renders]
    arrays = {
        "pictures": np.concatenate(pictures).ravel(),
        "picture_ends": np.cumsum([p.size for p in pictures]),
        "segments": np.concatenate(segments).ravel(),
        "segment_ends": np.cumsum([s.size for s in segments]),
        "corners": np.array([one.corners for one in labels]),
        "visible": np.array([one.visible for one in labels]),
        "rotation": np.array([one.pose.rotation for one in labels]),
        "position_m": np.array([one.pose.position_m for one in labels]),
        "present": np.array([one.present for one in labels]),
        "camera": np.array([[r.camera.fx, r.camera.fy, r.camera.cx, r.camera.cy] for r in renders]),
    }
    with written_whole(path) as temp, temp.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


class Renders:
    """The pictures of a folder, all parts in memory as they were compressed.

    Args:
        folder: of `softflow cube-pose render`.

    Raises:
        StoreError: there are none, or a part is damaged; names it.
    """

    def __init__(self, folder: Path) -> None:
        self.record = read_record(folder)
        files = sorted(p for p in entries_of(folder) if p.match("part-?????.npz"))
        if not files:
            raise StoreError(f"'{folder}' holds no renders yet; run softflow cube-pose render")
        self._parts = [_read_part(path) for path in files]
        self._index = [(p, i) for p, part in enumerate(self._parts) for i in range(_count(part))]

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Render:
        """A picture with its labels, read anew: it may be written into."""
        number, i = self._index[index]
        part = self._parts[number]
        cv2, record = load_cv2(), self.record
        picture = cv2.imdecode(_piece(part, "picture", i), cv2.IMREAD_COLOR)
        segments = cv2.imdecode(_piece(part, "segment", i), cv2.IMREAD_GRAYSCALE)
        size = (record.height, record.width)
        if picture is None or segments is None or picture.shape[:2] != size:
            raise StoreError(f"picture {i} of part {number} is damaged; render that part anew")
        fx, fy, cx, cy = map(float, part["camera"][i])
        camera = Calibration(record.width, record.height, fx, fy, cx, cy)
        pose = Pose(part["rotation"][i], part["position_m"][i])
        there = bool(part["present"][i])
        labels = Labels(segments, part["corners"][i].copy(), part["visible"][i].copy(), pose, there)
        return Render(np.ascontiguousarray(picture[..., ::-1]), labels, camera)


def _count(part: dict[str, np.ndarray]) -> int:
    return len(part["present"])


def _piece(part: dict[str, np.ndarray], name: str, index: int) -> np.ndarray:
    ends = part[f"{name}_ends"]
    start = int(ends[index - 1]) if index else 0
    return part[f"{name}s"][start : int(ends[index])]


_SHAPES = {
    "corners": (NUM_CORNERS, 2),
    "visible": (NUM_CORNERS,),
    "rotation": (3, 3),
    "position_m": (3,),
    "present": (),
    "camera": (4,),
    "picture_ends": (),
    "segment_ends": (),
}


def _read_part(path: Path) -> dict[str, np.ndarray]:
    require_regular(path)
    fix = "remove it and run the same softflow cube-pose render again"
    try:
        if path.stat().st_size > MAX_PART_BYTES:
            raise ValueError(f"longer than {MAX_PART_BYTES:,} bytes")
        with np.load(path, allow_pickle=False) as file:
            part = {name: file[name] for name in (*_SHAPES, "pictures", "segments")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"'{path}' is damaged: {brief(error)}; {fix}") from error
    count = _count(part)
    wrong = [name for name, shape in _SHAPES.items() if part[name].shape != (count, *shape)]
    if wrong:
        raise StoreError(f"'{path}' is damaged: {wrong[0]} is {part[wrong[0]].shape}; {fix}")
    return part
