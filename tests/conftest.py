"""Settings shared by all tests, where real recordings lie, and a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook
from PIL import Image

# Before anything imports them. In tests, and nowhere else, every call is held to its annotations:
# shapes by their letters, everything else by its type.
install_import_hook(
    ["softflow.models", "softflow.sampling", "softflow.training"], "shape_checker.check_types"
)

pytest_plugins = ["toy_episodes", "strangers"]

# Tests run in several processes; more threads than cores only slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run, and no failure because a machine was busy.
settings.register_profile("softflow", derandomize=True, deadline=None, database=None)
settings.load_profile("softflow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of slow tests first: the last ones to start decide when the workers are done."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    total = Counter(item.path for item in items)
    items.sort(key=lambda item: -slow[item.path] / total[item.path])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    path = Path(os.environ.get("SOFTFLOW_SHARED_DATA", default))
    if not path.is_dir():
        pytest.skip(f"no real recordings at {path}; set SOFTFLOW_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def tiny_imitation() -> list[str]:
    """Options of `softflow train small` for three updates of a very small policy."""
    words = (
        "--stages imitation --imitation.num-updates 3 --imitation.batch-size 8 "
        "--model.policy.num-layers 2 --model.policy.dim 16 --model.policy.mlp-dim 16 "
        "--model.policy.head-hidden-dim 16 --model.encoder.token-dim 16 "
        "--model.encoder.hidden-dim 16 --model.critic.dim 16 --model.critic.mlp-dim 16 "
        "--model.chunk.chunk-length 4 --model.chunk.execution-horizon 4"
    )
    return list[str](words.split())


Colours = set[object]
ColoursOf = Callable[[Path, int, float], Colours]


@pytest.fixture
def colours_in_a_browser(tmp_path: Path) -> ColoursOf:
    """`colours_in_a_browser(page, height, timeout_s)`: RGB colours that a real browser draws."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine (apt install chromium)")

    def colours_of(page: Path, height: int, timeout_s: float) -> Colours:
        picture = tmp_path / "page.png"
        arguments = "--headless --no-sandbox --disable-gpu --disable-background-networking"
        subprocess.run(
            [
                browser,
                *arguments.split(),
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--window-size=1280,{height}",
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=timeout_s,
        )
        with Image.open(picture) as image:
            return {colour for _, colour in image.convert("RGB").getcolors(2**24) or []}

    return colours_of
