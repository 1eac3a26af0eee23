"""The command line: help that teaches, errors that say what to do, and one short real run."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from help_text import explained

from softflow.cli.exchange_options import Learn, Serve
from softflow.cli.main import COMMANDS, main
from softflow.cli.robot_options import Robot as RobotOptions
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.presets import PRESETS, softflow_plus
from softflow.training.run_folder import RunFolder

STATE = "observation.state"
SPEC = DataSpec({STATE: (3,)}, 2, (-1.0, -1.0), (1.0, 1.0), 10.0, "cube-single")
TINY = [
    "--model.policy.num-layers=2",
    "--model.policy.dim=16",
    "--model.policy.mlp-dim=16",
    "--model.policy.head-hidden-dim=16",
    "--model.encoder.token-dim=16",
    "--model.encoder.hidden-dim=16",
    "--model.critic.dim=16",
    "--model.critic.mlp-dim=16",
    "--imitation.num-updates=3",
    "--imitation.batch-size=8",
    "--critic-warmup.num-updates=2",
    "--critic-warmup.batch-size=8",
    "--offline-rl.num-updates=2",
    "--offline-rl.batch-size=8",
    "--online-rl.num-updates=2",
    "--online-rl.batch-size=8",
    "--online-rl.num-rounds=1",
    "--online-rl.episodes-per-round=1",
    "--execution-candidates=2",
    "--eval-episodes=0",
    "--round-eval-episodes=0",
    "--num-workers=1",
]
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def softflow(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """`softflow("train", …)`: exit status, output and errors of a command."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as stop:  # tyro leaves this way
            status = int(stop.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def episode(seed: int = 0, length: int = 8, success: bool = True) -> Episode:
    rng = np.random.default_rng(seed)
    rewards = np.zeros(length, np.float32)
    rewards[-1] = success
    return Episode(
        {STATE: rng.normal(size=(length + 1, 3)).astype(np.float32)},
        rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards,
        terminated=success,
        truncated=not success,
        success=success,
    )


def make_store(path: Path, *episodes: Episode, spec: DataSpec = SPEC) -> Path:
    with EpisodeStore.create(path, spec) as store:
        for item in episodes:
            store.append(item)
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_store(tmp_path / "demos", *(episode(seed) for seed in range(3)))


@pytest.fixture
def imitate(softflow: Say, tmp_path: Path) -> Say:
    """`imitate(dataset, …)`: a few updates of imitation in the folder "run"."""

    def run(store: Path, *words: object) -> tuple[int, str, str]:
        start = ("train", "small", "--dataset", store, "--run", tmp_path / "run")
        return softflow(*start, "--stages", "imitation", *TINY, *words)

    return run


def is_clear_refusal(answer: tuple[int, str, str], *parts: str) -> bool:
    """Status 2, one message that holds the parts, and no traceback."""
    status, _, errors = answer
    assert status == 2, errors
    assert errors.startswith("\nsoftflow: "), errors
    assert "Traceback" not in errors
    missing = [part for part in parts if part not in errors]
    assert not missing, f"{missing} not in: {errors}"
    return True


# ---- help ---------------------------------------------------------------------------------------


def option_names(config: Any, prefix: str) -> list[str]:
    names: list[str] = []
    for item in fields(config):
        name = f"{prefix}{item.name.replace('_', '-')}"
        value = getattr(config, item.name)
        names += option_names(value, f"{name}.") if is_dataclass(value) else [name]
    return names


OPTIONS = {
    "demo": ["--run", "--env", "--demonstrations", "--seed"],
    "collect": [
        "--out",
        "--env",
        "--episodes",
        "--operator",
        "--seed",
        "--workers",
        "--image-size",
    ],
    "train": ["--dataset", "--run", "--stages", *option_names(softflow_plus(), "--")],
    "evaluate": [
        "PATH",
        "--episodes",
        "--seed",
        "--rule",
        "--candidates",
        "--workers",
        "--latency-ms",
        "--out",
    ],
    "robot": [
        "STR",
        *(set(option_names(RobotOptions("run", Path("out"), "lift"), "--")) - {"--policy"}),
    ],
    "report": ["RUN", "--out"],
    "learn": ["PATH", *option_names(Learn(Path(), Path()), "--")[1:]],
    "serve": ["PATH", *option_names(Serve(Path()), "--")[1:]],
    "exchange": [],  # its commands are in test_exchange_commands
    "data": [],  # its commands are in test_store_commands
    "label": ["--exchange", "--events", "--annotator", "--host", "--port", "--token-file"],
    "teacher": [],  # its commands are in test_teacher_commands
    "cube-pose": [],  # its commands are in perception/test_cube_pose_command
}


def test_the_first_help_shows_every_command(softflow: Say) -> None:
    for words in ((), ("--help",), ("-h",), ("help",)):
        status, out, _ = softflow(*words)
        assert status == 0
        assert all(f"softflow {command}" in out for command in COMMANDS)
        assert "softflow COMMAND --help" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_explains_every_option(softflow: Say, command: str) -> None:
    status, out, _ = softflow(command, *["softflow-plus"] * (command == "train"), "--help")
    assert status == 0
    text = explained(out)
    assert [name for name in OPTIONS[command] if name not in text] == []
    silent = [name for name in OPTIONS[command] if len(text[name].strip()) < 8]
    assert silent == []


@pytest.mark.parametrize("name", PRESETS)
def test_help_of_train_shows_the_numbers_of_the_preset(softflow: Say, name: str) -> None:
    _, out, _ = softflow("train", name, "--help")
    config = PRESETS[name]()
    assert f"--imitation.num-updates {config.imitation.num_updates} " in out
    assert f"--model.chunk.chunk-length {config.model.chunk.chunk_length} " in out
    assert f"train {name}" in out


# ---- words that do not exist --------------------------------------------------------------------


def test_an_unknown_command_suggests_the_nearest(softflow: Say) -> None:
    assert is_clear_refusal(softflow("tarin"), 'no command "tarin"', 'did you mean "train"?')
    assert is_clear_refusal(softflow("xyz"), ", ".join(COMMANDS))


def test_an_unknown_preset_lists_the_presets(softflow: Say) -> None:
    answer = softflow("train", "samll", "--dataset", "x", "--run", "y")
    assert is_clear_refusal(answer, 'no preset "samll"', ", ".join(PRESETS))


def test_the_paper_preset_of_before_says_which_two_to_choose_from(softflow: Say) -> None:
    answer = softflow("train", "paper", "--dataset", "x", "--run", "y")
    assert is_clear_refusal(answer, "robomimic-state", "scissors")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--imitation.num-update", "3"), "--imitation.num-updates"),
        (("--imitation.num-updates", "many"), "many"),
        (("--stages", "imitaton"), "imitaton"),
        (("--tau",), "--tau"),
    ],
)
def test_an_override_that_does_not_fit_fails(
    softflow: Say, tmp_path: Path, words: tuple[str, ...], hint: str
) -> None:
    start = ("train", "small", "--dataset", tmp_path, "--run", tmp_path / "run")
    status, out, errors = softflow(*start, *words)
    assert status == 2
    assert hint in out + errors
    assert not (tmp_path / "run").exists()


def test_required_options_are_asked_for(softflow: Say) -> None:
    status, out, errors = softflow("train", "small")
    assert status == 2
    assert "--dataset" in out + errors
    assert "--run" in out + errors


def test_a_value_out_of_range_is_refused(imitate: Say, dataset: Path, tmp_path: Path) -> None:
    assert is_clear_refusal(imitate(dataset, "--discount", "1.5"), "discount is 1.5")
    assert not (tmp_path / "run").exists()


# ---- data that cannot be trained on -------------------------------------------------------------


def test_no_dataset(imitate: Say, tmp_path: Path) -> None:
    assert is_clear_refusal(imitate(tmp_path / "none"), "none", "softflow collect")


def test_an_empty_dataset(imitate: Say, tmp_path: Path) -> None:
    empty = make_store(tmp_path / "empty")
    assert is_clear_refusal(imitate(empty), "holds no episodes", "softflow collect")


@pytest.mark.slow
def test_no_successful_episode(imitate: Say, tmp_path: Path) -> None:
    failures = make_store(tmp_path / "failures", episode(0, success=False))
    assert is_clear_refusal(imitate(failures), "none of the 1 episodes", "add successful")


@pytest.mark.parametrize("where", ["observation", "action"])
def test_a_dataset_with_nan(
    imitate: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    bad = episode(1)
    array = bad.observations[STATE] if where == "observation" else bad.actions
    array[5, 1] = np.nan
    with monkeypatch.context() as patch:
        # The store refuses such an episode; this one was written by something else.
        patch.setattr(Episode, "validate", lambda *_: None)
        store = make_store(tmp_path / "demos", episode(0), bad)
    assert is_clear_refusal(imitate(store), "is nan", "step 5")


def test_a_dataset_without_state(imitate: Say, tmp_path: Path) -> None:
    camera = "observation.images.front"
    spec = replace(SPEC, observation_shapes={camera: (8, 8, 3)})
    blind = replace(episode(), observations={camera: np.zeros((9, 8, 8, 3), np.uint8)})
    store = make_store(tmp_path / "demos", blind, spec=spec)
    assert is_clear_refusal(imitate(store), f'no "{STATE}"', "record the robot's state")


@pytest.mark.slow
def test_constant_actions_and_short_episodes_are_no_obstacle(imitate: Say, tmp_path: Path) -> None:
    still, short = episode(0), episode(1, length=2)
    for item in (still, short):
        item.actions[:, 1] = 0.25
    with pytest.warns(UserWarning, match=r"component 1 is constant \(0.25\)"):
        status, _, errors = imitate(make_store(tmp_path / "demos", still, short))
    assert status == 0, errors


# ---- continuing ---------------------------------------------------------------------------------


def test_settings_that_cannot_change_are_refused_with_their_names(
    imitate: Say, dataset: Path
) -> None:
    status, _, errors = imitate(dataset)
    assert status == 0, errors
    answer = imitate(dataset, "--discount", "0.9", "--seed", "7")
    lines = ("discount: there ", ", now 0.9", "seed: there 0, now 7")
    assert is_clear_refusal(answer, *lines, "Choose another --run folder")
    assert "bc_coef" not in answer[2], "only what differs"
    status, _, errors = imitate(dataset, "--num-workers", "2", "--checkpoint-interval-s", "1")
    assert status == 0, "these do not change the result"


def test_another_dataset_is_refused(imitate: Say, dataset: Path, tmp_path: Path) -> None:
    assert imitate(dataset)[0] == 0
    other = make_store(tmp_path / "other", episode(9))
    assert is_clear_refusal(imitate(other), "episode 0 is another recording", "other", "--from")


def test_a_dataset_that_became_another_is_refused(
    imitate: Say, dataset: Path, tmp_path: Path
) -> None:
    assert imitate(dataset)[0] == 0
    dataset.rename(tmp_path / "away")
    wider = replace(
        episode(), observations={STATE: np.repeat(episode().observations[STATE], 2, axis=1)}
    )
    spec = replace(SPEC, observation_shapes={STATE: (6,)})
    make_store(dataset, wider, spec=spec)
    assert is_clear_refusal(imitate(dataset), STATE, "[3]", "[6]")


def test_two_learners_in_one_folder(imitate: Say, dataset: Path, tmp_path: Path) -> None:
    assert imitate(dataset)[0] == 0
    first = RunFolder(tmp_path / "run")
    assert is_clear_refusal(imitate(dataset), "the run '", "already has a writer")
    first.close()
    assert imitate(dataset)[0] == 0


# ---- evaluate, report, collect ------------------------------------------------------------------


def test_evaluate_needs_a_checkpoint(softflow: Say, tmp_path: Path) -> None:
    answer = softflow("evaluate", tmp_path)
    assert is_clear_refusal(answer, "nor a checkpoint", "RUN/checkpoints/last")


@pytest.mark.slow
def test_a_warning_is_shown_without_the_line_of_source(tmp_path: Path) -> None:
    spec = replace(SPEC, env_id="")
    still = replace(episode(), actions=np.full((8, 2), 0.25, np.float32))
    store = make_store(tmp_path / "still", still, spec=spec)
    command = [
        sys.executable,
        "-c",
        "import sys; from softflow.cli.main import main; sys.exit(main())",
    ]
    words = ["train", "small", "--dataset", store, "--run", tmp_path / "run", *TINY]
    done = subprocess.run(
        [*command, *map(str, words), "--stages", "imitation"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if "constant" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"careful: '{store}': action components 0, 1 are constant")
    assert "UserWarning" not in done.stderr


@pytest.mark.parametrize("number", [errno.EIO, errno.EBADF, errno.EAGAIN, errno.EDQUOT])
def test_a_terminal_or_log_that_is_gone_is_told_of(
    dataset: Path,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refused(_: str) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "write", refused)
        assert main(["data", "inspect", str(dataset)]) == 2
    assert os.strerror(number) in capsys.readouterr().err


def test_who_reads_no_further_is_not_told_that_all_went_well(dataset: Path) -> None:
    """`softflow data inspect STORE | head -0 && echo done`."""
    command = [sys.executable, "-m", "softflow", "data", "inspect", str(dataset)]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert ended.returncode == 128 + signal.SIGPIPE
    assert b"Traceback" not in ended.stderr


def test_report_needs_a_run(softflow: Say, tmp_path: Path) -> None:
    assert is_clear_refusal(softflow("report", tmp_path / "nothing"), "no run folder")


def test_collect_needs_a_known_task(softflow: Say, tmp_path: Path) -> None:
    words = ("--out", tmp_path / "demos", "--env", "cube-singel", "--workers", "1")
    assert is_clear_refusal(softflow("collect", *words), "cube-singel", "cube-single")
    assert not (tmp_path / "demos").exists()


@pytest.mark.slow
def test_collect_train_evaluate_report_on_cube_single(softflow: Say, tmp_path: Path) -> None:
    demos, run = tmp_path / "demos", tmp_path / "run"
    collect = ("collect", "--workers", "1", "--episodes")
    status, out, errors = softflow(*collect, "3", "--out", demos)
    assert status == 0, errors
    assert len(EpisodeStore.open(demos)) == 3
    assert "operator" in out
    filmed = tmp_path / "filmed"
    status, out, errors = softflow(*collect, "1", "--out", filmed, "--image-size", "16", "24")
    assert status == 0, errors
    assert EpisodeStore.open(filmed).spec.image_size == (16, 24)

    train = ("train", "small", "--dataset", demos, "--run", run, *TINY)
    status, out, errors = softflow(*train, "--stages", "imitation", "--eval-episodes", "1")
    assert status == 0, errors
    assert "imitation: success" in out
    assert b"ftyp" in (run / "videos/imitation.mp4").read_bytes()[:16]

    status, out, errors = softflow(*train)
    assert status == 0, errors
    assert "continuing from imitation, update 3" in out
    assert len(EpisodeStore.open(run / "online")) == 1
    last = run / "checkpoints/last"
    assert last.resolve().name == "3_online_rl_00000002"

    status, out, errors = softflow("evaluate", last, "--episodes", "1", "--workers", "1")
    assert status == 0, errors
    (result,) = (run / "evaluations/extra").glob("*.json")
    facts = json.loads(result.read_text())
    assert (facts["rule"], facts["num_episodes"], facts["online_episodes"]) == ("value", 1, 1)

    late = ("--episodes", "1", "--workers", "1", "--latency-ms", "60", "110")
    status, out, errors = softflow("evaluate", last, *late)
    assert status == 0, errors
    (result,) = (run / "evaluations/extra").glob("*-latency60-110ms.json")
    assert json.loads(result.read_text())["latency_ms"] == [60, 110]

    (run / "report.html").unlink()
    status, out, errors = softflow("report", run)
    assert status == 0, errors
    page = (run / "report.html").read_text()
    assert "cube-single" in page
    assert "data:video/mp4;base64," in page
    assert (run / "metrics.csv").read_text().count("\n") > 5


@pytest.mark.parametrize(
    ("command", "said"),
    [("train", "continues from the last checkpoint"), ("evaluate", "What was finished is kept")],
)
def test_a_stop_says_what_is_left_of_it(
    command: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("softflow.cli.main._run", stopped)
    assert main([command, "--help-me"]) == 130
    assert said in capsys.readouterr().err
