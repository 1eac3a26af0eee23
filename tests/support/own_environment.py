"""A virtual environment of its own beside softflow's, for packages that bear no others.

What it does not install is borrowed, through a .pth file, from the environment that made it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = Path(sysconfig.get_paths()["purelib"])


class OwnEnvironment:
    """One such environment.

    Args:
        name: of its folder in the repository's root.
        script: in tests/support, which makes it.
        made_of: what is installed; of other words it must be made anew.
    """

    def __init__(self, name: str, script: str, made_of: str) -> None:
        self.folder = ROOT / name
        self.python = self.folder / "bin" / "python"
        self._script = script
        self._stamp = self.folder / ".installed"
        self._identity = f"{sys.version}\n{OURS}\n{made_of}"

    def problem(self) -> str:
        """Why the environment cannot be used; empty when it can."""
        name = self.folder.name
        if not self._stamp.exists():
            return f"no {name}; make it with `python tests/support/{self._script}`"
        if self._stamp.read_text() != self._identity:
            return f"{name} is of other requirements; make it again"
        return ""

    def begin(self, *requirements: str, borrowed: Sequence[Path]) -> None:
        """Make it anew, an interrupted attempt too; it counts once `finish` was called.

        Args:
            requirements: words for pip.
            borrowed: folders of packages that it sees as well.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
        self.install(*requirements)
        theirs = next((self.folder / "lib").glob("python*/site-packages"))
        (theirs / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))

    def install(self, *words: str) -> None:
        """More of it, by words for pip."""
        pip = [str(self.python), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *words], check=True)

    def finish(self) -> None:
        """All of it is there."""
        self._stamp.write_text(self._identity)
