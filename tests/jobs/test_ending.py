"""A run is closed and reported however it ends, and what went wrong first is what is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from point_world import tiny_config, write_demonstrations

from softflow.errors import NumericalError, StoreError
from softflow.jobs.ending import closed_and_reported
from softflow.training.run import Run
from softflow.utils.progress import SilentProgress


def test_a_report_that_cannot_be_written_hides_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, config = write_demonstrations(tmp_path / "data", (True,) * 2), tiny_config()

    def opened() -> Run:
        return Run(tmp_path / "run", config, data, None, SilentProgress(), None, ("imitation",))

    run = opened()
    (tmp_path / "run" / "report.html").mkdir()
    with pytest.raises(NumericalError, match="of the block"), closed_and_reported(run):
        raise NumericalError("of the block")
    assert "report.html" in capsys.readouterr().err
    with pytest.raises(StoreError, match=r"report\.html"), closed_and_reported(opened()):
        pass
    (tmp_path / "run" / "report.html").rmdir()
    with closed_and_reported(opened()):
        pass
    assert (tmp_path / "run" / "report.html").is_file()
