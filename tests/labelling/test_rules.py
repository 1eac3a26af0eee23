"""Functions on episodes as proposers, found by name, with settings as a person writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_episodes import EpisodeMaker

from softflow.cli.data.store_commands import run
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.errors import ConfigError, DataError
from softflow.labelling.event_kinds import READY_MADE, write_event_kinds
from softflow.labelling.proposals import ProposalFolder
from softflow.labelling.rules import RuleProposer

HERE = "test_rules_of_ones_own"
OWN = """
def first_step(episode, context):
    return [context.event("reward", 0, 0.5)]

def shouts(episode, context):
    if episode.metadata["seed"] == 1:
        return ["success"]
    return []

def twice(episode, context):
    return [context.event("success", step) for step in (1, 2)]

number = 3
"""


@pytest.fixture
def store(
    tmp_path: Path, spec: DataSpec, make_episode: EpisodeMaker, monkeypatch: pytest.MonkeyPatch
) -> EpisodeStore:
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        for seed in range(3):
            store.append(make_episode(spec, length=8, seed=seed, success=False))
    (tmp_path / f"{HERE}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return EpisodeStore.open(tmp_path / "store")


def proposer(name: str, **given: str) -> RuleProposer:
    return RuleProposer(name, READY_MADE["success"], given)


def test_a_function_of_the_users_own_is_followed_by_its_name(store: EpisodeStore) -> None:
    (found,) = proposer(f"{HERE}:first_step").propose(store, 0)
    assert (found.event.step, found.event.name, found.confidence) == (0, "reward", 0.5)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("cube-turn", {}, "choose cube-quarter-turn, gripper-lifted, or module:function"),
        ("nowhere:f", {}, "cannot import"),
        (f"{HERE}:missing", {}, "cannot import"),
        (f"{HERE}:number", {}, "is a int, no function"),
        (f"{HERE}:first_step", {"x": "1"}, "has no settings"),
        ("cube-quarter-turn", {"yew": "1"}, "no setting 'yew'; it has event, quat"),
        ("cube-quarter-turn", {"yaw": "a", "degrees": "many"}, "at 'degrees'"),
        ("cube-quarter-turn", {}, "where the cube's orientation is"),
    ],
)
def test_a_rule_that_cannot_be_used(
    store: EpisodeStore, name: str, given: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        proposer(name, **given)


def test_a_rule_that_gives_something_else_is_named(store: EpisodeStore) -> None:
    rule = proposer(f"{HERE}:shouts")
    assert list(rule.propose(store, 0)) == []
    with pytest.raises(DataError, match="gave a str for episode 1"):
        rule.propose(store, 1)


def test_events_are_held_against_what_is_declared(store: EpisodeStore) -> None:
    with pytest.raises(DataError, match="an episode ends once"):
        proposer(f"{HERE}:twice").propose(store, 0)


def test_a_key_that_is_not_there_is_named(store: EpisodeStore) -> None:
    with pytest.raises(DataError, match="names nothing in this data"):
        proposer("gripper-lifted", height="observation.pose[2]").propose(store, 0)
    with pytest.raises(DataError, match="has 3 components; name one"):
        proposer("gripper-lifted", height="observation.state").propose(store, 0)


def test_the_version_follows_from_rule_and_settings() -> None:
    given: dict[str, Any] = {"yaw": "observation.state[0]"}
    versions = {
        proposer("cube-quarter-turn", **given).version,
        proposer("cube-quarter-turn", **given, degrees="45").version,
        proposer("gripper-lifted", height="observation.state[0]").version,
    }
    assert len(versions) == 3
    assert proposer("cube-quarter-turn", **given).version in versions


def proposed_in(store: EpisodeStore) -> set[int]:
    """Episodes for which something is proposed."""
    folder = ProposalFolder(store)
    return {index for index in range(len(store)) if folder.of(index)}


def test_the_command_proposes_for_what_nobody_labelled(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.label(1, Label("anna", ()))
    assert run(["propose", str(store.path), "--with", f"{HERE}:first_step"]) == 0
    said = capsys.readouterr().out
    assert "episode 0: reward at 0 (0.50)" in said
    assert proposed_in(store) == {0, 2}
    run(["propose", str(store.path), "--with", f"{HERE}:first_step", "--all"])
    assert proposed_in(store) == {0, 1, 2}


def test_the_command_goes_on_behind_an_episode_that_fails(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["propose", str(store.path), "--with", f"{HERE}:shouts"]) == 1
    assert "episode 1: the rule" in capsys.readouterr().err
    assert proposed_in(store) == {0, 2}


def test_the_command_reads_settings_and_declared_kinds(store: EpisodeStore) -> None:
    write_event_kinds(store.path, READY_MADE["cube"])
    words = ["propose", str(store.path), "--with", "cube-quarter-turn", "--set"]
    assert run([*words, "yaw=observation.state[0]", "degrees=20"]) == 0
    folder = ProposalFolder(store)
    found = [one.events for index in range(3) for one in folder.of(index)]
    assert any(found)
    assert {one.event.name for events in found for one in events} == {"rotated"}
    for bad, message in (("yaw", "NAME=VALUE"), ("=x", "NAME=VALUE")):
        with pytest.raises(ConfigError, match=message):
            run([*words, bad])


def test_the_command_tells_agreement(
    store: EpisodeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["agreement", str(store.path)]) == 0
    assert "no episode" in capsys.readouterr().out
    event = READY_MADE["success"].named("success")
    for by, step in (("anna", 3), ("bob", 5)):
        store.label(0, Label(by, (event.at(step),)))
    store.label(1, Label("anna", (event.at(3),)))
    store.label(1, Label("bob", ()))
    run(["agreement", str(store.path)])
    said = capsys.readouterr().out
    assert "anna and bob: 2 episodes by both" in said
    assert "0.10 s apart (median)" in said
    assert "1 events seen by anna alone" in said
    assert "  episode 1\n" in said
