"""What a newcomer asks first: which version, which presets, and does it find my own module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from softflow import __version__
from softflow.cli.main import main
from softflow.presets import PRESETS, summary
from softflow.utils.imports import follow

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_the_version(capsys: Captured, word: str) -> None:
    assert main([word]) == 0
    assert capsys.readouterr().out == f"softflow {__version__}\n"


def test_presets_come_first_in_the_help_of_train(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    lines = [line.split(maxsplit=1) for line in said.partition("\nExamples")[0].splitlines()]
    described = {line[0]: line[1] for line in lines if len(line) == 2}
    for name in PRESETS:
        assert described[name] == summary(name)
        assert 10 < len(summary(name)) < 100


def test_a_module_in_the_current_folder_is_found_and_nothing_else_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_task.py").write_text("import my_own_part\nmake = my_own_part.make\n")
    (tmp_path / "my_own_part.py").write_text("def make():\n    return 7\n")
    (tmp_path / "json.py").write_text("raise RuntimeError('the standard library comes first')\n")
    (tmp_path / "not_named.py").write_text("")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert follow("my_own_task:make")() == 7
    assert follow("json:dumps")({}) == "{}"
    assert sys.path == before
    with pytest.raises(ModuleNotFoundError):
        import not_named  # type: ignore[import-not-found]  # noqa: F401


@pytest.mark.slow
def test_an_environment_of_the_current_folder_is_evaluated_in_by_workers(tmp_path: Path) -> None:
    """`softflow` itself starts without the current folder; its workers find the module too."""
    support = Path(__file__).resolve().parents[1] / "support" / "point_world.py"
    (tmp_path / "my_world.py").write_text(support.read_text())
    code = (
        "import sys; sys.path = [p for p in sys.path if p not in ('', sys.argv[1])]\n"
        "from softflow.training.rollouts import RolloutPool\n"
        "from softflow.utils.imports import trust\n"
        "trust('my_world:PointWorld')\n"
        "if __name__ == '__main__':\n"
        "    with RolloutPool(1) as pool:\n"
        "        print(pool.environment_spec('my_world:PointWorld', None).action_low)\n"
    )
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "ask.py").write_text(code)
    process = subprocess.run(
        [sys.executable, "scripts/ask.py", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.stdout == "(-1.0, -1.0)\n", process.stderr
