"""Processes that run `softflow …` without importing it anew: forked from one that has.

Importing PyTorch and its compiler takes seconds, and a test that kills a command fifteen times
would spend its time on that. Every command still is a process of its own, in a session of its own,
with its own environment variables; its simulators come from a process server that all share. What
needs the very start and end of a Python process starts one instead.

Run as a script this is the process that forks: a request a line on its standard input, answered by
the process id and, after the end, the exit status.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT_S = 300


class WarmPython:
    """The process that forks; one serves all commands of a test process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self._simulators_parent = self._answer()

    def run(self, words: list[str], die_at: str = "") -> tuple[int, str]:
        """Run `softflow WORDS…`; its status (-9 if it was killed) and all that it said.

        Args:
            words: of the command line.
            die_at: when it kills itself, see `point_cli`; empty: never.

        Raises:
            AssertionError: it did not end in time, or left processes behind.
        """
        with tempfile.TemporaryDirectory() as folder:
            said = Path(folder) / "said.txt"
            environment = {"DIE_AT": die_at} if die_at else {}
            request = {"words": words, "environment": environment, "said": str(said)}
            assert self._process.stdin is not None
            print(json.dumps(request), file=self._process.stdin, flush=True)
            command = self._answer()
            deadline = threading.Timer(TIMEOUT_S, os.killpg, (command, 9))
            deadline.start()
            status = self._answer()
            assert deadline.is_alive(), f"{words} took longer than {TIMEOUT_S} s"
            deadline.cancel()
            # No worker may outlive the command it works for.
            wait_until_gone(
                lambda process: (
                    command in (process.session, process.parent)
                    or process.parent == self._simulators_parent
                )
            )
            return status, said.read_text(errors="replace")

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


class Running(NamedTuple):
    """The parent and the session of a process."""

    parent: int
    session: int


def wait_until_gone(wanted: Callable[[Running], bool]) -> None:
    """Wait for the end of processes.

    Raises:
        AssertionError: some are still there after ten seconds.
    """
    for _ in range(400):
        if not any(map(wanted, _running())):
            return
        time.sleep(0.025)
    raise AssertionError("processes are still running that should have ended")


def _running() -> Iterator[Running]:
    """Every process of this machine that is no zombie."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            facts = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if facts[0] != "Z":
            yield Running(int(facts[1]), int(facts[3]))


@cache
def warm_python() -> WarmPython:
    """The one of this test process; it ends with it, as its input does."""
    return WarmPython()


def _serve() -> None:
    from multiprocessing import forkserver

    import torch._dynamo
    from point_cli import run_command

    from softflow.training import rollouts, stages
    from softflow.utils.worker_pool import WorkerPool

    del torch, rollouts, stages
    with WorkerPool(1) as pool:
        list(pool.map(abs, [0]))
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    print(server._forkserver_pid, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        command = os.fork()
        if command == 0:
            os.setsid()
            said = os.open(request["said"], os.O_WRONLY | os.O_CREAT)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for number, file in enumerate((nothing, said, said)):
                os.dup2(file, number)
            os.environ |= request["environment"]
            sys.argv = ["softflow", *request["words"]]
            # It runs, but is no child of this process, which is all that this asks.
            forkserver.ensure_running = server.ensure_running = lambda: None
            os._exit(run_command())
        print(command, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve()
