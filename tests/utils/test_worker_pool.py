"""Workers stop together: at an error in one of them, at Ctrl-C here, and when this process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from softflow.utils import worker_pool
from softflow.utils.worker_pool import WorkerPool, at_end, raise_if_stopping

TICK_S = 0.02


def work(job: tuple[Path, str]) -> str:
    """Tell a folder what is done: work for ever, fail, or answer."""
    folder, what = job
    name = f"{what}-{os.getpid()}"
    at_end((folder / f"closed-{os.getpid()}").touch)
    (folder / f"began-{name}-{time.monotonic_ns()}").touch()
    if what == "answer":
        return what
    if what == "hang at the end":

        def closing() -> None:
            (folder / f"began-closing-{os.getpid()}").touch()
            time.sleep(1000)

        at_end(closing)
        return what
    if what == "hang":
        time.sleep(1000)
    if what == "hang for good":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)
    if what == "fail":
        wait_for(lambda: bool(began(folder, "long")))
        raise ValueError("the cable fell out")
    while True:
        time.sleep(TICK_S)
        raise_if_stopping()


def began(folder: Path, what: str) -> list[Path]:
    return list(folder.glob(f"began-{what}-*"))


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def closed(folder: Path) -> set[str]:
    return {path.name.split("-")[1] for path in folder.glob("closed-*")}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(TICK_S)


@pytest.mark.slow
def test_an_error_stops_the_others_and_is_the_one_that_is_told(tmp_path: Path) -> None:
    jobs = [(tmp_path, "long"), (tmp_path, "fail"), *[(tmp_path, "long")] * 8]
    with WorkerPool(2) as pool:
        with pytest.raises(ValueError, match="the cable fell out"):
            list(pool.map(work, jobs))
        time.sleep(10 * TICK_S)
        assert len(began(tmp_path, "long")) == 1, "nothing else was begun"
        assert list(pool.map(work, [(tmp_path, "answer")] * 3)) == ["answer"] * 3
    workers = {path.name.split("-")[2] for path in tmp_path.glob("began-*")}
    assert closed(tmp_path) == workers


@pytest.mark.slow
def test_leaving_by_an_error_stops_what_is_at_work(tmp_path: Path) -> None:
    """As when Ctrl-C comes while this process does something else."""
    pool = WorkerPool(1)
    answers = pool.map(work, [(tmp_path, "answer"), (tmp_path, "long")])
    assert next(answers) == "answer"
    wait_for(lambda: bool(began(tmp_path, "long")))
    pool.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert len(closed(tmp_path)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("what", ["hang", "hang for good"])
def test_whoever_hangs_is_ended(tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "PATIENCE_S", 1.0)
    pool = WorkerPool(1)
    answers = pool.map(work, [(tmp_path, "answer"), (tmp_path, what)])
    assert next(answers) == "answer"
    wait_for(lambda: bool(began(tmp_path, what)))
    started_s = time.monotonic()
    pool.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert time.monotonic() - started_s < 15
    assert len(closed(tmp_path)) == (what == "hang"), "what can still close, does"


@pytest.mark.slow
def test_ctrl_c_ends_what_hangs_while_it_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "PATIENCE_S", 1.0)
    pool = WorkerPool(1)
    assert list(pool.map(work, [(tmp_path, "hang at the end")])) == ["hang at the end"]

    def press() -> None:
        wait_for(lambda: bool(began(tmp_path, "closing")))
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started_s = time.monotonic()
    try:
        threading.Thread(target=press).start()
        with pytest.raises(KeyboardInterrupt):
            pool.__exit__(None, None, None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - started_s < 15
    assert not alive(int(began(tmp_path, "closing")[0].name.split("-")[2]))


@pytest.mark.slow
def test_giving_up_the_results_stops_only_their_work(tmp_path: Path) -> None:
    with WorkerPool(1) as pool:
        answers = pool.map(work, [(tmp_path, "answer"), (tmp_path, "long")])
        assert next(answers) == "answer"
        del answers
        assert list(pool.map(work, [(tmp_path, "answer")])) == ["answer"]


def test_here_nothing_stops() -> None:
    raise_if_stopping()


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_workers_hold_is_closed_however_the_parent_ends(
    tmp_path: Path, signal_number: int
) -> None:
    script = (
        "import sys; from pathlib import Path; import test_worker_pool as t\n"
        "from softflow.utils.worker_pool import WorkerPool\n"
        "if __name__ == '__main__':\n"
        "    with WorkerPool(2) as pool: list(pool.map(t.work, [(Path(sys.argv[1]), 'long')] * 5))"
    )
    (tmp_path / "main.py").write_text(script)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "main.py"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: len(began(tmp_path, "long")) == 2)
    parent.send_signal(signal_number)
    parent.wait(30)
    wait_for(lambda: len(closed(tmp_path)) == 2)
    assert len(began(tmp_path, "long")) == 2


STARTING = """
import os, signal, sys, threading
import softflow.models.policy
from softflow.utils.worker_pool import WorkerPool

if __name__ == "__main__":
    ask = lambda: os.killpg(0, signal.SIGINT)
    try:
        with WorkerPool(2) as pool:
            threading.Timer(float(sys.argv[1]), ask).start()
            list(pool.map(abs, range(10**6)))
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.parametrize("wait_s", [0.1, 0.5])
def test_ctrl_c_while_workers_are_being_started_leaves_none_behind(wait_s: float) -> None:
    """PyTorch is loaded before the first, which takes a second or more."""
    script = subprocess.run(
        [sys.executable, "-c", STARTING, str(wait_s)],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert (script.stdout, script.stderr) == ("stopped\n", "")
