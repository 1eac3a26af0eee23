"""How a cube stands, from its quaternion (w, x, y, z): its yaw, its tilt, its spin."""

from __future__ import annotations

import numpy as np


def yaw_quat(yaw: float) -> np.ndarray:
    """The rotation by `yaw` rad about the vertical, quat_wxyz [4]."""
    return np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])


def matrices(quat_wxyz: np.ndarray) -> np.ndarray:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4] of any length but 0."""
    w, x, y, z = np.moveaxis(quat_wxyz / np.linalg.norm(quat_wxyz, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Quaternions [..., 4] of `left` after `right`."""
    a, b, c, d = np.moveaxis(left, -1, 0)
    e, f, g, h = np.moveaxis(right, -1, 0)
    parts = [
        a * e - b * f - c * g - d * h,
        a * f + b * e + c * h - d * g,
        a * g - b * h + c * e + d * f,
        a * h + b * g - c * f + d * e,
    ]
    return np.stack(parts, axis=-1)


def small_rotation(vector: np.ndarray) -> np.ndarray:
    """Quaternions [..., 4] of rotation vectors [..., 3], rad."""
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    # sin(x/2)/x at 0 is 1/2.
    scale = 0.5 * np.sinc(angle / (2 * np.pi))
    return np.concatenate([np.cos(angle / 2), scale * vector], axis=-1)


def up_axes(rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of rotations [..., 3, 3]: the cube's axis that points up most [..., 3], and which it is.

    A cube looks the same from six sides: "upright" is whichever face happens to be on top. The
    number is that of the axis, 0 to 2.
    """
    vertical = rotation[..., 2, :]
    which = np.abs(vertical).argmax(axis=-1)
    axis = np.take_along_axis(rotation, which[..., None, None], axis=-1)[..., 0]
    sign = np.sign(np.take_along_axis(vertical, which[..., None], axis=-1))
    return axis * sign, which


def tilt_of(quat_wxyz: np.ndarray) -> np.ndarray:
    """How far a cube leans [...], rad: the angle between the vertical and its nearest axis."""
    up, _ = up_axes(matrices(quat_wxyz))
    return np.arccos(np.clip(up[..., 2], -1.0, 1.0))


def quarter_yaw(quat_wxyz: np.ndarray) -> np.ndarray:
    """The yaw of a cube's sides [...] in [-pi/4, pi/4), rad: all a cube of one colour shows."""
    rotation = matrices(quat_wxyz)
    _, which = up_axes(rotation)
    # Of the axes beside the vertical one, any: they are quarter turns apart.
    beside = np.take_along_axis(rotation, ((which + 1) % 3)[..., None, None], axis=-1)[..., 0]
    yaw = np.arctan2(beside[..., 1], beside[..., 0])
    return (yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4


def vertical_turn(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far cubes turned about the vertical between two quaternions [..., 4], rad.

    The z component of the rotation vector between them: rotations about other axes, tumbling
    included, count with their vertical part alone.
    """
    relative = product(after, before * np.array([1.0, -1.0, -1.0, -1.0]))
    relative = relative * np.where(relative[..., :1] < 0, -1.0, 1.0)
    sine = np.linalg.norm(relative[..., 1:], axis=-1)
    angle = 2 * np.arctan2(sine, relative[..., 0])
    return np.where(sine > 1e-9, relative[..., 3] / np.maximum(sine, 1e-9) * angle, 0.0)
