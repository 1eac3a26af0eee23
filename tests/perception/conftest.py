"""A small folder of renders, made once; skipped where there is no OpenGL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from softflow.envs.rendering import SceneRenderer
from softflow.perception.rendering import CubeRenderer, RenderPlan, render_folder
from softflow.utils.progress import SilentProgress


@pytest.fixture(scope="session")
def renderer() -> CubeRenderer:
    """Draws pictures with the hand of capsules, which needs no package and is fast."""
    found = CubeRenderer(RenderPlan(1, seed=0, hand="capsules"))
    scene: SceneRenderer = found._renderer
    scene.render(found.scene.data, "below")
    if scene.backend != "opengl":
        pytest.skip("no OpenGL on this machine")
    return found


@pytest.fixture(scope="session")
def renders_folder(renderer: CubeRenderer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures."""
    folder = tmp_path_factory.mktemp("renders") / "tiny"
    render_folder(RenderPlan(12, seed=0, hand="capsules"), folder, SilentProgress())
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
