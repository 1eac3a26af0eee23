"""A collection is the same store for any number of workers, and goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from softflow.data.episode_store import EpisodeStore
from softflow.envs.demonstrations import collect_demonstrations, only_operator
from softflow.envs.ogbench.demonstrators import Operator, operator_mixture
from softflow.envs.operators import OperatorMixture
from softflow.errors import ConfigError, DataError

SOURCE = Path(__file__).parents[2] / "src"
# Fast and flawed: short episodes, and two kinds of them.
MIXTURE = OperatorMixture(
    (
        Operator("quick", "markov", pace=(0.8, 1.0), noise_std=(0.0, 0.2)),
        Operator("sharp", "plan", pace=(0.25, 0.3), noise_std=(0.0, 0.2), aim_std_m=0.005),
    ),
    (1.0, 1.0),
)


def content(store_path: Path) -> list[str]:
    """One digest per episode: arrays, outcome and metadata."""
    store = EpisodeStore.open(store_path)
    digests = []
    for index in range(len(store)):
        episode = store.episode(index)
        digest = hashlib.sha256(episode.actions.tobytes())
        for key in sorted(episode.observations):
            digest.update(key.encode() + episode.observations[key].tobytes())
        digest.update(episode.rewards.tobytes())
        digest.update(repr((episode.success, sorted(episode.metadata.items()))).encode())
        digests.append(digest.hexdigest())
    return digests


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes, recorded in this process."""
    path = tmp_path_factory.mktemp("reference") / "demos"
    collect_demonstrations("cube-single", 4, 3, path, mixture=MIXTURE)
    return path


@pytest.mark.slow
def test_worker_processes_give_the_same_store(reference: Path, tmp_path: Path) -> None:
    progress: list[tuple[int, int, int]] = []
    tallies = collect_demonstrations(
        "cube-single", 4, 3, tmp_path / "demos", mixture=MIXTURE, num_workers=2,
        on_progress=lambda *counts: progress.append(counts),
    )  # fmt: skip
    assert content(tmp_path / "demos") == content(reference)
    assert [done for done, _, _ in progress] == [1, 2, 3, 4]
    assert progress[-1] == (4, 4, sum(tally.successes for tally in tallies))
    assert sum(tally.episodes for tally in tallies) == 4


@pytest.mark.slow
def test_more_of_the_same_collection_keeps_what_is_there(reference: Path, tmp_path: Path) -> None:
    path = tmp_path / "demos"
    collect_demonstrations("cube-single", 2, 3, path, mixture=MIXTURE)
    kept = [file.stat().st_mtime_ns for file in sorted((path / "episodes").iterdir())]
    progress: list[int] = []
    collect_demonstrations(
        "cube-single",
        4,
        3,
        path,
        mixture=MIXTURE,
        on_progress=lambda done, *_: progress.append(done),
    )
    files = sorted((path / "episodes").iterdir())
    assert [file.stat().st_mtime_ns for file in files[:2]] == kept
    assert progress == [3, 4]
    assert content(path) == content(reference)


def test_what_nobody_demonstrates(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nobody demonstrates 'adroit-pen'; .* know cube-single"):
        collect_demonstrations("adroit-pen", 2, 3, tmp_path, mixture=MIXTURE)


@pytest.mark.slow
def test_full_store_starts_no_simulator(reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a simulator was built for nothing")

    monkeypatch.setattr("softflow.envs.demonstrations.make_env", forbidden)
    tallies = collect_demonstrations("cube-single", 4, 3, reference, mixture=MIXTURE)
    assert sum(tally.episodes for tally in tallies) == 4


COLLECT_WITH_TWO_WORKERS = """
import multiprocessing, sys
sys.path.insert(0, sys.argv[1])
from test_demonstrations import MIXTURE, collect_demonstrations

def say_who_works(*_):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)

collect_demonstrations(
    "cube-single", 4, 3, sys.argv[2], mixture=MIXTURE, num_workers=2, on_progress=say_who_works
)
"""


@pytest.mark.slow
def test_killed_collection_goes_on_where_it_stopped(reference: Path, tmp_path: Path) -> None:
    path = tmp_path / "demos"
    process = subprocess.Popen(
        [sys.executable, "-c", COLLECT_WITH_TWO_WORKERS, str(Path(__file__).parent), str(path)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    workers = [int(pid) for pid in process.stdout.readline().split()]
    process.kill()
    assert process.wait() == -signal.SIGKILL, "killed while it was collecting"
    process.stdout.close()
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive the process that started them"
        time.sleep(0.05)
    assert 1 <= len(EpisodeStore.open(path)) < 4
    collect_demonstrations("cube-single", 4, 3, path, mixture=MIXTURE)
    assert content(path) == content(reference)


def is_running(pid: int) -> bool:
    """Whether that process exists and is no zombie (an adopted one may wait to be reaped)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("changes", [{"seed": 4}, {"mixture": None}])
def test_another_collection_is_not_mixed_in(reference: Path, changes: dict[str, object]) -> None:
    arguments: dict[str, object] = {"seed": 3, "mixture": MIXTURE, **changes}
    with pytest.raises(DataError, match=r"episode 0 of the store .* choose another folder"):
        collect_demonstrations("cube-single", 4, store_path=reference, **arguments)  # type: ignore[arg-type]
    assert len(EpisodeStore.open(reference)) == 4


def test_one_operator_alone() -> None:
    everybody = operator_mixture("cube-single").operators
    assert only_operator("cube-single", "slow") == OperatorMixture((everybody[2],), (1.0,))
    (swift,) = only_operator("cube-single", "swift").operators
    assert swift not in everybody
    with pytest.raises(ConfigError, match=r"'swfit' demonstrates 'cube-single'; .*careless, swift"):
        only_operator("cube-single", "swfit")
    with pytest.raises(ConfigError, match="nobody demonstrates 'adroit-pen'"):
        only_operator("adroit-pen", "swift")


@pytest.mark.parametrize(("episodes", "workers", "seed"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_unusable_numbers_are_refused(
    tmp_path: Path, episodes: int, workers: int, seed: int
) -> None:
    with pytest.raises(ConfigError, match="must be >= 1"):
        collect_demonstrations("cube-single", episodes, seed, tmp_path, num_workers=workers)


def test_error_in_a_worker_reaches_the_caller_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean cube-double"):
        collect_demonstrations("cube-doubel", 2, 0, tmp_path / "demos", num_workers=2)
    assert not (tmp_path / "demos").exists()
