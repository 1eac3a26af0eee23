"""`softflow data …` as a user types it: what it prints, writes, refuses and returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from softflow.cli.data.store_commands import COMMANDS
from softflow.cli.main import main
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import write_episode_file
from softflow.data.labels import Event, Label
from softflow.pages.data_tables import names_text

STATE, CAMERA = "observation.state", "observation.images.front"
SPEC = DataSpec(
    {STATE: (3,), CAMERA: (8, 8, 3)}, 2, (-1, -1), (1, 1), 10.0, "toy", {"action": ("dx", "grip")}
)
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """`data("inspect", …)`: exit status, output and errors of a data command."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = main(["data", *(str(word) for word in words)])
        except SystemExit as stop:  # tyro leaves this way
            status = int(stop.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def episode(seed: int, success: bool = True, length: int = 24) -> Episode:
    rng = np.random.default_rng(seed)
    rewards = np.zeros(length, np.float32)
    rewards[-1] = success
    return Episode(
        {
            STATE: np.cumsum(rng.normal(size=(length + 1, 3)), axis=0).astype(np.float32),
            CAMERA: rng.integers(0, 256, (length + 1, 8, 8, 3), dtype=np.uint8),
        },
        rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards,
        terminated=success,
        truncated=not success,
        success=success,
        metadata={"operator": "anna" if seed % 2 else "bert", "source": "toy", "seed": seed},
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Six episodes, the even ones successes by bert, the odd ones failures by anna."""
    with EpisodeStore.create(tmp_path / "store", SPEC) as written:
        for seed in range(6):
            written.append(episode(seed, success=seed % 2 == 0, length=20 + seed))
    return tmp_path / "store"


def break_one(store: Path, index: int = 2) -> None:
    """Write NaN and an action out of bounds, as another program might."""
    bad = episode(index, length=22)
    bad.observations[STATE][5, 1] = np.nan
    bad.actions[9:11, 1] = 1.5
    write_episode_file(EpisodeStore.open(store).episode_path(index), bad)


# ---- help and refusals --------------------------------------------------------------------------


def test_the_overview_names_every_command(data: Say) -> None:
    for words in ((), ("--help",), ("help",)):
        status, out, _ = data(*words)
        assert status == 0
        assert all(f"softflow data {name}" in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option(data: Say, name: str) -> None:
    status, out, _ = data(name, "--help")
    assert status == 0
    options = [f"--{item.name.replace('_', '-')}" for item in fields(COMMANDS[name][0])]
    # A word of Python, and so no name of a field.
    options = ["--with" if (name, option) == ("propose", "--by") else option for option in options]
    places = [option for option in options if option not in ("--store", "--stores", "--source")]
    if name in ("merge", "filter", "render"):
        places.remove("--out")
    assert [option for option in places if option not in out] == []
    assert "--no-" not in out


def test_help_behind_a_list_of_stores(data: Say) -> None:
    status, out, _ = data("merge", "out", "one", "two", "--help")
    assert status == 0
    assert "Folder of the new store" in out


def test_a_stop_by_the_keyboard_says_what_is_there(
    data: Say, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(EpisodeStore, "episode", stop)
    monkeypatch.setattr(EpisodeStore, "append_copy", stop)
    status, _, errors = data("validate", store)
    assert status == 130
    assert "Stopped. Nothing was written." in errors
    status, _, errors = data("merge", tmp_path / "out", store)
    assert status == 130
    assert "the same command goes on" in errors


def test_an_unknown_command_suggests_the_nearest(data: Say) -> None:
    status, _, errors = data("inspekt", "x")
    assert status == 2
    assert 'no command "data inspekt"; did you mean "inspect"?' in errors


@pytest.mark.parametrize("name", ["inspect", "validate", "stats", "plot"])
def test_no_store(data: Say, tmp_path: Path, name: str) -> None:
    status, _, errors = data(name, tmp_path / "nothing")
    assert status == 2
    assert "nothing' is not an episode store" in errors
    assert "Traceback" not in errors


# ---- inspect, stats -----------------------------------------------------------------------------


def test_inspect_shows_the_store(data: Say, store: Path) -> None:
    opened = EpisodeStore.open(store)
    opened.label(1, Label("carl", (Event(3, "success", 1.0),)))
    status, out, _ = data("inspect", store)
    assert status == 0
    flat = " ".join(out.split())
    for part in (
        "episodes 6",
        "steps 118 at 10 Hz, 11.8 s",  # 20 + 4 + 22 + 23 + 24 + 25
        "success 4/6 = 67 % (95 % interval 30–90 %)",
        "labels 1 labelled afterwards, 0 not labelled",
        "environment toy",
        "store format 2",
        "observation.images.front 8 x 8 x 3 uint8",
        "action 2 float32 dx, grip",
        "bert 3/3 = 100 %",
        "anna 1/3 = 33 %",
    ):
        assert part in flat, part


def test_numbered_components_are_one_word() -> None:
    names = ("eef.0", "eef.1", "eef.2", "width", "joint.1", "joint.3", "q.9", "q.10", "q", "1")
    assert names_text(names) == "eef.0–2, width, joint.1, joint.3, q.9–10, q, 1"
    assert names_text(()) == ""


def test_inspect_lists_episodes_and_shows_one(data: Say, store: Path) -> None:
    EpisodeStore.open(store).label(1, Label("carl", (Event(3, "success", 1.0),)))
    _, out, _ = data("inspect", store, "--episodes")
    lines = [line.split() for line in out.splitlines()]
    assert ["1", "4", "yes", "terminated", "1", "1", "anna", "toy"] in lines
    assert ["5", "25", "no", "truncated", "0", "0", "anna", "toy"] in lines
    _, out, _ = data("inspect", store, "--episode", 1)
    assert "carl" in out
    assert "success at step 3 (1)" in out
    assert '"seed": 1' in out
    status, _, errors = data("inspect", store, "--episode", 6)
    assert status == 2
    assert "has no episode 6" in errors


def test_an_empty_store(data: Say, tmp_path: Path) -> None:
    EpisodeStore.create(tmp_path / "empty", SPEC).close()
    for words in (("inspect", "--episodes"), ("stats",), ("validate",)):
        status, out, errors = data(words[0], tmp_path / "empty", *words[1:])
        assert status == 0, errors
        flat = " ".join(out.split())
        assert any(part in flat for part in ("episodes 0", "0 episodes", "holds no episodes"))
    assert data("plot", tmp_path / "empty")[0] == 2


def test_stats_prints_and_writes_the_numbers(data: Say, store: Path, tmp_path: Path) -> None:
    file = tmp_path / "stats.json"
    status, out, _ = data("stats", store, "--images", "--json", file)
    assert status == 0
    numbers = json.loads(file.read_text())
    opened = EpisodeStore.open(store)
    actions = np.concatenate([opened.episode(i).actions for i in range(6)]).astype(np.float64)
    grip = numbers["keys"]["action"]["components"]["grip"]
    assert grip["mean"] == pytest.approx(actions[:, 1].mean(), rel=1e-12)
    assert grip["quantiles"]["0.5"] == pytest.approx(np.median(actions[:, 1]), rel=1e-12)
    assert numbers["length"] == {"min": 20, "median": 22.5, "mean": 22.5, "max": 25, "sum": 135}
    assert (numbers["successes"], numbers["success_rate"]) == (3, 0.5)
    assert numbers["keys"][CAMERA]["count"] == (135 + 6) * 64
    assert f"{actions[:, 1].mean():.4g}" in out
    assert "blue" in out


# ---- validate -----------------------------------------------------------------------------------


def test_validate_is_silent_on_a_good_store(data: Say, store: Path) -> None:
    status, out, _ = data("validate", store)
    assert (status, out) == (0, "6 episodes, no problems\n")


def test_validate_lists_every_problem_and_returns_1(data: Say, store: Path, tmp_path: Path) -> None:
    break_one(store)
    file = tmp_path / "problems.json"
    status, out, _ = data("validate", store, "--json", file)
    assert status == 1
    assert "error: episode 2, 'observation.state', step 5, component 1: nan" in out
    assert "error: episode 2, 'action', steps 9–10, component 1: up to 1.5 (grip)" in out
    assert "1 of them with errors: 2 errors, 0 warnings (1 action-outside, 1 not-finite)" in out
    found = json.loads(file.read_text())
    assert [(p["check"], p["episode"], p["step"]) for p in found] == [
        ("not-finite", "2", 5),
        ("action-outside", "2", 9),
    ]
    status, out, _ = data("validate", store, "--show", 1)
    assert "and 1 more" in out
    assert data("validate", store, "--ignore", "not-finite", "action-outside")[0] == 0


def test_warnings_count_only_if_asked(data: Say, store: Path) -> None:
    status, out, _ = data("validate", store, "--min-length", 21)
    assert status == 0
    assert "warning: episode 0: 20 control steps, fewer than 21 [too-short]" in out
    assert data("validate", store, "--min-length", 21, "--strict")[0] == 1


def test_validate_takes_rates(data: Say, store: Path) -> None:
    status, out, _ = data("validate", store, "--max-rate", "action[dx]=15", f"{STATE}=1000")
    assert status == 1
    assert "(dx), the limit is 15 [jump]" in out
    assert "(grip), the limit" not in out
    assert data("validate", store, "--max-rate", "action")[0] == 2


def test_validate_refuses_what_cannot_be_meant_before_it_reads(data: Say, store: Path) -> None:
    for words, hint in (
        (("--ignore", "jumps"), "no check 'jumps'; choose from"),
        (("--usual-sigmas", "nan"), "--usual-sigmas is nan"),
    ):
        status, out, errors = data("validate", store, *words)
        assert (status, out) == (2, "")
        assert hint in errors
        assert "usual rates" not in errors
    break_one(store)
    _, out, _ = data("validate", store, "--show", -3)
    assert out.startswith("… and ")


# ---- merge, filter ------------------------------------------------------------------------------


def test_merge(data: Say, store: Path, tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "other", SPEC) as other:
        other.append(episode(9))
    EpisodeStore.open(store).label(0, Label("carl", ()))
    status, out, errors = data("merge", tmp_path / "out", store, tmp_path / "other")
    assert status == 0, errors
    assert "7 episodes copied, 1 labels carried over" in out
    _, out, _ = data("merge", tmp_path / "out", store, tmp_path / "other")
    assert "0 episodes copied, 7 were there already" in out
    assert len(EpisodeStore.open(tmp_path / "out")) == 7


def test_merge_refuses_what_does_not_fit(data: Say, store: Path, tmp_path: Path) -> None:
    EpisodeStore.create(tmp_path / "other", replace(SPEC, control_hz=20)).close()
    status, _, errors = data("merge", tmp_path / "out", store, tmp_path / "other")
    assert status == 2
    assert "control_hz: 10.0 and 20.0" in errors


def test_filter_says_why_and_keeps_the_rest(data: Say, store: Path, tmp_path: Path) -> None:
    break_one(store)
    words = ("--success", "--operator", "bert", "--min-length", 21, "--drop-invalid")
    status, out, errors = data("filter", store, tmp_path / "out", *words)
    assert status == 0, errors
    lines = [line.strip() for line in out.splitlines()]
    assert lines[0] == "keeping 1 of 6 episodes"
    assert set(lines[1:5]) == {
        "3 dropped: no success",
        "3 dropped: another operator",
        "1 dropped: shorter than 21 steps",
        "1 dropped: invalid (not-finite, action-outside)",
    }
    out_store = EpisodeStore.open(tmp_path / "out")
    assert [s.metadata["seed"] for s in out_store.summaries()] == [4]


def test_filter_can_be_tried_first(data: Say, store: Path, tmp_path: Path) -> None:
    status, out, _ = data("filter", store, tmp_path / "out", "--failure", "--dry-run")
    assert (status, out.splitlines()[0]) == (0, "keeping 3 of 6 episodes")
    assert not (tmp_path / "out").exists()
    status, out, _ = data("filter", store, tmp_path / "out", "--where", "seed=3", "source=toy")
    assert "keeping 1 of 6" in out
    status, out, _ = data("filter", store, tmp_path / "none", "--where", "seed=77")
    assert (status, out.splitlines()[0]) == (0, "keeping 0 of 6 episodes")
    assert not (tmp_path / "none").exists()
    assert data("filter", store, tmp_path / "x", "--success", "--failure")[0] == 2
    assert data("filter", store, tmp_path / "x", "--where", "seed")[0] == 2


# ---- relabel ------------------------------------------------------------------------------------


def test_relabel_from_a_table_only_shows_until_told_to_write(
    data: Say, store: Path, tmp_path: Path
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("episode,step,kind,value\n1,7,success,\n0,,none,\n")
    words = ("relabel", store, "--table", table, "--annotator", "carl")
    status, out, _ = data(*words)
    assert status == 0
    assert "episode 1: no success, 21 steps, return 0, recorded -> success, 8 steps" in out
    assert "2 labels to write; --write does it" in out
    assert EpisodeStore.open(store).labels(1) == []
    status, out, _ = data(*words, "--write")
    assert "2 labels written" in out
    opened = EpisodeStore.open(store)
    assert [s.success for s in opened.summaries()] == [False, True, True, False, True, False]
    _, out, _ = data(*words)
    assert out == "0 labels to write; --write does it\n"
    status, _, errors = data(*words, "--episodes", 1)
    assert status == 2
    assert "leave --episodes out" in errors


def test_relabel_by_a_rule_and_back(data: Say, store: Path) -> None:
    rule = "action[dx]>0.5 and action[grip]<0.9"
    status, out, errors = data("relabel", store, "--success-when", rule, "--write")
    assert status == 0, errors
    opened = EpisodeStore.open(store)
    for index in range(6):
        actions = opened.episode(index, labelled=False).actions
        first = int(np.argmax((actions[:, 0] > 0.5) & (actions[:, 1] < 0.9)))
        assert opened.summary(index).length == first + 1
        assert opened.summary(index).metadata["annotator"] == f"success when {rule}"
    status, out, _ = data("relabel", store, "--clear", "--episodes", 0, 1, "--write")
    assert "2 labels written" in out
    opened.refresh()
    assert [s.length for s in opened.summaries()[:2]] == [20, 21]
    assert opened.summary(2).length < 22


def test_relabel_all_as_successes_and_undo(data: Say, store: Path) -> None:
    words = ("relabel", store, "--success-at-end", "--annotator", "anna", "--write", "--show", 1)
    status, out, _ = data(*words)
    assert status == 0
    assert out.splitlines()[1:] == [
        "… and 5 more (--show)",
        "6 labels written",
        "successes of 6 episodes: 3 before, 6 with these labels",
    ]
    assert "anna       6/6 = 100 %" in data("inspect", store)[1]
    status, out, _ = data("relabel", store, "--undo", "anna", "--write")
    assert "successes of 6 episodes: 6 before, 3 with these labels" in out
    status, _, errors = data("relabel", store, "--undo", "anna")
    assert status == 2
    assert "no label by 'anna' counts" in errors


def test_relabel_needs_one_way_to_label(data: Say, store: Path) -> None:
    for words in ((), ("--clear", "--success-when", "action[0]>0")):
        status, _, errors = data("relabel", store, *words)
        assert status == 2
        assert "--success-at-end, --undo ANNOTATOR, --clear" in errors
    status, _, errors = data("relabel", store, "--success-when", "action[7]>0")
    assert status == 2
    assert "give 0 to 1 or one of dx, grip" in errors
