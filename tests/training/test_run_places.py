"""Where a run may be, and that a refused command leaves no trace."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from point_world import demonstration, point_spec, tiny_config, write_demonstrations
from runs_compared import as_overrides

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.jobs.targets import WRITTEN_BY_A_RUN
from softflow.training.run import Run
from softflow.utils.progress import SilentProgress

OFFLINE_ONLY = ("--stages", "imitation", "--eval-episodes", "0")
Say = pytest.CaptureFixture[str]


def train(dataset: Path | str, run: Path | str, *words: str) -> int:
    start = ["train", "small", "--dataset", str(dataset), "--run", str(run)]
    try:
        return main([*start, *as_overrides(), *OFFLINE_ONLY, *words])
    except SystemExit as ended:  # tyro
        return int(ended.code or 0)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every name below a folder, and what is in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a dataset."""
    write_demonstrations(tmp_path / "demos", (True, True, False))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- places ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run",
    ["", "  ", "demos", "demos/", "demos/run", "demos/episodes", "demos/../demos", "file/run"],
)
def test_a_place_where_no_run_may_be(place: Path, run: str, capsys: Say) -> None:
    (place / "file").write_text("")
    before = tree(place)
    assert train("demos", run) == 2
    assert "run" in capsys.readouterr().err
    assert tree(place) == before


@pytest.mark.parametrize("name", WRITTEN_BY_A_RUN)
def test_a_run_does_not_write_into_its_own_dataset(place: Path, name: str, capsys: Say) -> None:
    """For instance: learn from RUN/online, and collect into it."""
    write_demonstrations(place / "run" / name / "data", (True, True))
    before = tree(place)
    assert train(f"run/{name}/data", "run") == 2
    assert "would write into the dataset" in capsys.readouterr().err
    assert tree(place) == before


def test_links_do_not_help(place: Path, capsys: Say) -> None:
    (place / "link").symlink_to("demos")
    assert train("demos", "link/run") == 2
    assert "lies in the episode store" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "collect", "data"])
def test_an_empty_path_is_not_the_folder_one_is_in(place: Path, command: str, capsys: Say) -> None:
    words = {
        "evaluate": ["evaluate", "checkpoint", "--out", ""],
        "collect": ["collect", "--out="],
        "data": ["data", "merge", "", "demos"],
    }
    before = tree(place)
    with pytest.raises(SystemExit):
        main(words[command])
    assert "the path is empty" in capsys.readouterr().err
    assert tree(place) == before


def test_an_empty_path_is_no_run_to_report(place: Path, capsys: Say) -> None:
    before = tree(place)
    assert main(["report", ""]) == 2
    assert "the path is empty" in capsys.readouterr().err
    assert tree(place) == before


def test_a_report_goes_into_a_run_only(place: Path, capsys: Say) -> None:
    before = tree(place)
    for folder in (".", "demos", "demos/episodes"):
        assert main(["report", folder]) == 2
        assert "holds no run" in capsys.readouterr().err
    assert tree(place) == before


def test_results_do_not_go_into_a_store(place: Path, capsys: Say) -> None:
    run = Run(place / "run", tiny_config(), place / "demos", None, SilentProgress())
    checkpoint = run.save()
    run.close()
    before = tree(place / "demos")
    assert main(["evaluate", str(checkpoint), "--out", "demos/results"]) == 2
    assert "lies in the episode store" in capsys.readouterr().err
    assert tree(place / "demos") == before


WRITES_A_RESULT = {
    "plot": ["data", "plot", "demos", "--out"],
    "stats": ["data", "stats", "demos", "--json"],
    "validate": ["data", "validate", "demos", "--json"],
}


@pytest.mark.parametrize("command", WRITES_A_RESULT)
@pytest.mark.parametrize(
    "file",
    [
        "demos/store.json",
        "demos/episodes/episode_000000.zarr.zip",
        "demos/new.json",
        "run/config.json",
        "run/metrics.csv",
        "pipe",
        "nowhere",
        "circle",
    ],
)
def test_a_result_replaces_no_other_file(place: Path, command: str, file: str, capsys: Say) -> None:
    (place / "run").mkdir()
    (place / "run/config.json").write_text('{"seed": 0}')
    (place / "run/metrics.csv").write_text("time_s")
    os.mkfifo(place / "pipe")
    (place / "nowhere").symlink_to("gone")
    (place / "circle").symlink_to("circle")
    before = tree(place)
    assert main([*WRITES_A_RESULT[command], file]) == 2
    assert file in capsys.readouterr().err
    assert tree(place) == before
    assert (place / "nowhere").is_symlink()
    assert (place / "circle").is_symlink()


@pytest.mark.parametrize("command", WRITES_A_RESULT)
def test_a_result_replaces_the_one_before(place: Path, command: str) -> None:
    (place / "empty").touch()
    for file in ("new", "new", "empty"):
        assert main([*WRITES_A_RESULT[command], file]) == 0
        assert (place / file).stat().st_size > 0


FILLS_A_STORE = {
    "merge": lambda out: ["data", "merge", out, "demos"],
    "filter": lambda out: ["data", "filter", "demos", out],
    "collect": lambda out: ["collect", "--out", out, "--episodes", "1"],
    "import": lambda out: ["data", "import", "robomimic", "file.hdf5", "--out", out],
    "export": lambda out: ["data", "export", "lerobot", "demos", out],
}


@pytest.mark.parametrize("command", FILLS_A_STORE)
@pytest.mark.parametrize("out", ["run", "demos/sub", "demos/episodes", "demos/labels/x", "circle"])
def test_a_store_is_made_in_a_folder_of_its_own(
    place: Path, command: str, out: str, capsys: Say
) -> None:
    """In a run, a store would make the run unusable: it then lies in a store."""
    (place / "run/checkpoints").mkdir(parents=True)
    (place / "file.hdf5").touch()
    (place / "circle").symlink_to("circle")
    before = tree(place)
    assert main(FILLS_A_STORE[command](out)) == 2
    assert out in capsys.readouterr().err
    assert tree(place) == before


@pytest.mark.parametrize(
    "words",
    [
        ["train", "small", "--dataset", "demos", "--run", "circle"],
        ["train", "small", "--dataset", "circle", "--run", "new"],
        ["evaluate", "circle"],
        ["demo", "--run", "circle"],
    ],
)
def test_a_link_to_itself_is_told_of(place: Path, words: list[str], capsys: Say) -> None:
    (place / "circle").symlink_to("circle")
    assert main(words) == 2
    assert "circle" in capsys.readouterr().err


# ---- refused commands --------------------------------------------------------------------------


def no_success(place: Path) -> list[str]:
    write_demonstrations(place / "failures", (False, False))
    return ["--dataset", str(place / "failures")]


def no_weight(place: Path) -> list[str]:
    return ["--data.weights", "teleop=0", "policy=0"]


def no_such_device(place: Path) -> list[str]:
    return ["--device", "abacus"]


def no_environment(place: Path) -> list[str]:
    store = place / "nameless"
    with EpisodeStore.create(store, replace(point_spec(), env_id="")) as writer:
        writer.append(demonstration(1, towards_goal=True))
    return ["--dataset", str(store), "--stages", "imitation", "online_rl"]


def other_online_data(place: Path) -> list[str]:
    spec = replace(point_spec(), control_hz=99.0)
    EpisodeStore.create(place / "run" / "online", spec).close()
    return []


def a_pipe_as_config(place: Path) -> list[str]:
    run = Run(place / "run", tiny_config(), place / "demos", None, SilentProgress())
    run.save()
    run.close()
    os.mkfifo(place / "run" / "config.json")
    return []


@pytest.mark.parametrize(
    "prepare",
    [no_success, no_weight, no_such_device, no_environment, other_online_data, a_pipe_as_config],
)
def test_a_refused_command_leaves_no_trace(
    place: Path, prepare: Callable[[Path], list[str]], capsys: Say
) -> None:
    words = prepare(place)
    before = tree(place)
    assert train("demos", "run", *words) == 2
    assert capsys.readouterr().err.strip()
    assert tree(place) == before


def test_a_second_run_in_a_folder_leaves_the_first_as_it_is(place: Path, capsys: Say) -> None:
    first = Run(place / "run", tiny_config(), place / "demos", None, SilentProgress())
    (place / "run" / "config.json").write_text("of the first")
    before = tree(place / "run")
    assert train("demos", "run", "--discount", "0.5") == 2
    assert "already has a writer" in capsys.readouterr().err
    assert tree(place / "run") == before
    first.close()
