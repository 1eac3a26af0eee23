"""One writer a store: on this machine, from another one, and where there are no locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path

import pytest

from softflow.data.files import writer_lock
from softflow.data.files.writer_lock import WriterLock, file_system
from softflow.errors import StoreError


def test_a_second_writer_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    first = WriterLock(tmp_path)
    with pytest.raises(StoreError, match=f'already has a writer .*"pid": {os.getpid()}'):
        WriterLock(tmp_path)
    first.release()
    first.release()
    WriterLock(tmp_path).release()
    assert (tmp_path / "writer.lock").read_bytes() == b""


def leave_name(folder: Path, host: str, pid: int = 1) -> None:
    """What a killed writer leaves in the file."""
    (folder / "writer.lock").write_text(json.dumps({"pid": pid, "host": host}))


def test_a_killed_writer_of_another_machine_does_not_matter_where_locks_reach(
    tmp_path: Path,
) -> None:
    leave_name(tmp_path, "robot")
    WriterLock(tmp_path).release()


def test_a_writer_on_another_machine_counts_where_locks_do_not_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_lock, "LOCAL_LOCKS", (file_system(tmp_path),))
    leave_name(tmp_path, "robot", 17)
    with pytest.raises(StoreError, match=r"'robot' \(process 17\).* delete '.*writer.lock'"):
        WriterLock(tmp_path)
    (tmp_path / "writer.lock").unlink()
    WriterLock(tmp_path).release()
    WriterLock(tmp_path).release()


def test_without_locks_the_name_in_the_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    first = WriterLock(tmp_path)
    with pytest.raises(StoreError, match="already has a writer"):
        WriterLock(tmp_path)
    first.release()
    process_that_ended = os.fork()
    if process_that_ended == 0:
        os._exit(0)
    os.waitpid(process_that_ended, 0)
    leave_name(tmp_path, os.uname().nodename, process_that_ended)
    WriterLock(tmp_path).release()


def test_a_torn_name_is_no_name(tmp_path: Path) -> None:
    (tmp_path / "writer.lock").write_bytes(b'{"pid": 1')
    WriterLock(tmp_path).release()


def test_file_systems_are_recognised() -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/dev/shm")) == "tmpfs"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_in_the_place_of_the_lock_is_not_written_through(
    tmp_path: Path, there: bool
) -> None:
    """A store of strangers may come with one that leads to any file of its user."""
    (tmp_path / "store").mkdir()
    if there:
        (tmp_path / "mine").write_text("precious")
    (tmp_path / "store/writer.lock").symlink_to(tmp_path / "mine")
    with pytest.raises(StoreError, match="is a link"):
        WriterLock(tmp_path / "store")
    assert (tmp_path / "mine").exists() is there
    assert not there or (tmp_path / "mine").read_text() == "precious"
