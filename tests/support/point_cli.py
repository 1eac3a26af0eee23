"""The command line, and a death in the middle of something.

    DIE_AT="<function> <call> <moment>" python point_cli.py train small --dataset … --run …

The process kills itself once the call number <call> of the function has begun: at change number
<moment> of the file system or, written "<moment>ms", so many milliseconds later. As this script
lies beside `point_world.py`, the command and its workers can import the point world.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

FILE_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Death:
    """Counts calls of one function, then changes of the file system, then kills."""

    def __init__(self, call: int, moment: str) -> None:
        self._calls_left, self._moment = call, moment
        self._changes_left = -1

    def called(self) -> None:
        self._calls_left -= 1
        if self._calls_left:
            return
        if self._moment.endswith("ms"):
            threading.Timer(float(self._moment[:-2]) / 1000, _die).start()
        else:
            self._changes_left = int(self._moment)
            sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        written = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if written or event in FILE_CHANGES:
            self._changes_left -= 1
            if self._changes_left == 0:
                _die()


def _watch(owner: Any, name: str, death: _Death, folder: str) -> None:
    """Tell `death` of every call; of episode stores only those below `folder`."""
    original: Callable[..., Any] = getattr(owner, name)

    def watched(*arguments: Any, **options: Any) -> Any:
        if not folder or folder in arguments[0].path.parts:
            death.called()
        return original(*arguments, **options)

    setattr(owner, name, watched)


def _arm(function: str, call: str, moment: str) -> None:
    from softflow.data.episode_store import EpisodeStore
    from softflow.jobs import ending
    from softflow.training import stages
    from softflow.training.learner import Learner
    from softflow.training.run import Run

    owners: dict[str, tuple[Any, str, str]] = {
        "imitation_update": (Learner, "imitation_update", ""),
        "critic_update": (Learner, "critic_update", ""),
        "actor_update": (Learner, "actor_update", ""),
        "save": (Run, "save", ""),
        "demonstrated": (EpisodeStore, "append", "demonstrations"),
        "collected": (EpisodeStore, "append", "online"),
        "evaluated": (EpisodeStore, "append", "evaluations"),
        "diagnose": (stages, "diagnose", ""),
        "write_report": (ending, "write_report", ""),
    }
    owner, name, folder = owners[function]
    _watch(owner, name, _Death(int(call), moment), folder)


def run_command() -> int:
    """Run the command of `sys.argv`; its exit status."""
    from softflow.cli.main import main

    # A shell that runs the tests in the background makes their processes deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "DIE_AT" in os.environ:
        _arm(*os.environ["DIE_AT"].split())
    try:
        status = main()
    except SystemExit as ended:
        status = ended.code
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else int(status is not None)


if __name__ == "__main__":
    sys.exit(run_command())
