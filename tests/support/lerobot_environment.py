"""The real `lerobot` in a small virtual environment of its own, beside the one of softflow.

    python tests/support/lerobot_environment.py      makes .venv-lerobot, once

LeRobot's dependencies contradict ours (torch < 2.11, PyAV < 16, …) and weigh gigabytes. Its
datasets need few of them, and work with our newer torch, torchvision and PyAV: these are borrowed
from the environment that runs this file, through a .pth file, and only the rest is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from own_environment import OURS, OwnEnvironment

REQUIREMENTS = Path(__file__).with_name("lerobot_requirements.txt")
REQUIREMENTS_BEFORE = REQUIREMENTS.with_name("lerobot_v21_requirements.txt")
MADE_OF = REQUIREMENTS.read_text() + REQUIREMENTS_BEFORE.read_text()
ENVIRONMENT = OwnEnvironment(".venv-lerobot", "lerobot_environment.py", MADE_OF)
FOLDER = ENVIRONMENT.folder
FFMPEG = FOLDER / "ffmpeg"
BEFORE = FOLDER / "v2.1"
"""The last lerobot that reads and writes v2.1, as openpi does, with what else must be older."""


def run(*arguments: str | os.PathLike[str], v21: bool = False) -> None:
    """Run a Python file of this folder with lerobot, with no access to any hub.

    Args:
        arguments: the file, and what it is told.
        v21: with the last lerobot of v2.1.

    Raises:
        AssertionError: it failed; says what it printed.
    """
    variables = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(FOLDER / "cache"),
        "LD_LIBRARY_PATH": str(FFMPEG),
        "OMP_NUM_THREADS": "1",
        **({"PYTHONPATH": str(BEFORE)} if v21 else {}),
    }
    command = [str(ENVIRONMENT.python), "-W", "ignore", *map(str, arguments)]
    result = subprocess.run(
        command,
        env={**os.environ, **variables},
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"


def make() -> None:
    """Make the environment anew."""
    ENVIRONMENT.begin("--no-deps", "-r", str(REQUIREMENTS), borrowed=[OURS])
    ENVIRONMENT.install("--target", str(BEFORE), "--no-deps", "-r", str(REQUIREMENTS_BEFORE))
    _link_ffmpeg(OURS / "av.libs")
    ENVIRONMENT.finish()


def _link_ffmpeg(libraries: Path) -> None:
    """PyAV's FFmpeg libraries under the names by which torchcodec looks for them."""
    FFMPEG.mkdir()
    for library in libraries.glob("lib*.so.*"):
        if match := re.match(r"(lib(?:av|sw)\w+)-\w+(\.so\.\d+)", library.name):
            (FFMPEG / "".join(match.groups())).symlink_to(library)


if __name__ == "__main__":
    if ENVIRONMENT.problem():
        print(f"installing lerobot into {FOLDER.name} (once; half a minute)", flush=True)
        make()
