"""The cube: its size, the colours of its faces, its corners, and the rotations it looks alike in.

Corners and faces are in the cube's own frame, whose origin is its centre.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softflow.errors import ConfigError
from softflow.robot.toml_file import read_toml

SIDE_M = 0.045
"""App. B4: a 45 mm cube."""
CORNER_SIGNS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
"""[8, 3]: corner i lies at these signs times half a side; x changes slowest."""
NUM_CORNERS = len(CORNER_SIGNS)
FACE_NAMES = ("+x", "-x", "+y", "-y", "+z", "-z")
FACE_NORMALS = np.array(
    [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float
)
EDGES = tuple(
    (i, j)
    for i, j in itertools.combinations(range(NUM_CORNERS), 2)
    if np.abs(CORNER_SIGNS[i] - CORNER_SIGNS[j]).sum() == 2
)
"""The 12 pairs of corners that an edge joins."""


def _around(face: int) -> list[int]:
    """Corners of a face against the clock's sense, seen from outside."""
    normal = FACE_NORMALS[face]
    right = np.roll(normal, 1) * np.sign(normal.sum())
    up = np.cross(normal, right)
    ways = [right + up, up - right, -right - up, right - up]
    return [int(np.argmax(CORNER_SIGNS @ (normal + way))) for way in ways]


FACE_CORNERS = np.array([_around(face) for face in range(len(FACE_NAMES))])
"""[6, 4]: corners of each face, against the clock's sense for who looks at it."""

Colour = tuple[float, float, float]
# Opposite faces have opposite hues: a half turn changes what is seen as much as anything can.
FACE_COLOURS: tuple[Colour, ...] = (
    (0.85, 0.10, 0.10),
    (0.10, 0.75, 0.80),
    (0.12, 0.62, 0.15),
    (0.80, 0.20, 0.70),
    (0.12, 0.25, 0.85),
    (0.95, 0.80, 0.10),
)
"""Red, cyan, green, magenta, blue, yellow; RGB within 0 to 1, in the order of `FACE_NAMES`."""


@dataclass(frozen=True)
class CubeModel:
    """A cube of one's own.

    Attributes:
        side_m: its side, metres.
        face_colours: RGB within 0 to 1 of the faces in the order of `FACE_NAMES`.

    Raises:
        ConfigError: a side that is none, not six colours, or two faces of one colour.
    """

    side_m: float = SIDE_M
    face_colours: Sequence[Colour] = FACE_COLOURS

    def __post_init__(self) -> None:
        if not 0.001 <= self.side_m <= 1.0:
            raise ConfigError(f"the cube's side_m is {self.side_m}; give metres, 0.001 to 1")
        colours = np.asarray(self.face_colours, np.float64)
        if colours.shape != (6, 3) or not ((colours >= 0) & (colours <= 1)).all():
            raise ConfigError(
                f"the cube's face_colours are {self.face_colours!r:.200}; give six of three "
                f"numbers within 0 to 1, of the faces {', '.join(FACE_NAMES)}"
            )
        object.__setattr__(self, "face_colours", tuple(map(tuple, colours.tolist())))
        for one, two in itertools.combinations(range(6), 2):
            if np.abs(colours[one] - colours[two]).max() < 0.1:
                raise ConfigError(
                    f"the cube's faces {FACE_NAMES[one]} and {FACE_NAMES[two]} have one colour, "
                    f"{self.face_colours[one]}; which is which could not be told: change one"
                )

    @property
    def corners_m(self) -> np.ndarray:
        """[8, 3], in the cube's frame."""
        return CORNER_SIGNS * (0.5 * self.side_m)

    def to_json(self) -> dict[str, Any]:
        """For checkpoints and folders of renders."""
        return {"side_m": self.side_m, "face_colours": [list(c) for c in self.face_colours]}


def read_cube(path: Path | None) -> CubeModel:
    """The cube in a TOML file with `side_m` and `face_colours`, or the standard one.

    Raises:
        ConfigError: a field is unknown or unusable.
        StoreError: no such file, or no TOML.
    """
    return read_toml(path, CubeModel, "the cube", "docs/cube_pose.md") if path else CubeModel()


def cube_rotations() -> np.ndarray:
    """The 24 rotations [24, 3, 3] that map a cube of one colour onto itself; the first is none."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if np.linalg.det(matrix) > 0:
                found.append(matrix)
    return np.array(found)


def face_samples_m(face: int, side_m: float, count: int, inner: float) -> np.ndarray:
    """Points [count^2, 3] evenly over the inner part of a face, in the cube's frame."""
    steps = np.linspace(-inner, inner, count)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    axis = face // 2
    return np.insert(grid, axis, FACE_NORMALS[face, axis], axis=1) * (0.5 * side_m)


ROTATIONS = cube_rotations()
CORNER_AFTER = np.array(
    [[int(np.argmax(CORNER_SIGNS @ (r @ corner))) for corner in CORNER_SIGNS] for r in ROTATIONS]
)
"""[24, 8]: whose place each corner takes once the cube is turned."""
FACE_AFTER = np.array(
    [[int(np.argmax(FACE_NORMALS @ r.T @ normal)) for normal in FACE_NORMALS] for r in ROTATIONS]
)
"""[24, 6]: the face that looks where each face looked, once the cube is turned."""


def faces_of_corner() -> np.ndarray:
    """bool [8, 6]: whether a corner lies on a face."""
    return CORNER_SIGNS @ FACE_NORMALS.T > 0


def seen_faces(rotation: np.ndarray, position_m: np.ndarray, side_m: float) -> np.ndarray:
    """bool [6]: whether a face looks at the camera, whose frame the pose is in."""
    normals = FACE_NORMALS @ rotation.T
    centres = 0.5 * side_m * normals + position_m
    return np.einsum("ij,ij->i", normals, centres) < 0
