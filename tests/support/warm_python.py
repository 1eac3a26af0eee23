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
from functools import cache
from pathlib import Path
from typing import Any


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

    def run(
        self, words: list[str], environment: dict[str, str], timeout_s: float
    ) -> tuple[int, str]:
        """Run `softflow WORDS…`; its status (-9 if it was killed) and all that it said.

        Raises:
            AssertionError: it did not end in time, or left processes behind.
        """
        with tempfile.TemporaryDirectory() as folder:
            said = Path(folder) / "said.txt"
            request = {"words": words, "environment": environment, "said": str(said)}
            assert self._process.stdin is not None
            print(json.dumps(request), file=self._process.stdin, flush=True)
            command = self._answer()
            deadline = threading.Timer(timeout_s, os.killpg, (command, 9))
            deadline.start()
            status = self._answer()
            assert deadline.is_alive(), f"{words} took longer than {timeout_s} s"
            deadline.cancel()
            self._wait_until_alone(command)
            return status, said.read_text(errors="replace")

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def _wait_until_alone(self, session: int) -> None:
        """No worker may outlive the command it works for."""
        for _ in range(400):
            if not any(self._belongs(process, session) for process in running_processes()):
                return
            time.sleep(0.025)
        raise AssertionError(f"processes of session {session} are still running")

    def _belongs(self, process: tuple[int, int, str], session: int) -> bool:
        parent, its_session, _ = process
        return session in (its_session, parent) or parent == self._simulators_parent


def running_processes() -> list[tuple[int, int, str]]:
    """(parent, session, state) of every process of this machine that is no zombie."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            facts = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if facts[0] != "Z":
            found.append((int(facts[1]), int(facts[3]), facts[0]))
    return found


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
