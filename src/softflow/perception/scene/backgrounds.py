"""What is behind the hand: patterns made up on the spot, or a folder of one's own pictures.

The paper takes pictures of places, materials, ceilings and walls; a folder of those goes here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from softflow.errors import ConfigError
from softflow.perception.frames import picture_files, read_picture
from softflow.perception.packages import load_cv2

KEPT = 512
"""Pictures of a folder that are kept in memory."""


class Backgrounds(Protocol):
    """Something to put behind a hand."""

    def draw(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """A picture uint8 [height, width, 3], RGB."""
        ...


class ProceduralBackgrounds:
    """Clouds, stripes and tiles, rooms of flat shapes, and lamps, in any colours."""

    def draw(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """A picture uint8 [height, width, 3], RGB."""
        makers = (_clouds, _stripes, _shapes)
        picture = makers[rng.integers(len(makers))](rng, height, width)
        if rng.random() < 0.3:
            _add_lamps(picture, rng)
        return np.clip(picture * 255, 0, 255).astype(np.uint8)


class FolderBackgrounds:
    """Random parts of the pictures in a folder and the folders in it.

    Raises:
        ConfigError: there is no such folder, or no picture in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(f"there is no folder of backgrounds '{folder}'; correct the path")
        self._files = picture_files(folder, deep=True)
        self._pictures: dict[int, np.ndarray] = {}

    def draw(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """A picture uint8 [height, width, 3], RGB.

        Raises:
            DataError: a file cannot be read as a picture; names it.
        """
        picture = self._picture(int(rng.integers(len(self._files))))
        tall, wide = picture.shape[:2]
        part = rng.uniform(0.5, 1.0) * min(tall / height, wide / width)
        high, across = max(int(part * height), 1), max(int(part * width), 1)
        top, left = rng.integers(tall - high + 1), rng.integers(wide - across + 1)
        cut = picture[top : top + high, left : left + across]
        cv2 = load_cv2()
        return cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA)

    def _picture(self, index: int) -> np.ndarray:
        if index not in self._pictures:
            if len(self._pictures) >= KEPT:
                self._pictures.pop(next(iter(self._pictures)))
            self._pictures[index] = read_picture(self._files[index])
        return self._pictures[index]


def backgrounds(folder: Path | None) -> Backgrounds:
    """Those of a folder, or made-up ones; raises as `FolderBackgrounds`."""
    return FolderBackgrounds(folder) if folder else ProceduralBackgrounds()


class PooledBackgrounds:
    """Backgrounds of another source, most of them seen before and mirrored or not: drawn faster.

    Args:
        source: where they come from.
        size: how many are kept.
    """

    def __init__(self, source: Backgrounds, size: int = 300) -> None:
        self._source, self._size = source, size
        self._pool: list[np.ndarray] = []

    def draw(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """A picture uint8 [height, width, 3], RGB; all calls ask for one size."""
        if len(self._pool) < self._size:
            self._pool.append(self._source.draw(rng, height, width))
            return self._pool[-1]
        index = int(rng.integers(self._size))
        if rng.random() < 0.1:
            self._pool[index] = self._source.draw(rng, height, width)
        return self._pool[index][:: rng.choice([1, -1]), :: rng.choice([1, -1])]


def put_behind(picture: np.ndarray, background: np.ndarray, is_background: np.ndarray) -> None:
    """Write a background into the pixels of a picture that show none of the scene."""
    np.copyto(picture, background, where=is_background[..., None])


def _colour(rng: np.random.Generator) -> np.ndarray:
    """RGB in 0 to 1; rooms are mostly grey and pale."""
    grey = rng.uniform(0.05, 1.0)
    return np.clip(grey + rng.normal(scale=rng.choice([0.03, 0.1, 0.3]), size=3), 0, 1)


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Float [height, width] in 0 to 1, rough at several scales."""
    cv2, total = load_cv2(), np.zeros((height, width), np.float32)
    for octave in range(1, 7):
        cells = rng.random((2**octave, 2**octave), np.float32)
        weight = 0.5**octave if octave < 4 else rng.uniform(0, 0.12)
        total += weight * cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    return (total - total.min()) / max(float(np.ptp(total)), 1e-6)


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    share = _noise(rng, height, width)[..., None]
    return _colour(rng) * share + _colour(rng) * (1 - share)


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Planks, tiles or a grid, at any angle."""
    angle, size = rng.uniform(0, np.pi), rng.uniform(6, 60)
    y, x = np.mgrid[:height, :width]
    along = (x * np.cos(angle) + y * np.sin(angle)) / size
    across = (y * np.cos(angle) - x * np.sin(angle)) / (size * rng.uniform(0.5, 3))
    odd = np.floor(along) % 2 if rng.random() < 0.5 else (np.floor(along) + np.floor(across)) % 2
    picture = np.where(odd[..., None] > 0, _colour(rng), _colour(rng))
    return picture * (0.7 + 0.3 * _noise(rng, height, width)[..., None])


def _shapes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Polygons on a gradient: walls, boards, boxes; some in the cube's own colours."""
    cv2 = load_cv2()
    share = np.linspace(0, 1, height)[:, None, None]
    picture = np.tile(_colour(rng) * share + _colour(rng) * (1 - share), (1, width, 1))
    picture = np.ascontiguousarray(picture)
    for _ in range(rng.integers(3, 14)):
        middle = rng.uniform(0, [width, height])
        spread = rng.normal(size=(rng.integers(3, 6), 2)) * rng.uniform(8, 80)
        points = (middle + spread).astype(np.int32)
        colour = _colour(rng) if rng.random() < 0.6 else rng.random(3)
        cv2.fillPoly(picture, [cv2.convexHull(points)], colour.tolist())
    return picture


def _add_lamps(picture: np.ndarray, rng: np.random.Generator) -> None:
    """Bright spots, as a camera that looks up sees them."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    for _ in range(rng.integers(1, 4)):
        at, size = rng.uniform(0, [width, height]), rng.uniform(5, 40)
        far = ((x - at[0]) ** 2 + (y - at[1]) ** 2) / size**2
        picture += (rng.uniform(0.3, 1.0) * np.exp(-(far**2)))[..., None]
