"""The real `lerobot` in a small virtual environment of its own, beside the one of softflow.

    python tests/support/lerobot_environment.py      makes .venv-lerobot, once

LeRobot's dependencies contradict ours (torch < 2.11, PyAV < 16, …) and weigh gigabytes. Its
datasets need few of them, and work with our newer torch, torchvision and PyAV: these are borrowed
from the environment that runs this file, through a .pth file, and only the rest is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".venv-lerobot"
REQUIREMENTS = Path(__file__).with_name("lerobot_requirements.txt")
STAMP = FOLDER / ".installed"
FFMPEG = FOLDER / "ffmpeg"


def problem() -> str:
    """Why the environment cannot be used; empty when it can."""
    if not STAMP.exists():
        return f"no {FOLDER.name}; make it with `python tests/support/lerobot_environment.py`"
    if STAMP.read_text() != _identity():
        return f"{FOLDER.name} is of other requirements; make it again"
    return ""


def run(*arguments: str | os.PathLike[str]) -> None:
    """Run a Python file of this folder with lerobot, with no access to any hub.

    Raises:
        AssertionError: it failed; says what it printed.
    """
    variables = {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(FOLDER / "cache"),
        "LD_LIBRARY_PATH": str(FFMPEG),
        "OMP_NUM_THREADS": "1",
    }
    command = [str(FOLDER / "bin" / "python"), "-W", "ignore", *map(str, arguments)]
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
    """Make the environment anew; an interrupted attempt is started over."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    python = FOLDER / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
    ours = Path(sysconfig.get_paths()["purelib"])
    theirs = next((FOLDER / "lib").glob("python*/site-packages"))
    (theirs / "borrowed.pth").write_text(f"{ours}\n")
    _link_ffmpeg(ours / "av.libs")
    STAMP.write_text(_identity())


def _link_ffmpeg(libraries: Path) -> None:
    """PyAV's FFmpeg libraries under the names by which torchcodec looks for them."""
    FFMPEG.mkdir()
    for library in libraries.glob("lib*.so.*"):
        if match := re.match(r"(lib(?:av|sw)\w+)-\w+(\.so\.\d+)", library.name):
            (FFMPEG / "".join(match.groups())).symlink_to(library)


def _identity() -> str:
    """What the environment was made of."""
    return f"{sys.version}\n{sysconfig.get_paths()['purelib']}\n{REQUIREMENTS.read_text()}"


if __name__ == "__main__":
    if problem():
        print(f"installing lerobot into {FOLDER.name} (once; half a minute)", flush=True)
        make()
