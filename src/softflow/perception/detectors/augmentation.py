"""Rendered pictures made to look like others (App. B2), labels along with them.

The paper's list: cropping (scale .7 to 1), rotation of 10 degrees with stretching, blur, noise,
occlusion, another background; in its Fig. 9 also colour jitter and motion blur. How strong the ones
without numbers are is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from softflow.errors import ConfigError
from softflow.perception.packages import load_cv2
from softflow.perception.renders import Render
from softflow.perception.scene.backgrounds import Backgrounds, put_behind
from softflow.perception.scene.labels import BACKGROUND, CUBE, HAND

_NOISE = np.random.default_rng(0).standard_normal(2**20, np.float32)
"""Drawn once: a part that starts anywhere in it is as good as new, and a hundred times cheaper."""


@dataclass(frozen=True)
class Augmentation:
    """How far training pictures are changed.

    Attributes:
        crop: smallest part of a picture that is cropped and enlarged.
        rotation_deg: most that it is turned.
        stretch: most that its sides are stretched against each other.
        background: share of pictures that get another background.
        occlusion: share of pictures in which something is put before the cube.
        blur: share that is blurred, as out of focus or in motion.
        noise: most standard deviation of noise, of 255.
        colour: most relative change of brightness, contrast and saturation.
        hue_deg: most turn of all hues; faces are told apart by theirs.

    Raises:
        ConfigError: a crop outside of .1 to 1, or a share outside of 0 to 1.
    """

    crop: float = 0.7
    rotation_deg: float = 10.0
    stretch: float = 0.1
    background: float = 0.5
    occlusion: float = 0.5
    blur: float = 0.4
    noise: float = 12.0
    colour: float = 0.3
    hue_deg: float = 8.0

    def __post_init__(self) -> None:
        if not 0.1 <= self.crop <= 1.0:
            raise ConfigError(f"augmentation.crop is {self.crop}; give .1 to 1")
        for name in ("background", "occlusion", "blur"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"augmentation.{name} is {getattr(self, name)}; give 0 to 1")


def augmented(
    render: Render, rng: np.random.Generator, plan: Augmentation, behind: Backgrounds
) -> Render:
    """A picture changed at random; its pose and camera are those of the original, hence void.

    Args:
        render: whose arrays are written into.
        rng: draws everything.
        plan: how far.
        behind: where backgrounds come from.
    """
    picture, labels = render.picture, render.labels
    height, width = picture.shape[:2]
    if rng.random() < plan.background:
        new = behind.draw(rng, height, width)
        put_behind(picture, new, labels.segments == BACKGROUND)
    if rng.random() < plan.occlusion:
        render = occluded(render, rng)
    render = _moved(render, rng, plan)
    return replace(render, picture=_recoloured(_blurred(render.picture, rng, plan), rng, plan))


def occluded(render: Render, rng: np.random.Generator) -> Render:
    """The same with one to three rods, patches or blobs around the cube; corners behind are hidden.

    Args:
        render: whose picture and segments are written into.
        rng: draws them.
    """
    cv2, labels = load_cv2(), render.labels
    left, top, right, bottom = labels.box if labels.present else (60, 60, 200, 180)
    size = max(right - left, bottom - top, 10.0)
    covers = np.zeros(labels.segments.shape, np.uint8)
    for _ in range(rng.integers(1, 4)):
        at = np.array([rng.uniform(left, right), rng.uniform(top, bottom)])
        kind, wide = rng.integers(3), size * rng.uniform(0.1, 0.25)
        if kind == 0:
            way = rng.normal(size=2)
            end = at + way / np.linalg.norm(way) * size * rng.uniform(0.5, 1.5)
            cv2.line(covers, _pixel(at), _pixel(end), 1, max(int(2 * wide), 2))
        elif kind == 1:
            axes = (max(int(wide), 1), max(int(wide * rng.uniform(0.5, 1.5)), 1))
            cv2.ellipse(covers, _pixel(at), axes, rng.uniform(0, 180), 0, 360, 1, -1)
        else:
            points = (at + rng.normal(size=(5, 2)) * wide).astype(np.int32)
            cv2.fillPoly(covers, [cv2.convexHull(points)], 1)
    hides = covers > 0
    render.picture[hides] = np.broadcast_to(_paint(rng, hides.shape[1]), render.picture.shape)[
        hides
    ]
    labels.segments[hides] = HAND
    x, y = np.rint(labels.corners).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < hides.shape[1]) & (y < hides.shape[0])
    hidden = inside & hides[np.clip(y, 0, len(hides) - 1), np.clip(x, 0, hides.shape[1] - 1)]
    return replace(render, labels=replace(labels, visible=labels.visible & ~hidden))


def _paint(rng: np.random.Generator, width: int) -> np.ndarray:
    """A colour with stripes of light, uint8 [width, 3]."""
    colour = rng.uniform(0, 255) + rng.normal(scale=rng.choice([5, 50]), size=3)
    shade = 1.0 + 0.3 * rng.random() * np.sin(np.arange(width) / rng.uniform(2, 30))
    return np.clip(colour * shade[:, None], 0, 255).astype(np.uint8)


def _pixel(point: np.ndarray) -> tuple[int, int]:
    return int(point[0]), int(point[1])


def _moved(render: Render, rng: np.random.Generator, plan: Augmentation) -> Render:
    """Cropped, turned and stretched in one go."""
    cv2, labels = load_cv2(), render.labels
    height, width = render.picture.shape[:2]
    share = rng.uniform(plan.crop, 1.0)
    angle = np.deg2rad(rng.uniform(-plan.rotation_deg, plan.rotation_deg))
    stretch = 1.0 + rng.uniform(-plan.stretch, plan.stretch)
    cos, sin = np.cos(angle), np.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([stretch, 1 / stretch]) / share
    middle = np.array([width - 1, height - 1]) / 2
    seen = middle + (1 - share) * rng.uniform(-1, 1, size=2) * middle
    affine = np.concatenate([linear, (middle - linear @ seen)[:, None]], axis=1)
    size = (width, height)
    # Beyond the edge the picture is reflected, the cube's labels are not.
    border, flags = cv2.BORDER_REFLECT_101, cv2.INTER_LINEAR
    picture = cv2.warpAffine(render.picture, affine, size, flags=flags, borderMode=border)
    segments = cv2.warpAffine(labels.segments, affine, size, flags=cv2.INTER_NEAREST)
    corners = labels.corners @ linear.T + affine[:, 2]
    inside = ((corners > -0.5) & (corners < np.array(size) - 0.5)).all(axis=1)
    if labels.present and not (segments == CUBE).any():
        labels = replace(labels, present=False)
    moved = replace(labels, segments=segments, corners=corners, visible=labels.visible & inside)
    return replace(render, picture=picture, labels=moved)


def _blurred(picture: np.ndarray, rng: np.random.Generator, plan: Augmentation) -> np.ndarray:
    cv2 = load_cv2()
    if rng.random() >= plan.blur:
        return picture
    if rng.random() < 0.5:
        return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.4))
    length = int(rng.integers(2, 7))
    kernel = np.zeros((length, length), np.float32)
    ends = rng.integers(0, length, size=(2, 2))
    cv2.line(kernel, _pixel(ends[0]), _pixel(ends[1]), 1.0)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())


def _recoloured(picture: np.ndarray, rng: np.random.Generator, plan: Augmentation) -> np.ndarray:
    """Brightness, contrast, saturation, hue; then noise."""
    cv2 = load_cv2()
    bright, strong, contrast = 1.0 + plan.colour * rng.uniform(-1, 1, size=3)
    linear = bright * contrast * _hue_matrix(rng, plan, strong)
    middle = bright * np.mean(cv2.mean(picture)[:3]) * (1 - contrast)
    mixed = cv2.transform(picture, np.concatenate([linear, np.full((3, 1), middle)], axis=1))
    start = rng.integers(_NOISE.size - picture.size)
    noise = _NOISE[start : start + picture.size] * np.float32(rng.uniform(0, plan.noise))
    return cv2.add(mixed, noise.astype(np.int16).reshape(picture.shape), dtype=cv2.CV_8U)


def _hue_matrix(rng: np.random.Generator, plan: Augmentation, saturation: float) -> np.ndarray:
    """[3, 3], from the left of RGB: hues turned about grey, and their strength."""
    grey = np.full((3, 3), 1 / 3)
    angle = np.deg2rad(rng.uniform(-plan.hue_deg, plan.hue_deg))
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = grey + np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * cross
    return grey + saturation * (turn - grey)
