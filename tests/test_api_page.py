"""docs/api.md and README are programs: their blocks run, in their order, in an empty folder."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from point_world import PointWorld

from softflow.envs import registry

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
TRAINED = ROOT / "tests/training/fixtures/v0_1/run"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text())


class Robot:
    """The point world as a robot's driver."""

    def __init__(self) -> None:
        self._env, self.actions, self._over = PointWorld(), [], False
        self._observation = self._env.reset(seed=0)[0]

    def is_done(self) -> bool:
        return self._over

    def observe(self) -> dict[str, np.ndarray]:
        return self._observation

    def command(self, action: np.ndarray) -> None:
        self.actions.append(action)
        self._observation, _, terminated, truncated, _ = self._env.step(action)
        self._over = terminated or truncated


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_five_lines_act(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [block] = [block for block in blocks_of(ROOT / page) if "runs/my_task" in block]
    shutil.copytree(TRAINED, tmp_path / "runs/my_task", symlinks=True)
    monkeypatch.chdir(tmp_path)
    assert len([line for line in block.splitlines() if line]) == 5
    robot = Robot()
    exec(compile(block, page, "exec"), {"robot": robot})
    assert robot.is_done()
    assert np.isfinite(robot.actions).all()


@pytest.mark.slow
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    first, task, *rest = blocks_of(PAGE)
    assert "runs/my_task" in first
    (tmp_path / "slide.py").write_text(task)
    namespace: dict[str, object] = {"__name__": "api_page"}
    for block in rest:
        exec(compile(block, str(PAGE), "exec"), namespace)
    sys.modules.pop("slide")
    said = capsys.readouterr().out
    assert "20 episodes" in said
    assert "SelectionConfig(num_candidates=" in said
    assert re.search(r"with -?[\d.]+ nats", said)
    assert "observation.state[1] (target) is 57.3, and lay in" in said
