"""Renders a folder of pictures: `softflow cube-pose render`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from softflow.envs.rendering import SceneRenderer
from softflow.errors import ConfigError
from softflow.perception.camera import Calibration
from softflow.perception.cube_model import CubeModel
from softflow.perception.renders import Render, RendersRecord, part_path, write_part, write_record
from softflow.perception.scene.backgrounds import Backgrounds, backgrounds, put_behind
from softflow.perception.scene.cube_scene import CAMERA, CubeScene
from softflow.perception.scene.hand import CONTACT_GROUP, HandKind, make_hand
from softflow.perception.scene.labels import BACKGROUND, Labels, label
from softflow.perception.scene.randomising import (
    Variation,
    draw_camera,
    draw_colours,
    draw_grasp,
    draw_light,
)
from softflow.utils.progress import ProgressReporter

HEIGHT, WIDTH = 240, 320
"""App. B2: input images are resized to 240 x 320."""
PART_SIZE = 200
MAX_PICTURES = 10_000_000


@dataclass(frozen=True)
class RenderPlan:
    """What to render.

    Attributes:
        count: pictures.
        seed: of everything that is random; held-out pictures have another one.
        hand: which hand holds the cube.
        cube: the cube.
        variation: how far pictures differ.
        backgrounds: folder of pictures for behind the hand; None makes them up.

    Raises:
        ConfigError: a number outside of its bounds.
    """

    count: int
    seed: int = 0
    hand: HandKind | Literal["auto"] = "auto"
    cube: CubeModel = field(default_factory=CubeModel)
    variation: Variation = field(default_factory=Variation)
    backgrounds: Path | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_PICTURES:
            raise ConfigError(f"--count is {self.count}; give 1 to {MAX_PICTURES:,} pictures")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed is {self.seed}; give 0 to 2^32 - 1")


class CubeRenderer:
    """Draws pictures with their labels, one after the other.

    Args:
        plan: what to render; its `count` is not looked at.

    Raises:
        MissingPackageError: the hand's model, MuJoCo's OpenGL or OpenCV is missing.
    """

    def __init__(self, plan: RenderPlan) -> None:
        self._plan = plan
        looks = np.random.default_rng([plan.seed, 1])
        self.scene = CubeScene(make_hand(plan.hand), plan.cube, looks)
        self._renderer = SceneRenderer(self.scene.model, HEIGHT, WIDTH, CONTACT_GROUP)
        self._behind: Backgrounds = backgrounds(plan.backgrounds)

    def draw(self, rng: np.random.Generator) -> Render:
        """A new picture: another grasp, camera, light, other colours, another background."""
        scene = self.scene
        draw_grasp(scene, rng, self._plan.variation)
        camera = draw_camera(scene, rng, self._plan.variation, HEIGHT, WIDTH)
        draw_light(scene, rng)
        draw_colours(scene, rng)
        scene.update()
        picture, labels = self.shown(camera, self.background(rng))
        return Render(picture, labels, camera)

    def background(self, rng: np.random.Generator) -> np.ndarray:
        """Something to put behind the hand, uint8 [H, W, 3]."""
        return self._behind.draw(rng, HEIGHT, WIDTH)

    def shown(self, camera: Calibration, background: np.ndarray) -> tuple[np.ndarray, Labels]:
        """The scene as it was updated last, before a background, and its labels."""
        picture = self._renderer.render(self.scene.data, CAMERA).copy()
        labels = label(self.scene, self._renderer.geom_ids(self.scene.data, CAMERA), camera)
        put_behind(picture, background, labels.segments == BACKGROUND)
        return picture, labels

    def close(self) -> None:
        """Free the OpenGL context."""
        self._renderer.close()


def render_folder(plan: RenderPlan, folder: Path, progress: ProgressReporter) -> int:
    """Render what a folder lacks; the number of pictures made now.

    Raises:
        DataError: it holds pictures made otherwise.
        StoreError: the system refuses to write.
    """
    renderer = CubeRenderer(plan)
    try:
        settings = {
            "seed": plan.seed,
            "hand": renderer.scene.hand_kind,
            "variation": _plain(asdict(plan.variation)),
            "backgrounds": str(plan.backgrounds or "procedural"),
        }
        write_record(folder, RendersRecord(HEIGHT, WIDTH, PART_SIZE, plan.cube, settings))
        made = 0
        progress.begin("render", plan.count)
        for number, size in _parts(plan.count):
            path = part_path(folder, number)
            if not path.exists():
                rng = np.random.default_rng([plan.seed, 0, number])
                write_part(path, [renderer.draw(rng) for _ in range(size)])
                made += size
            progress.advance(min((number + 1) * PART_SIZE, plan.count))
        return made
    finally:
        renderer.close()


def _parts(count: int) -> Iterator[tuple[int, int]]:
    """Number and size of each part; the last may be smaller."""
    for number in range(-(-count // PART_SIZE)):
        yield number, min(PART_SIZE, count - number * PART_SIZE)


def _plain(value: dict[str, object]) -> dict[str, object]:
    """Tuples as JSON gives them back."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in value.items()}
