import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from softflow.errors import DataError, StoreError
from softflow.utils.event_files import EventFiles
from softflow.utils.metrics import MetricLogger, read_metrics


def test_round_trip(tmp_path: Path) -> None:
    with MetricLogger(tmp_path) as logger:
        logger.log({"loss": 2.5, "nll": -1e-7}, stage="imitation", update_step=10)
        logger.log({"loss": 0.1 + 0.2}, stage="imitation", update_step=20)
        logger.log({"loss": float("nan")}, stage="online_rl", update_step=5, robot_steps=321)
    loss, nll, online = read_metrics(tmp_path)
    assert (loss.stage, loss.name, nll.name, online.stage) == (
        "imitation",
        "loss",
        "nll",
        "online_rl",
    )
    assert loss.update_step.tolist() == [10, 20]
    np.testing.assert_allclose(loss.value, [2.5, 0.3], rtol=1e-8)
    assert online.robot_steps.tolist() == [321]
    assert np.isnan(online.value[0])


def test_no_file_gives_no_series(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []


def test_rewind_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    with MetricLogger(tmp_path) as logger:
        logger.log({"loss": 1.0, "nll": 2.0}, stage="imitation", update_step=1)
        position = logger.position()
        expected = (tmp_path / "metrics.csv").read_bytes()
        logger.log({"loss": 3.0}, stage="imitation", update_step=2)
        logger.log({"success": 1.0}, stage="online_rl", update_step=0, robot_steps=9)
    with MetricLogger(tmp_path) as logger:
        logger.rewind(position)
        assert (tmp_path / "metrics.csv").read_bytes() == expected
        logger.log({"loss": 4.0}, stage="imitation", update_step=2)
        assert logger.position() == 3
    assert read_metrics(tmp_path)[0].value.tolist() == [1.0, 4.0]
    assert _tensorboard(tmp_path, "imitation", "loss") == [(1, 1.0), (2, 4.0)]
    assert not (tmp_path / "tensorboard" / "online_rl").exists()


def test_rewind_beyond_the_end_keeps_what_is_there(tmp_path: Path) -> None:
    with MetricLogger(tmp_path) as logger:
        logger.log({"loss": 1.0}, stage="imitation", update_step=1)
        logger.rewind(50)
        assert logger.position() == 1


def test_time_runs_on_and_stands_still_between_runs(tmp_path: Path) -> None:
    line = "100.000,imitation,1,0,loss,1\n"
    (tmp_path / "metrics.csv").write_text(
        "time_s,stage,update_step,robot_steps,name,value\n" + line
    )
    with MetricLogger(tmp_path) as logger:
        logger.log({"loss": 1.0}, stage="imitation", update_step=2)
    assert 100.0 <= read_metrics(tmp_path)[0].time_s[1] < 110.0


@pytest.mark.parametrize("torn", ["12.0,imitation,2,0,lo", "time_s,sta"])
def test_a_torn_end_is_left_out_and_repaired(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "metrics.csv"
    whole = "" if torn.startswith("time_s") else _header() + "1.000,imitation,1,0,loss,5\n"
    path.write_text(whole + torn)
    assert [series.value.tolist() for series in read_metrics(tmp_path)] == (
        [[5.0]] if whole else []
    )
    with MetricLogger(tmp_path) as logger:
        logger.log({"loss": 6.0}, stage="imitation", update_step=2)
    lines = path.read_text().splitlines()
    assert lines[0] == _header().strip()
    assert lines[-1].endswith("imitation,2,0,loss,6")
    assert len(lines) == (3 if whole else 2)


def test_another_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,accuracy\n1,0.5\n")
    with pytest.raises(StoreError, match="not written by softflow"):
        MetricLogger(tmp_path)
    assert path.read_text() == "epoch,accuracy\n1,0.5\n"


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(_header() + "1.0,imitation,1,0,loss,5\nxx\n")
    with pytest.raises(StoreError, match="line 3"):
        read_metrics(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.run.metrics\.csv.*choose another"):
        MetricLogger(tmp_path / "file" / "run")


@pytest.mark.parametrize(("stage", "name"), [("imitation", "a,b"), ("x\ny", "loss"), ("s", "")])
def test_names_that_break_the_file_are_refused(tmp_path: Path, stage: str, name: str) -> None:
    with MetricLogger(tmp_path) as logger:
        with pytest.raises(DataError, match="rename"):
            logger.log({name: 1.0}, stage=stage, update_step=1)
        assert logger.position() == 0


def test_a_write_that_does_not_fit_is_said_and_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    with MetricLogger(tmp_path) as logger:
        logger.log({"loss": 1.0}, stage="imitation", update_step=1)
        before = path.read_bytes()
        with _largest_file(len(before) + 10), pytest.raises(StoreError, match=r"csv.*free some"):
            logger.log({"loss": 2.0, "nll": 3.0}, stage="imitation", update_step=2)
        assert path.read_bytes() == before
        logger.log({"loss": 4.0}, stage="imitation", update_step=3)
    assert read_metrics(tmp_path)[0].value.tolist() == [1.0, 4.0]
    assert _tensorboard(tmp_path, "imitation", "loss") == [(1, 1.0), (3, 4.0)]


def test_a_full_disk_under_tensorboard_is_said_too(tmp_path: Path) -> None:
    events = EventFiles(tmp_path)
    with _largest_file(60), pytest.raises(StoreError, match=r"TensorBoard.*imitation.*free some"):
        events.add("imitation", {"loss": 1.0}, step=1, wall_time_s=0.0)
    events.close()


def test_a_killed_process_loses_no_logged_row(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from softflow.utils.metrics import MetricLogger\n"
        "logger = MetricLogger(sys.argv[1])\n"
        "for step in range(10**6):\n"
        "    logger.log({'a': step, 'b': -step}, stage='imitation', update_step=step)\n"
        "    print(step, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    last_said = int(process.communicate()[0].split()[-1])
    content = (tmp_path / "metrics.csv").read_text()
    assert content.endswith("\n")
    first, second = read_metrics(tmp_path)
    assert len(first.value) == len(second.value) >= last_said + 1
    assert first.update_step.tolist() == list(range(len(first.value)))


@contextmanager
def _largest_file(num_bytes: int) -> Iterator[None]:
    """The system refuses to let a file grow beyond `num_bytes`, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _header() -> str:
    return "time_s,stage,update_step,robot_steps,name,value\n"


def _tensorboard(run_dir: Path, stage: str, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir / "tensorboard" / stage))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_a_pipe_in_its_place_is_told_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.csv")
    with pytest.raises(StoreError, match="is a named pipe, not a file"):
        read_metrics(tmp_path)
    with pytest.raises(StoreError, match="is a named pipe, not a file"):
        MetricLogger(tmp_path)
