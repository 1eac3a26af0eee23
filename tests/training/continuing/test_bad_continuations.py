"""Bad ways to go on with a run, or to start one from another: each refused, and nothing is lost.

Commands as typed, on a run that has imitated and warmed its critic up; each is wrong in one way.
Held elsewhere: which settings may change (`test_growing.py`), what a new run may start from
(`test_starting.py`), data that changed (`tests/training/test_changed_data.py`), checkpoints damaged
byte by byte (`tests/training/test_damaged_checkpoints.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edited_checkpoints import edit
from filmed_world import filmed_spec, write_filmed
from point_world import demonstration, point_spec, write_demonstrations
from runs_compared import as_overrides

from softflow.cli.main import main
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore

STAGES = ("--stages", "imitation", "critic_warmup")
UPDATES = ("--imitation.num-updates", "4", "--critic-warmup.num-updates", "4")
Say = pytest.CaptureFixture[str]


def train(*words: str, data: str = "demos", run: str = "run") -> int:
    """`softflow train small …`; its exit status."""
    others = [kind for kind in ("policy", "critic") if f"--{kind}" in words]
    given = as_overrides()
    numbers = dict(zip(given[::2], given[1::2], strict=True))
    for kind in others:  # another kind has other numbers
        numbers = {name: of for name, of in numbers.items() if f".{kind}." not in name}
    kept = [word for pair in numbers.items() for word in pair]
    start = ["train", "small", "--dataset", data, "--run", run, *kept]
    try:
        return main([*start, "--eval-episodes", "0", *STAGES, *UPDATES, *words])
    except SystemExit as ended:  # tyro
        return int(ended.code or 0)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a run that has learned from it."""
    place = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        write_demonstrations(place / "demos", (True, True, True, False))
        assert train() == 0
    return place


@pytest.fixture
def place(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the folder one is in."""
    shutil.copytree(begun, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path / "copy"


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink()
    }


def require_refused(place: Path, say: Say, status: int, before: object, *parts: str) -> None:
    """One message with these parts, no traceback, and every byte as it was."""
    said = say.readouterr().err
    assert status == 2, said
    assert "Traceback" not in said
    assert len(said) < 2_500, said
    for part in parts:
        assert part in " ".join(said.replace("│", " ").split()), said
    assert tree(place) == before


# ---- the same run, otherwise ---------------------------------------------------------------------

OTHERWISE: dict[str, tuple[str, tuple[str, ...]]] = {
    "a wider network": ("--model.policy.dim 32", ("model.policy.dim: there 16, now 32", "--from")),
    "more layers": ("--model.policy.num-layers 4", ("model.policy.num_layers: there 2, now 4",)),
    "another kind of policy": ("--policy mlp_flow", ("model.policy.kind: there 'flow', now 'mlp",)),
    "another critic": ("--critic mlp", ("model.critic.kind",)),
    "another encoder": ("--model.encoder.state-tokens 3", ("model.encoder.state_tokens",)),
    "a longer chunk": ("--model.chunk.chunk-length 5", ("model.chunk.chunk_length",)),
    "another horizon": ("--model.chunk.execution-horizon 2", ("model.chunk.execution_horizon",)),
    "a longer prefix": ("--model.chunk.prefix-length 3", ("model.chunk.prefix_length",)),
    "a longer history": ("--model.chunk.history-length 3", ("model.chunk.history_length",)),
    "relative actions": ("--model.actions.delta 0 --model.actions.delta-state 0", ("model.act",)),
    "bins of the critic": ("--model.critic.num-bins 51", ("model.critic.num_bins",)),
    "another seed": ("--seed 5", ("seed: there 0, now 5", "batches and episodes are of that seed")),
    "another discount": ("--discount 0.9", ("discount: there", "now 0.9", "of that discount")),
    "another held-out share": ("--data.held-out 0.5", ("data.held_out", "has learned from what")),
    "more of a stage behind": ("--imitation.num-updates 9", ("imitation is behind this run",)),
    "another rate behind": ("--imitation.learning-rate 1e-5", ("imitation is behind this run",)),
    "a negative rate": (
        "--critic-warmup.learning-rate -1",
        ("learning_rate is -1.0; must be > 0",),
    ),
    "a rate that is NaN": ("--critic-warmup.learning-rate nan", ("learning_rate is nan",)),
    "an empty batch": ("--critic-warmup.batch-size 0", ("batch_size is 0; must be >= 1",)),
    "fewer than no updates": ("--critic-warmup.num-updates -1", ("num_updates is -1",)),
    "half an update": ("--critic-warmup.num-updates 4.5", ("4.5",)),
    "an unknown stage": ("--stages dreaming", ("dreaming",)),
    "no stage": ("--stages", ("stages names no stage; choose among imitation",)),
    "no checkpoints": ("--keep-checkpoints 0", ("keep_checkpoints is 0; must be >= 1",)),
    "an unknown number": ("--imitation.num-update 3", ("--imitation.num-update",)),
    "a device nobody has": ("--device gpu", ("gpu",)),
    "from itself": ("--from run", ("holds a run already", "started from the beginning")),
    "from somewhere": ("--from elsewhere", ("holds a run already", "from the beginning")),
    "as several seeds": ("--seeds 2", ("holds the run of one seed already",)),
}


@pytest.mark.parametrize("kind", OTHERWISE)
def test_a_run_that_cannot_go_on_so(place: Path, kind: str, capsys: Say) -> None:
    words, parts = OTHERWISE[kind]
    before = tree(place)
    require_refused(place, capsys, train(*words.split()), before, *parts)
    assert train() == 0, "the command that it began with goes on"


# ---- the same run, and what lies beside it -------------------------------------------------------


def no_data(place: Path) -> None:
    shutil.rmtree(place / "demos")


def no_episodes(place: Path) -> None:
    shutil.rmtree(place / "demos")
    EpisodeStore.create(place / "demos", point_spec()).close()


def other_episodes(place: Path) -> None:
    shutil.rmtree(place / "demos")
    write_demonstrations(place / "demos", (True, False, True, False))


def one_episode_less(place: Path) -> None:
    sorted((place / "demos" / "episodes").iterdir())[-1].unlink()


def an_episode_cut_off(place: Path) -> None:
    file = sorted((place / "demos" / "episodes").iterdir())[1]
    file.write_bytes(file.read_bytes()[:-50])


def other_keys(place: Path) -> None:
    shutil.rmtree(place / "demos")
    write_filmed(place / "demos", [True, True, True, False])


def another_rate(place: Path) -> None:
    shutil.rmtree(place / "demos")
    with EpisodeStore.create(place / "demos", replace(point_spec(), control_hz=99.0)) as store:
        for seed in range(4):
            store.append(demonstration(seed, towards_goal=True))


def a_run_for_data(place: Path) -> None:
    shutil.rmtree(place / "demos")
    shutil.copytree(place / "run", place / "demos", symlinks=True)


def last_of(place: Path) -> Path:
    return (place / "run/checkpoints/last").resolve()


def weights_cut_off(place: Path) -> None:
    file = last_of(place) / "pretrained_model/model.safetensors"
    file.write_bytes(file.read_bytes()[:500])


def no_critic(place: Path) -> None:
    (last_of(place) / "algorithm/critic.safetensors").unlink()


def no_manifest(place: Path) -> None:
    (last_of(place) / "MANIFEST.json").unlink()


def a_stage_nobody_knows(place: Path) -> None:
    edit(last_of(place), "training_state/position.json", lambda it: it | {"stage": "dreaming"})


def config_that_is_none(place: Path) -> None:
    (place / "run/config.json").write_text("{")


def config_of_the_future(place: Path) -> None:
    file = place / "run/config.json"
    file.write_text(file.read_text().replace('"num_updates"', '"num_upgrades"', 1))


def history_cut_off(place: Path) -> None:
    assert train("--sampling-std", "0.4") == 0
    file = place / "run/history.json"
    file.write_bytes(file.read_bytes()[:-10])


def a_pipe_for_metrics(place: Path) -> None:
    (place / "run/metrics.csv").unlink()
    (place / "run/metrics.csv").mkdir()


def notes_for_metrics(place: Path) -> None:
    (place / "run/metrics.csv").write_text("my notes\n")


BESIDE: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "the data are gone": (no_data, ("demos",)),
    "the data are empty": (
        no_episodes,
        ("were 4 episodes, now there are 0", "Bring them"),
    ),
    "other episodes": (other_episodes, ("Bring them back", "--from")),
    "an episode less": (one_episode_less, ("demos",)),
    "an episode cut off": (an_episode_cut_off, ("demos",)),
    "data of a camera": (other_keys, ("observation.images.top",)),
    "data of another rate": (another_rate, ("control_hz",)),
    "a run where the data were": (a_run_for_data, ("demos",)),
    "weights cut off": (weights_cut_off, ("model.safetensors is missing or altered",)),
    "no critic": (no_critic, ("critic.safetensors is missing or altered",)),
    "a stage nobody knows": (a_stage_nobody_knows, ("dreaming",)),
    "a configuration that is none": (config_that_is_none, ("config.json",)),
    "a configuration of the future": (config_of_the_future, ("num_upgrades",)),
    "a history cut off": (history_cut_off, ("history.json",)),
    "a folder for the curves": (a_pipe_for_metrics, ("metrics.csv",)),
    "notes for the curves": (notes_for_metrics, ("metrics.csv", "does not start with")),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_a_run_beside_which_something_is_wrong(place: Path, kind: str, capsys: Say) -> None:
    spoil, parts = BESIDE[kind]
    spoil(place)
    capsys.readouterr()
    before = tree(place)
    require_refused(place, capsys, train(), before, *parts)


# ---- a new run from the networks of another ------------------------------------------------------

FROM: dict[str, tuple[str, tuple[str, ...]]] = {
    "nothing there": ("--from nowhere", ("'nowhere' holds no policy: there is nothing of that",)),
    "the data": ("--from demos", ("holds no policy: it is an episode store", "softflow train")),
    "a checkpoint that is gone": (
        "--from run/checkpoints/0_imitation_99999999",
        ("holds no policy: there is nothing of that name",),
    ),
    "the folder of checkpoints": ("--from run/checkpoints", ("give one of them, such as",)),
    "a part of a checkpoint": ("--from run/checkpoints/last/algorithm", ("holds no policy",)),
    "a file": ("--from run/config.json", ("holds no policy",)),
    "two of them": ("--from run run", ("run",)),
    "a wider network": (
        "--from run --model.policy.dim 32",
        ("model.policy.dim: there 16, now 32", "config.json says them"),
    ),
    "another kind of policy": ("--from run --policy mlp_flow", ("model.policy.kind: there",)),
    "another critic": ("--from run --critic mlp", ("model.critic.kind: there",)),
    "a longer chunk": (
        "--from run --model.chunk.chunk-length 5",
        ("model.chunk.chunk_length: there 4, now 5",),
    ),
    "a critic of another discount": (
        "--from run --discount 0.9",
        ("leave the critic there (--no-from-critic)",),
    ),
    "no data": ("--from run --dataset missing", ("missing",)),
    "into the data": ("--from run --run demos/new", ("lies in the episode store",)),
    "into the other run": (
        "--from run --run run/checkpoints",
        ("lies among what the run", "choose a folder beside"),
    ),
    "cameras, of a run without": (
        "--from run --dataset filmed",
        ("cannot start from 'run'", "observation.images.top: there missing"),
    ),
    "an eye, of a run without": (
        "--from run --dataset filmed --encoder mixed --image resnet18",
        ("cannot start from 'run'", "model.encoder"),
    ),
    "fewer components": (
        "--from run --dataset narrow",
        ("observation.state: there [4], now [3]",),
    ),
    "seeds of which none starts": (
        "--from nowhere --seeds 2",
        ("'nowhere' holds no policy",),
    ),
    "seeds of other sizes": (
        "--from run --seeds 2 --model.policy.dim 32",
        ("model.policy.dim: there 16, now 32",),
    ),
}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of other kinds: with a camera, with a component less."""
    folder = tmp_path_factory.mktemp("others")
    write_filmed(folder / "filmed", [True, False])
    spec = replace(point_spec(), observation_shapes={STATE_KEY: (3,)}, env_id="")
    with EpisodeStore.create(folder / "narrow", spec) as store:
        for seed in range(2):
            episode = demonstration(seed, towards_goal=True)
            state = np.ascontiguousarray(episode.observations[STATE_KEY][:, :3])
            store.append(replace(episode, observations={STATE_KEY: state}))
    assert filmed_spec().observation_shapes.keys() != point_spec().observation_shapes.keys()
    return folder


@pytest.mark.parametrize("kind", FROM)
def test_a_new_run_that_cannot_start_there(
    place: Path, others: Path, kind: str, capsys: Say
) -> None:
    words, parts = FROM[kind]
    for name in ("filmed", "narrow"):
        (place / name).symlink_to(others / name)
    before = tree(place)
    require_refused(place, capsys, train(*words.split(), run="new"), before, *parts)


def test_a_damaged_start_is_refused_and_a_whole_one_is_not(place: Path, capsys: Say) -> None:
    weights_cut_off(place)
    before = tree(place)
    require_refused(
        place, capsys, train("--from", "run", run="new"), before, "is missing or altered"
    )


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(OTHERWISE) + len(BESIDE) + len(FROM) >= 60
