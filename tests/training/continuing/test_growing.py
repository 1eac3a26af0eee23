"""A run goes on with other numbers and more data, and its history says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from grown_runs import Trainer, grown, short_config
from point_world import demonstration, point_spec, write_demonstrations
from runs_compared import metric_rows

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.deployment.deployed_policy import load_policy
from softflow.errors import ConfigError, StoreError
from softflow.models.policies.coupling import FlowConfig
from softflow.pages.run_report import write_report
from softflow.training.config import DataConfig, StageName, TrainingConfig
from softflow.training.continuing.changes import (
    as_told,
    cannot_mean_anything,
    of_stages_to_come,
)
from softflow.training.continuing.history import Change, History, read_history
from softflow.training.persistence import STATISTICS, read_run_facts
from softflow.training.run_folder import Position
from softflow.utils.files import read_object

ALL: tuple[StageName, ...] = ("imitation", "critic_warmup", "offline_rl", "online_rl")


def changes_of(history: History) -> list[tuple[str, int, str, Any, Any]]:
    return [
        (entry.stage, entry.update_step, change.what, change.before, change.now)
        for entry in history.continuations
        for change in entry.changes
    ]


def state_of(run: Path) -> dict[str, str]:
    """Digests of all weights and optimisers of the last checkpoint, its statistics, its place."""
    files = json.loads((run / "checkpoints/last/MANIFEST.json").read_text())["files"]
    return {name: d for name, d in files.items() if not name.endswith(("config.json",))}


def longer(config: TrainingConfig, stage: StageName, num_updates: int) -> TrainingConfig:
    return grown(config, stage, num_updates=num_updates)


# ---- more updates --------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["imitation", pytest.param("offline_rl", marks=pytest.mark.slow)])
def test_more_updates_give_the_bits_of_a_run_that_had_them_from_the_start(
    trainer: Trainer, stage: StageName
) -> None:
    config, stages = short_config(), ALL[: ALL.index(stage) + 1]
    run = trainer.run("grown", config, stages)
    for num_updates in (9, 12):
        trainer.run("grown", longer(config, stage, num_updates), stages)
    whole = trainer.run("whole", longer(config, stage, 12), stages)
    ours, theirs = state_of(run), state_of(whole)
    position = "training_state/position.json"  # the rows of metrics.csv are more by the ends
    assert ours.pop(position) != "" != theirs.pop(position)
    assert ours == theirs
    assert changes_of(read_history(run)) == [
        (stage, 6, f"{stage}.num_updates", 6, 9),
        (stage, 9, f"{stage}.num_updates", 9, 12),
    ]
    assert read_history(whole) == History()


@pytest.mark.slow
def test_more_rounds_give_the_bits_of_a_run_that_had_them_from_the_start(trainer: Trainer) -> None:
    config = short_config()
    run = trainer.run("grown", config, ALL)
    more = grown(config, "online_rl", num_rounds=3)
    trainer.run("grown", more, ALL)
    whole = trainer.run("whole", more, ALL)
    for name in ("pretrained_model/model.safetensors", "algorithm/critic.safetensors"):
        assert state_of(run)[name] == state_of(whole)[name]
    assert len(EpisodeStore.open(run / "online")) == 9
    assert changes_of(read_history(run)) == [("online_rl", 12, "online_rl.num_rounds", 2, 3)]


def test_a_falling_learning_rate_follows_the_longer_schedule_from_then_on(trainer: Trainer) -> None:
    """So the result is not that of a run that had the longer one from its first update."""
    config = grown(short_config(), "imitation", learning_rate_decay=0.5)
    more = longer(config, "imitation", 12)
    run, whole = trainer.run("grown", config), trainer.run("whole", more)
    trainer.run("grown", more)
    assert state_of(run) != state_of(whole)
    assert more.imitation.learning_rate_at(6) > config.imitation.learning_rate_at(5)


@pytest.mark.parametrize(("share", "before", "after"), [(None, 15, 30), (0.3, 12, 24)])
def test_new_episodes_of_which_some_are_held_out(
    trainer: Trainer, share: float | None, before: int, after: int
) -> None:
    config, data = short_config(data=DataConfig(held_out=share)), trainer.folder / "grows"
    write_demonstrations(data, (True,) * before)
    run = trainer.run("run", config, data=data)
    held_out = read_object(run / "config.json")["held_out_episodes"]
    with EpisodeStore.open(data, writable=True) as store:
        for seed in range(before, after):
            store.append(demonstration(seed, towards_goal=True))
    trainer.run("run", longer(config, "imitation", 9), data=data)
    more = read_object(run / "config.json")["held_out_episodes"]
    assert set(held_out) < set(more)
    assert min(set(more) - set(held_out)) >= before, "none that it has learned from"
    changes = {what: now for *_, what, _, now in changes_of(read_history(run))}
    assert changes["held_out_episodes"] == more


def test_a_stage_cannot_be_shorter_than_it_is(trainer: Trainer) -> None:
    trainer.run("run")
    refused(trainer, longer(short_config(), "imitation", 5), r"there 6, now 5 \(6 updates are done")


LENGTHS = [
    (Change("imitation.num_updates", 12, 6), Position("imitation", 6), ""),
    (Change("imitation.num_updates", 12, 5), Position("imitation", 6), "6 updates are done"),
    (Change("online_rl.num_rounds", 5, 3), Position("online_rl", 18), ""),
    (Change("online_rl.num_rounds", 5, 3), Position("online_rl", 19), "4 rounds have begun"),
    (Change("online_rl.num_rounds", 5, 0), Position("offline_rl", 9), ""),
]


@pytest.mark.parametrize(("change", "position", "why"), LENGTHS)
def test_a_stage_may_end_where_it_is(change: Change, position: Position, why: str) -> None:
    now = {"online_rl.num_updates": 6}
    assert cannot_mean_anything(change, position, True, now) == why


def test_the_results_of_the_earlier_end_are_kept_beside_the_new_ones(trainer: Trainer) -> None:
    config = short_config(eval_episodes=2)
    run = trainer.run("run", config)
    first = (run / "evaluations/imitation.json").read_text()
    (run / "videos/imitation.success.mp4").write_bytes(b"of an earlier end")
    trainer.run("run", longer(config, "imitation", 9))
    assert (run / "evaluations/imitation_00000006.json").read_text() == first
    assert len(EpisodeStore.open(run / "evaluations/imitation_00000006")) == 2
    now = json.loads((run / "evaluations/imitation.json").read_text())
    assert (now["update_step"], now["policy_version"]) == (9, "0_imitation_00000009")
    for folder in ("diagnostics", "videos"):
        names = {path.name for path in (run / folder).iterdir()}
        assert {"imitation.json", "imitation_00000006.json"} <= names
    assert (run / "videos/imitation_00000006.success.mp4").read_bytes() == b"of an earlier end"
    assert b"of an earlier end" not in {
        film.read_bytes() for film in run.glob("videos/imitation.*")
    }
    assert {"0_imitation_00000006", "0_imitation_00000009"} <= {
        path.name for path in (run / "checkpoints").iterdir()
    }, "an evaluation names it"
    measured = [row for row in metric_rows(run) if row[0] == "imitation" and "success_rate" in row]
    assert [row[1] for row in measured] == ["6", "9"]
    trainer.run("run", longer(config, "imitation", 9))
    assert json.loads((run / "evaluations/imitation.json").read_text()) == now, "measured once"


# ---- other numbers -------------------------------------------------------------------------------

CHANGES: dict[str, tuple[TrainingConfig, tuple[str, Any, Any]]] = {
    "learning rate": (
        grown(short_config(), "imitation", learning_rate=1e-4),
        ("imitation.learning_rate", 3e-3, 1e-4),
    ),
    "batch": (grown(short_config(), "imitation", batch_size=4), ("imitation.batch_size", 16, 4)),
    "sampling_std": (short_config(sampling_std=0.3), ("sampling_std", 0.7, 0.3)),
    "evaluation": (short_config(round_eval_episodes=1), ("round_eval_episodes", 0, 1)),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_other_numbers_count_from_the_next_update_on(
    trainer: Trainer, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config, (what, before, now) = CHANGES[kind]
    run = trainer.run("run")
    trainer.run("run", longer(config, "imitation", 9))
    changed = {change[2]: change for change in changes_of(read_history(run))}
    assert changed[what] == ("imitation", 6, what, before, now)
    said = capsys.readouterr().out
    assert f"{what} is now {now}, before {before}" in said
    assert f"<code>{what}</code>" in (run / "report.html").read_text()
    entry = read_history(run).continuations[0]
    assert entry.softflow
    assert entry.time.endswith("+00:00")
    trainer.run("run", longer(config, "imitation", 9))
    assert len(read_history(run).continuations) == 1, "told once"


def test_a_change_that_is_taken_back_is_told_as_well(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before an update has seen it, when the checkpoint knows of neither. It may be forgotten."""
    run = trainer.run("run")
    trainer.run("run", short_config(sampling_std=0.3))
    said = capsys.readouterr().out
    assert "to go on as before, add: --sampling-std 0.7" in said
    assert "no update is left" in said
    assert "takes back" not in said
    trainer.run("run", longer(short_config(), "imitation", 9))
    said = capsys.readouterr().out
    assert "careful: this takes back what the run was told (sampling_std)" in said
    assert "to go on as before, add: --sampling-std 0.3\n" in said
    assert "no update is left" not in said
    assert changes_of(read_history(run)) == [
        ("imitation", 6, "sampling_std", 0.7, 0.3),
        ("imitation", 6, "imitation.num_updates", 6, 9),
        ("imitation", 6, "sampling_std", 0.3, 0.7),
    ]


def test_numbers_of_a_stage_that_nobody_asked_for_are_no_change(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    """After `--stages imitation` the rest of the preset was never meant."""
    run = trainer.run("run")
    other = grown(longer(short_config(), "critic_warmup", 3), "offline_rl", bc_coef=0.5)
    trainer.run("run", other, ALL[:2])
    assert "otherwise" not in capsys.readouterr().out
    assert read_history(run) == History()
    trainer.run("run", longer(other, "critic_warmup", 4), ALL[:2])
    assert changes_of(read_history(run)) == [
        ("critic_warmup", 3, "critic_warmup.num_updates", 3, 4)
    ]


TO_COME = [
    (["imitation", "offline_rl"], Position("imitation", 3), False),
    (["imitation"], Position("imitation", 3), True),
    (["imitation"], Position("offline_rl", 0), False),
]


@pytest.mark.parametrize(("asked", "position", "is_to_come"), TO_COME)
def test_which_stages_are_to_come(asked: list[str], position: Position, is_to_come: bool) -> None:
    change = Change("offline_rl.bc_coef", 0.1, 0.5)
    assert of_stages_to_come(change, asked, position) == is_to_come


def test_what_was_measured_is_what_is_deployed(trainer: Trainer) -> None:
    """Other numbers count from the next update on; the checkpoint before it is not relabelled."""
    config = short_config(eval_episodes=2)
    run = trainer.run("run", config)
    measured = run / "checkpoints/0_imitation_00000006"
    policy = json.loads((measured / "pretrained_model/MANIFEST.json").read_text())
    otherwise = replace(config, sampling_std=0.3, execution_candidates=2)
    trainer.run("run", otherwise)
    trainer.run("run", replace(longer(otherwise, "imitation", 9), eval_episodes=3))
    assert json.loads((measured / "pretrained_model/MANIFEST.json").read_text()) == policy
    for update, std, num_candidates in ((6, 0.7, 4), (9, 0.3, 2)):
        label = "imitation" if update == 9 else "imitation_00000006"
        result = read_object(run / f"evaluations/{label}.json")
        deployed = load_policy(run / f"checkpoints/{result['policy_version']}").selection
        assert (result["sampling_std"], result["num_candidates"]) == (std, num_candidates)
        assert (deployed.sampling_std, deployed.num_candidates) == (std, num_candidates)


def test_what_is_measured_late_is_measured_as_it_is_deployed(trainer: Trainer) -> None:
    run = trainer.run("run")
    trainer.run("run", short_config(sampling_std=0.3, eval_episodes=2))
    assert read_object(run / "evaluations/imitation.json")["sampling_std"] == 0.7
    assert load_policy(run).selection.sampling_std == 0.7


def test_who_goes_on_without_options_goes_on_with_what_was_told(trainer: Trainer) -> None:
    """`softflow learn` takes them from the run: rounds from its checkpoint, the rest was told."""
    run = trainer.run("run")
    other = grown(short_config(sampling_std=0.3), "online_rl", num_rounds=7)
    trainer.run("run", other)
    config, _, _ = read_run_facts(run / "checkpoints/last")
    assert (config.sampling_std, config.online_rl.num_rounds) == (0.7, 7)
    assert as_told(config, read_history(run).at("imitation", 6)) == other


def refused(trainer: Trainer, config: TrainingConfig, words: str, *stages: StageName) -> str:
    """Nothing but the report changes; what is said."""
    run = trainer.folder / "run"
    before = {path: path.read_bytes() for path in run.rglob("*.json")}
    with pytest.raises(ConfigError, match=words) as caught:
        trainer.run("run", config, stages or ("imitation",))
    assert {path: path.read_bytes() for path in run.rglob("*.json")} == before
    return str(caught.value)


def test_what_cannot_mean_anything_is_refused(trainer: Trainer) -> None:
    config = short_config()
    trainer.run("run", config)
    model = config.model
    wide = FlowConfig(num_layers=2, dim=32, num_heads=2, mlp_dim=16, head_hidden_dim=16)
    wider = replace(model, policy=wide)
    refused(trainer, replace(config, model=wider), r"model.policy.dim: there 16, now 32 \(the netw")
    chunk = replace(model.chunk, chunk_length=5)
    said = refused(
        trainer, replace(config, model=replace(model, chunk=chunk)), r"model.chunk.chunk_length"
    )
    assert "--from" in said
    refused(trainer, replace(config, discount=0.9), r"discount: there 0\.997, now 0\.9")
    refused(trainer, replace(config, seed=5), "seed: there 0, now 5")


def test_a_stage_that_is_behind_does_not_grow(trainer: Trainer) -> None:
    config = short_config()
    trainer.run("run", config, ALL[:2])
    said = refused(trainer, longer(config, "imitation", 9), "imitation is behind this run")
    assert "--from" in said
    trainer.run("run", longer(config, "critic_warmup", 9), ALL[:2])


@pytest.mark.slow
def test_rounds_that_have_begun_keep_their_size(trainer: Trainer) -> None:
    config = short_config()
    trainer.run("run", config, ALL)
    for name in ("num_updates", "episodes_per_round"):
        other = grown(config, "online_rl", **{name: 4})
        refused(trainer, other, rf"online_rl.{name}.*its rounds are counted by it", *ALL)


# ---- other data ----------------------------------------------------------------------------------


def test_new_episodes_are_learned_from_under_the_old_normalisation(
    trainer: Trainer, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trainer.run("run")
    before = (run / f"checkpoints/last/{STATISTICS}.json").read_bytes()
    far = demonstration(50, towards_goal=True)
    state = far.observations[STATE_KEY].copy()
    state[:, 0] += 5
    with EpisodeStore.open_or_create(trainer.data, point_spec()) as store:
        store.append(demonstration(40, towards_goal=True))
        store.append(replace(far, observations={STATE_KEY: state}))
    trainer.run("run", longer(short_config(), "imitation", 9))
    assert (run / f"checkpoints/last/{STATISTICS}.json").read_bytes() == before
    said = capsys.readouterr().out
    assert "there were 5 episodes, now there are 7" in said
    assert "outside of the normalisation, which is kept" in said
    assert "observation.state[0] in " in said
    entry = read_history(run).continuations[0]
    assert ("dataset_episodes", 5, 7) in [(c.what, c.before, c.now) for c in entry.changes]
    page = (run / "report.html").read_text()
    assert "there were 5 episodes, now there are 7" in page
    trainer.run("run", longer(short_config(), "imitation", 9))
    assert len(read_history(run).continuations) == 1


def test_other_labels_are_learned_from_and_told(trainer: Trainer) -> None:
    run = trainer.run("run")
    store = EpisodeStore.open(trainer.data)
    store.label(3, Label("anna", (Event(store.episode(3).length - 1, "success", 1.0),)))
    trainer.run("run", longer(short_config(), "imitation", 9))
    entry = read_history(run).continuations[0]
    assert ("dataset_successes", 4, 5) in [(c.what, c.before, c.now) for c in entry.changes]
    assert any("episode 3 is labelled otherwise" in note for note in entry.notes)
    assert any("held out" in note for note in entry.notes)


def test_the_data_may_move_and_be_part_of_more(trainer: Trainer) -> None:
    run = trainer.run("run")
    moved = trainer.data.rename(trainer.folder / "moved")
    trainer.run("run", data=moved)
    assert [change[2] for change in changes_of(read_history(run))] == ["dataset"]


# ---- the file ------------------------------------------------------------------------------------


def test_a_damaged_history_stops_the_run_and_not_its_report(trainer: Trainer) -> None:
    run = trainer.run("run")
    trainer.run("run", short_config(sampling_std=0.3))
    file = run / "history.json"
    file.write_text(file.read_text().replace("0.3", "0.4"))
    with pytest.raises(StoreError, match="checksum"):
        trainer.run("run", short_config(sampling_std=0.5))
    assert "does not match its checksum" in write_report(run).read_text()


def test_how_many_checkpoints_stay(trainer: Trainer) -> None:
    config = short_config(checkpoint_interval_s=0.0, keep_checkpoints=4, eval_episodes=1)
    run = trainer.run("run", longer(config, "imitation", 12))
    assert len(list((run / "checkpoints").glob("[0-9]*"))) == 4
    trainer.run("run", longer(replace(config, keep_checkpoints=1), "imitation", 20))
    names = {path.name for path in (run / "checkpoints").glob("[0-9]*")}
    assert names == {"0_imitation_00000012", "0_imitation_00000020"}, "evaluated, and the last"
    assert read_history(run).continuations[0].changes[0].what == "imitation.num_updates"
    with pytest.raises(ConfigError, match="keep_checkpoints is 0; must be >= 1"):
        replace(config, keep_checkpoints=0)
