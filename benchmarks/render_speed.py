"""How long a picture takes, by backend, beside a control step of the same simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measuring import Row, Section, loops_for, measure
from softflow.envs.mujoco_loading import load_mujoco
from softflow.envs.painter import ScenePainter
from softflow.envs.registry import make_env
from softflow.envs.rendering import SceneRenderer

CAMERA = "agentview"
FRAME, STEP = "a frame", "a control step"


def run(
    turns: int, families: tuple[str, ...] = ("lift", "can", "square"), size: int = 84
) -> Section:
    """Rows for a control step and a frame of every family, and what else a frame could cost.

    The ratio says how many frames by OpenGL of the same family take as long.
    """
    rows = [row for family in families for row in _rows(family, turns, size)]
    return Section(f"Pictures of {size}x{size}", "times a frame", rows)


def _rows(family: str, turns: int, size: int) -> list[Row]:
    env = make_env(family)
    env.reset(seed=0)
    simulator: Any = env.unwrapped.simulator  # type: ignore[attr-defined]
    renderer = SceneRenderer(simulator.model, size, size, hidden_group=0)
    backend = renderer.settings({})
    action = np.zeros(len(env.neutral_action))
    variants: dict[str, Callable[[], Any]] = {
        STEP: lambda: simulator.step(action),
        FRAME: lambda: renderer.render(simulator.data, CAMERA),
    }
    if backend["backend"] == "opengl":
        painter, splendid = ScenePainter(simulator.model, size, size), _splendid(family, size)
        variants["… painted, without OpenGL"] = lambda: painter.render(simulator.data, CAMERA)
        variants["… with shadows, reflections, 4 samples"] = splendid
    loops = {name: loops_for(variant) for name, variant in variants.items()}
    timings = measure(variants, turns, loops=loops)
    renderer.close()
    env.close()
    notes = {FRAME: f"{backend['backend']}, {backend['driver']}"}
    return [
        Row(
            f"{family}: {name}",
            timings.ms(name),
            timings.ratio(name, FRAME),
            note=notes.get(name, ""),
        )
        for name in variants
    ]


def _splendid(family: str, size: int) -> Callable[[], Any]:
    """A frame as robosuite draws it: multisampling is the model's, so this is another one."""
    mujoco = load_mujoco()
    env = make_env(family)
    env.reset(seed=0)
    simulator: Any = env.unwrapped.simulator  # type: ignore[attr-defined]
    simulator.model.vis.quality.offsamples = 4
    renderer = mujoco.Renderer(simulator.model, size, size)

    def draw() -> np.ndarray:
        renderer.update_scene(simulator.data, camera=CAMERA)
        return renderer.render()

    return draw
