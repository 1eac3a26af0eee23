"""The command line as a process of its own: how it starts and how it ends."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("words", [[], ["data"]])
def test_help_does_not_wait_for_torch(words: list[str]) -> None:
    main = f"from softflow.cli.main import main; main({words})"
    script = f"import sys; {main}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
def test_help_cut_short_by_its_reader_ends_quietly() -> None:
    script = "import sys; from softflow.cli.main import main; sys.exit(main(['demo', '--help']))"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.slow
def test_the_package_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "softflow", "train", "small"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--dataset" in done.stderr
