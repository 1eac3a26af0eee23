"""Pictures of a MuJoCo scene without OpenGL: triangles, painted from far to near with PIL.

For machines where no OpenGL can be had; MuJoCo itself says what is to be seen (its abstract scene
needs no OpenGL). Detailed meshes are thinned out, light is Lambert's, shadows are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from softflow.envs.mujoco_loading import load_mujoco

mujoco = load_mujoco()

MAX_GEOMS = 2000
SUPERSAMPLING = 2
MESH_CELLS = 14
"""A mesh is thinned out to the corners of a grid with this many cells along its longest side."""
FLOOR_TILES = 20
SEGMENTS = 12
BACKGROUND_TOP, BACKGROUND_BOTTOM = np.array([0.15, 0.18, 0.25]), np.array([0.04, 0.05, 0.08])
AMBIENT, HEADLIGHT, SKYLIGHT = 0.35, 0.4, 0.3

_GEOM = mujoco.mjtGeom


@dataclass(frozen=True)
class _Triangles:
    """Triangles [n, 3, 3] with one colour each (RGB and opacity in [0, 1], [n, 4])."""

    corners: np.ndarray
    colours: np.ndarray


class ScenePainter:
    """Paints one model; `height` and `width` in pixels. Slower than OpenGL, needs nothing."""

    def __init__(self, model: Any, height: int, width: int) -> None:
        self._model, self._height, self._width = model, height, width
        self._scene = mujoco.MjvScene(model, maxgeom=MAX_GEOMS)
        self._shapes: dict[tuple[Any, ...], np.ndarray] = {}

    def render(self, data: Any, camera: str, options: Any = None) -> np.ndarray:
        """The picture that the model's camera of that name sees now, uint8 [H, W, 3].

        `options` (MjvOption) says what is shown; MuJoCo's own if None.
        """
        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = self._model.camera(camera).id
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        options = options or mujoco.MjvOption()
        mujoco.mjv_updateScene(self._model, data, options, None, view, everything, self._scene)
        floor, bodies = self._triangles()
        canvas = self._background()
        draw = ImageDraw.Draw(canvas, "RGBA")
        for triangles in (floor, bodies):
            self._paint(draw, triangles)
        return np.asarray(canvas.resize((self._width, self._height), Image.Resampling.BOX))

    def close(self) -> None:
        """Nothing to free."""

    def _background(self) -> Image.Image:
        rows = np.linspace(0.0, 1.0, self._height * SUPERSAMPLING)[:, None, None]
        shades = BACKGROUND_TOP + rows * (BACKGROUND_BOTTOM - BACKGROUND_TOP)
        picture = np.repeat(shades, self._width * SUPERSAMPLING, axis=1)
        return Image.fromarray((picture * 255).astype(np.uint8))

    def _triangles(self) -> tuple[_Triangles, _Triangles]:
        """The floor (painted first, all else stands on it) and everything else, world frame."""
        parts: tuple[list[Any], list[Any]] = ([], [])
        for geom in self._scene.geoms[: self._scene.ngeom]:
            local = self._shape(geom)
            if local is None or geom.rgba[3] <= 0.0:
                continue
            corners = local @ np.asarray(geom.mat, dtype=np.float64).T + geom.pos
            is_floor = geom.type == _GEOM.mjGEOM_PLANE
            colours = np.tile(np.asarray(geom.rgba, dtype=np.float64), (len(corners), 1))
            if is_floor:
                colours[:, :3] = _checker(len(corners))
            parts[0 if is_floor else 1].append((corners, colours))
        floor, bodies = (_joined(part) for part in parts)
        return floor, bodies

    def _shape(self, geom: Any) -> np.ndarray | None:
        """A geom's triangles [n, 3, 3] in its own frame, None for kinds that are not painted."""
        size = tuple(np.round(np.asarray(geom.size, dtype=np.float64), 5))
        key = (int(geom.type), int(geom.dataid), *size)
        if key not in self._shapes:
            made = self._make_shape(int(geom.type), int(geom.dataid), np.array(size))
            if made is None:
                return None
            self._shapes[key] = made
        return self._shapes[key]

    def _make_shape(self, kind: int, dataid: int, size: np.ndarray) -> np.ndarray | None:
        if kind == _GEOM.mjGEOM_MESH:
            # A scene numbers a mesh 2·id, and 2·id + 1 its convex hull.
            return _thinned_mesh(self._model, dataid // 2)
        if kind == _GEOM.mjGEOM_PLANE:
            half = np.where(size[:2] > 0.0, size[:2], 2.0)
            return _grid(FLOOR_TILES) * np.array([*half, 1.0])
        if kind == _GEOM.mjGEOM_BOX:
            return _box() * size
        if kind in (_GEOM.mjGEOM_SPHERE, _GEOM.mjGEOM_ELLIPSOID):
            return _turned(_arc(0.0)) * size
        if kind == _GEOM.mjGEOM_CYLINDER:
            half = size[2]
            return _turned([(0, -half), (size[0], -half), (size[0], half), (0, half)])
        if kind == _GEOM.mjGEOM_CAPSULE:
            return _turned([(r * size[0], z * size[0]) for r, z in _arc(size[2] / size[0])])
        return None

    def _paint(self, draw: ImageDraw.ImageDraw, triangles: _Triangles) -> None:
        pixels, depths, shades = self._project(triangles)
        for index in np.argsort(-depths):
            draw.polygon(pixels[index].ravel().tolist(), fill=tuple(shades[index]))

    def _project(self, triangles: _Triangles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels [n, 3, 2], depths [n] in m and RGBA [n, 4] in 0..255 of what faces the camera."""
        eye, right, up, forward, focal = self._camera()
        offsets = triangles.corners - eye
        depth = offsets @ forward
        normals = _normals(triangles.corners)
        facing = -np.einsum("ni,ni->n", normals, offsets.mean(axis=1))
        near = 0.01
        seen = (facing > 0.0) & (depth > near).all(axis=1)
        offsets, depth, normals = offsets[seen], depth[seen], normals[seen]
        x = offsets @ right / depth * focal + 0.5 * self._width
        y = -(offsets @ up) / depth * focal + 0.5 * self._height
        cosine = facing[seen] / np.linalg.norm(offsets.mean(axis=1), axis=1)
        light = AMBIENT + HEADLIGHT * cosine + SKYLIGHT * np.clip(normals[:, 2], 0.0, 1.0)
        rgba = triangles.colours[seen].copy()
        rgba[:, :3] *= light[:, None]
        shades = (np.clip(rgba, 0.0, 1.0) * 255).astype(int)
        return np.stack([x, y], axis=-1) * SUPERSAMPLING, depth.mean(axis=1), shades

    def _camera(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
        left_eye, right_eye = self._scene.camera[0], self._scene.camera[1]
        eye = 0.5 * (np.asarray(left_eye.pos, float) + np.asarray(right_eye.pos, float))
        forward, up = np.asarray(left_eye.forward, float), np.asarray(left_eye.up, float)
        half_height = 0.5 * (left_eye.frustum_top - left_eye.frustum_bottom)
        focal = 0.5 * self._height * left_eye.frustum_near / half_height
        return eye, np.cross(forward, up), up, forward, float(focal)


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> _Triangles:
    if not parts:
        return _Triangles(np.zeros((0, 3, 3)), np.zeros((0, 4)))
    corners, colours = zip(*parts, strict=True)
    return _Triangles(np.concatenate(corners), np.concatenate(colours))


def _normals(corners: np.ndarray) -> np.ndarray:
    """Unit normals [n, 3] of triangles whose corners run anticlockwise seen from outside."""
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-12)


def _thinned_mesh(model: Any, mesh: int) -> np.ndarray:
    """Triangles [n, 3, 3] of a mesh, its vertices moved to the nearest corner of a coarse grid."""
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    vertices = np.asarray(model.mesh_vert[first : first + count], dtype=np.float64)
    first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    faces = np.asarray(model.mesh_face[first : first + count])
    low = vertices.min(axis=0)
    cell = (vertices.max(axis=0) - low).max() / MESH_CELLS
    cells = np.round((vertices - low) / cell).astype(int)
    _, group = np.unique(cells, axis=0, return_inverse=True)
    group = group.ravel()
    # A group's vertices move to their mean: smoother than the grid itself.
    sums = np.stack([np.bincount(group, weights=vertices[:, k]) for k in range(3)], axis=1)
    centres = sums / np.bincount(group)[:, None]
    merged = group[faces]
    a, b, c = merged.T
    kept = np.unique(merged[(a != b) & (b != c) & (a != c)], axis=0)
    return centres[kept]


def _box() -> np.ndarray:
    """The cube [-1, 1]³ as 12 triangles."""
    quads = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            corners = np.zeros((4, 3))
            corners[:, axis] = sign
            corners[:, (axis + 1) % 3] = np.array([-1, 1, 1, -1]) * sign
            corners[:, (axis + 2) % 3] = [-1, -1, 1, 1]
            quads.append(corners)
    return _split(np.array(quads))


def _split(quads: np.ndarray) -> np.ndarray:
    """Quadrilaterals [n, 4, 3] to triangles [2n, 3, 3]; the two of one quad stand together."""
    return np.stack([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]], axis=1).reshape(-1, 3, 3)


def _grid(tiles: int) -> np.ndarray:
    """The square [-1, 1]² in the plane z = 0, facing up, in tiles."""
    edges = np.linspace(-1.0, 1.0, tiles + 1)
    x, y = np.meshgrid(edges[:-1], edges[:-1], indexing="ij")
    low = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 1, 3)
    step = edges[1] - edges[0]
    return _split(low + step * np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]))


def _checker(num_triangles: int) -> np.ndarray:
    """Floor colours [n, 3] in the order of `_grid`: a quiet chequerboard."""
    row, column = np.divmod(np.arange(num_triangles) // 2, FLOOR_TILES)
    dark, light = np.array([0.10, 0.13, 0.19]), np.array([0.17, 0.20, 0.28])
    return np.where(((row + column) % 2)[:, None] == 0, dark, light)


def _arc(half_length: float) -> list[tuple[float, float]]:
    """Outline (radius, z) of a unit sphere cut in half, its halves moved apart."""
    angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, SEGMENTS // 2 * 2)
    return [(np.cos(t), np.sin(t) + np.copysign(half_length, t)) for t in angles]


def _turned(outline: list[tuple[float, float]]) -> np.ndarray:
    """The surface that an outline of (radius, z), from below to above, makes around the z axis."""
    radius, z = np.array(outline, dtype=np.float64).T
    angles = np.linspace(0.0, 2.0 * np.pi, SEGMENTS + 1)
    points = np.stack(
        [
            radius[:, None] * np.cos(angles),
            radius[:, None] * np.sin(angles),
            np.broadcast_to(z[:, None], (len(z), len(angles))),
        ],
        axis=-1,
    )
    a, b, c, d = points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]
    return _split(np.stack([a, b, c, d], axis=2).reshape(-1, 4, 3))
