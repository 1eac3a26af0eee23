"""A run never goes on with other recordings than it has learned from; other labels are told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from point_world import demonstration, tiny_config, write_demonstrations

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import write_episode_file
from softflow.data.labels import Event, Label
from softflow.errors import SoftflowError
from softflow.models.checkpoint import (
    last_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from softflow.training.continuing.learned_data import OFFLINE, ONLINE, changed_data
from softflow.training.provenance import (
    identity_of,
    require_continues,
    write_identity,
)
from softflow.training.run import Run
from softflow.utils.progress import SilentProgress

CONFIG = tiny_config(eval_episodes=0)
FIRST = Label("anna", (Event(3, "success", 1.0),))


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset and a run that has learned from it and from two online episodes."""
    place = tmp_path_factory.mktemp("begun")
    write_demonstrations(place / "demos", (True, True, True, False))
    store = EpisodeStore.open(place / "demos")
    store.label(1, FIRST)
    store.label(2, Label("anna", (Event(2, "reward", 0.5),)))
    write_demonstrations(place / "run" / "online", (True, False))
    run = opened(place)
    write_identity(place / "run", identity(place))
    run.online.data(2)
    run.save()
    run.close()
    return place


@pytest.fixture
def place(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, with the same relative paths."""
    shutil.copytree(begun, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def opened(place: Path) -> Run:
    return Run(place / "run", CONFIG, place / "demos", None, SilentProgress())


def identity(place: Path) -> dict[str, object]:
    dataset = EpisodeStore.open(place / "demos")
    return identity_of(Path("demos"), dataset, ["imitation"], CONFIG)


def go_on(place: Path) -> None:
    """As `softflow train` does, and as a program that uses `Run`."""
    require_continues(place / "run", identity(place), EpisodeStore.open(place / "demos"))
    opened(place).close()


def rewrite(store: Path, index: int, change: Callable[[Episode], Episode]) -> None:
    opened = EpisodeStore.open(store)
    episode = opened.episode(index, labelled=False)
    write_episode_file(opened.episode_path(index), change(episode))


def swap(store: Path) -> None:
    files = sorted((store / "episodes").iterdir())[:2]
    files[0].rename(store / "other")
    files[1].rename(files[0])
    (store / "other").rename(files[1])


def other_actions(episode: Episode) -> Episode:
    return replace(episode, actions=np.flip(episode.actions, axis=0).copy())


def other_pixel(episode: Episode) -> Episode:
    state = episode.observations[STATE_KEY].copy()
    state[-1, -1] = np.nextafter(state[-1, -1], 9)
    return replace(episode, observations={STATE_KEY: state})


def other_rewards(episode: Episode) -> Episode:
    return replace(episode, rewards=episode.rewards * np.float32(2))


def other_facts(episode: Episode) -> Episode:
    return replace(episode, metadata=episode.metadata | {"source": "somebody else"})


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "episodes swapped": (swap, "episode 0 is another recording"),
    "actions": (lambda s: rewrite(s, 1, other_actions), "episode 1 is another recording"),
    "one bit": (lambda s: rewrite(s, 0, other_pixel), "episode 0 is another recording"),
    "rewards": (lambda s: rewrite(s, 0, other_rewards), "episode 0 is another recording"),
    "metadata": (lambda s: rewrite(s, 0, other_facts), "episode 0 is another recording"),
    "another episode": (
        lambda s: rewrite(s, 1, lambda _: demonstration(77, towards_goal=True)),
        "episode 1 is another recording",
    ),
}
LABELS: dict[str, tuple[Callable[[EpisodeStore], object], str]] = {
    "another reward": (
        lambda s: s.label(1, Label("anna", (Event(3, "success", 9.0),))),
        "episode 1 is labelled otherwise",
    ),
    "another step": (
        lambda s: s.label(1, Label("anna", (Event(2, "success", 1.0),))),
        "episode 1 is labelled otherwise",
    ),
    "a pair that keeps the counts": (
        lambda s: (s.label(0, Label("b", ())), s.label(3, Label("b", (Event(0, "success"),)))),
        "episode 3 is labelled otherwise",
    ),
    "withdrawn": (
        lambda s: s.label(2, Label("anna", (), withdrawn=True)),
        "episode 2 is labelled otherwise",
    ),
    "another annotator": (
        lambda s: s.label(1, replace(FIRST, annotator="bert", created="")),
        "episode 1 is labelled otherwise",
    ),
}


def assert_refused(place: Path, words: str) -> None:
    config = (place / "run" / "config.json").read_bytes()
    with pytest.raises(SoftflowError, match=words) as caught:
        require_continues(place / "run", identity(place), EpisodeStore.open(place / "demos"))
    assert "start a new run" in str(caught.value)
    with pytest.raises(SoftflowError, match=words):
        opened(place)
    assert (place / "run" / "config.json").read_bytes() == config


def test_the_same_data_go_on_also_in_a_copy(place: Path) -> None:
    go_on(place)


@pytest.mark.parametrize("kind", CHANGES)
def test_changed_episodes(place: Path, kind: str) -> None:
    change, words = CHANGES[kind]
    change(place / "demos")
    assert_refused(place, words)


def told(place: Path) -> list[str]:
    """What the run goes on with otherwise, as a program that uses `Run` sees it."""
    online = EpisodeStore.open(place / "run" / "online")
    changed = changed_data(place / "run", EpisodeStore.open(place / "demos"), online)
    assert not changed.lost
    go_on(place)
    return changed.grown


@pytest.mark.parametrize("kind", LABELS)
def test_changed_labels_are_told(place: Path, kind: str) -> None:
    change, words = LABELS[kind]
    assert told(place) == []
    change(EpisodeStore.open(place / "demos"))
    assert any(words in line for line in told(place))


def test_labels_that_were_taken_back_change_nothing(place: Path) -> None:
    store = EpisodeStore.open(place / "demos")
    store.label(0, Label("bert", ()))
    store.label(0, Label("bert", (), withdrawn=True))
    store.label(1, Label("bert", ()))
    store.label(1, replace(FIRST, created="2020-01-01T00:00:00+00:00"))
    go_on(place)


@pytest.mark.parametrize("kind", ["one bit", "rewards", "episodes swapped"])
def test_changed_online_episodes(place: Path, kind: str) -> None:
    change, words = CHANGES[kind]
    change(place / "run" / "online")
    assert_refused(place, f"online: {words}")


def test_online_episodes_that_are_gone_or_labelled(place: Path) -> None:
    online = place / "run" / "online"
    EpisodeStore.open(online).label(1, Label("anna", (Event(0, "success", 1.0),)))
    assert told(place) == [f"{online}: episode 1 is labelled otherwise"]
    EpisodeStore.open(online).episode_path(1).unlink()
    assert_refused(place, "online: there were 2 episodes, now there are 1")


def test_online_episodes_that_came_later_are_welcome(place: Path) -> None:
    with EpisodeStore.open(place / "run" / "online", writable=True) as store:
        store.append(demonstration(5, towards_goal=True))
    go_on(place)


def test_a_run_that_does_not_know_its_data_takes_those_of_now(place: Path) -> None:
    checkpoints = place / "run" / "checkpoints"
    last = last_checkpoint(checkpoints)
    assert last is not None
    parts = read_checkpoint(last)
    for name in (OFFLINE, ONLINE):
        del parts.documents["training_state/position"][name]
    write_checkpoint(checkpoints, last.name, parts)
    rewrite(place / "demos", 0, other_pixel)
    run = opened(place)
    run.online.data(2)
    run.save()
    run.close()
    go_on(place)
    rewrite(place / "demos", 0, other_rewards)
    assert_refused(place, "episode 0 is another recording")


def test_what_was_learned_counts_not_what_was_labelled_meanwhile(place: Path) -> None:
    """A label that comes while a run is going is not in what it learned from."""
    run = opened(place)
    EpisodeStore.open(place / "demos").label(0, Label("anna", ()))
    EpisodeStore.open(place / "run" / "online").label(0, Label("anna", ()))
    run.online.store.refresh()
    run.save()
    run.close()
    assert [line.partition(": ")[2] for line in told(place)] == [
        "episode 0 is labelled otherwise",
        "episode 0 is labelled otherwise",
    ]


def test_a_config_that_was_deleted_or_edited_hides_nothing(place: Path) -> None:
    config = place / "run" / "config.json"
    other = replace(CONFIG, discount=0.9)
    dataset = EpisodeStore.open(place / "demos")
    now = identity_of(Path("demos"), dataset, ["imitation"], other)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"discount": 0.9}))
    for _ in range(2):
        with pytest.raises(SoftflowError, match=r"discount: there 0\.997, now 0\.9"):
            require_continues(place / "run", now, dataset)
        go_on(place)
        config.unlink(missing_ok=True)
