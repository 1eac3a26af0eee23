"""The online stage on episodes that robots send: rounds, continuous, and people who decide."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from point_world import demonstration, point_spec, tiny_config

from softflow.data.episode_store import EpisodeStore
from softflow.data.exploration import exploration_offset
from softflow.data.labels import Event, Label
from softflow.errors import ConfigError, StoreError
from softflow.robot.exchange.claiming import Claim
from softflow.robot.exchange.commands import CommandFolder
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.order import read_order
from softflow.robot.exchange.robot_side import Next, RobotSide
from softflow.robot.exchange.stop_listening import StopListener
from softflow.robot.exchange_experience import ExchangeExperience, taken_keys
from softflow.training import calibration
from softflow.training.learner import Learner
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.progress import SilentProgress

STAGES = ("imitation", "online_rl")
CONFIG = tiny_config(
    eval_episodes=0,
    round_eval_episodes=0,
    imitation=replace(tiny_config().imitation, num_updates=2),
    online_rl=replace(tiny_config().online_rl, num_updates=2),
)


class Robot:
    """Sends what it is told to, and notes the policies that it gets."""

    def __init__(self, folder: Path, place: Path) -> None:
        self.lines: list[str] = []
        self.store = EpisodeStore.open_or_create(place / "robot", point_spec())
        self.side = RobotSide(folder, self.store, "arm", None, self.lines.append)
        self.policies: list[str] = []

    def play(self, count: int = 1, **metadata: Any) -> None:
        for _ in range(count):
            episode = demonstration(len(self.store), towards_goal=True)
            self.store.append(replace(episode, metadata=episode.metadata | metadata))
        self.side.send()

    def look(self) -> None:
        if received := self.side.newer_policy():
            self.policies.append(received.manifest.name)

    def sent(self) -> list[str]:
        names = sorted(self.side._folder.episodes.iterdir())
        return [path.name.removesuffix(".zarr.zip") for path in names]


class Bench:
    """A run, its exchange and a robot; `sleep` is where the robot acts while the learner waits."""

    def __init__(self, demonstrations: Path, place: Path) -> None:
        self.demonstrations, self.place = demonstrations, place
        self.folder = place / "exchange"
        self.lines: list[str] = []
        self.config = CONFIG
        self.claim = Claim(place / "run", self.folder, point_spec(), CONFIG.model.chunk)
        self.claim.require()
        self.robot = Robot(self.folder, place)
        self.waits = 0

    def source(self, during: Callable[[], None], **options: bool) -> ExchangeExperience:
        def sleep(_: float) -> None:
            self.waits += 1
            assert self.waits < 50, (self.lines, self.robot.lines)
            during()

        say = self.lines.append
        return ExchangeExperience(
            self.claim, self.place / "run/arriving", say, sleep=sleep, **options
        )

    def run(self, source: ExchangeExperience) -> Run:
        run = Run(
            self.place / "run", self.config, self.demonstrations, None, SilentProgress(), source
        )
        try:
            run_stages(run, STAGES)
            source.finish(run.save(), run.online.store.path)
        finally:
            run.close()
        return run

    def order(self) -> Any:
        return read_order(ExchangeFolder(self.folder))

    def people(self) -> CommandFolder:
        return CommandFolder(self.folder / "commands", self.lines.append)

    def online(self) -> EpisodeStore:
        return EpisodeStore.open(self.place / "run/online")


@pytest.fixture
def bench(demonstrations: Path, tmp_path: Path) -> Bench:
    (tmp_path / "run").mkdir()
    return Bench(demonstrations, tmp_path)


@pytest.mark.slow
def test_rounds_wait_for_their_episodes_and_robots_for_their_policy(bench: Bench) -> None:
    robot, seen = bench.robot, []

    def during() -> None:
        robot.look()
        seen.append((robot.side.next(), bench.order().wanted, bench.order().taken))
        if robot.side.next() is Next.EPISODE:
            robot.play()

    run = bench.run(bench.source(during))
    assert seen == [(Next.EPISODE, 3, 0)] * 3 + [(Next.EPISODE, 6, 3)] * 3
    assert robot.policies == ["3_online_rl_00000000", "3_online_rl_00000002"]
    robot.look()
    assert robot.policies[-1] == "3_online_rl_00000004", "the last one is published too"
    assert robot.side.next() is Next.WAIT
    store = bench.online()
    assert taken_keys(store) == robot.sent()
    assert [summary.metadata["round"] for summary in store.summaries()] == [0, 0, 0, 1, 1, 1]
    assert {summary.metadata["source"] for summary in store.summaries()} == {"online"}
    assert len(run.online.fingerprints) == 6
    assert bench.lines == robot.lines == []
    assert list((bench.place / "run/arriving").iterdir()) == []


@pytest.mark.slow
def test_what_robots_tried_corrects_the_policy_that_they_get_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of episodes that explored as the run does, enough of them; by seed both know the offsets."""
    told: list[np.ndarray] = []

    def mean(offsets: np.ndarray, returns: np.ndarray, std: float) -> np.ndarray:
        told.append(offsets)
        return offsets.mean(axis=0)

    monkeypatch.setattr(calibration, "correction", mean)
    online = replace(CONFIG.online_rl, exploration_std=0.05)
    bench.config = replace(CONFIG, online_rl=online)
    tried: list[dict[str, Any]] = [
        {"exploration_std": 0.05},
        {"exploration_std": 0.3},
        {"exploration_std": 0.05},
    ]

    def during() -> None:
        bench.robot.look()
        if bench.robot.side.next() is Next.EPISODE:
            bench.robot.play(**tried[len(bench.robot.store) % 3])

    run = bench.run(bench.source(during))
    # Two in each round of three: those of the first round wait for the second's.
    expected = np.array([exploration_offset(seed, 0.05, 2) for seed in (0, 2, 3, 5)])
    (offsets,) = told
    assert (offsets == expected).all()
    found = run.learner.policy.correction.numpy()
    np.testing.assert_allclose(found, expected.mean(axis=0), rtol=1e-5)


@pytest.mark.slow
def test_a_continuous_learner_takes_all_there_is_and_waits_only_for_the_first(
    bench: Bench,
) -> None:
    bench.robot.play(5)

    def during() -> None:
        assert bench.order().wanted is None
        assert bench.robot.side.next() is Next.EPISODE
        bench.robot.play(4)

    run = bench.run(bench.source(during, continuous=True))
    assert bench.waits == 1, "five were there in the first round; nine for the second"
    rounds = [summary.metadata["round"] for summary in bench.online().summaries()]
    assert rounds == [0] * 5 + [1] * 4
    assert run.online.data(9).num_episodes == 9
    assert len(run.online.fingerprints) == 9


@pytest.mark.slow
def test_people_decide_what_is_learned_from(bench: Bench) -> None:
    """Of unknown outcome: labelled, discarded, and one whose label does not fit at first."""
    robot, steps = bench.robot, iter(range(50))
    label = asdict(Label("anna", (Event(2, "success", 1.0),), created="2030-01-01"))

    def during() -> None:
        step = next(steps)
        if step == 0:
            robot.play(2, unlabelled=True)
            robot.play(2)
        elif step == 1:
            assert bench.order().waiting == robot.sent()[:2]
            assert robot.side.next() is Next.WAIT, "four are there, three wanted"
            beyond = asdict(Label("anna", (Event(99, "success", 1.0),), created="2030-01-01"))
            bench.people().give("label", "anna", robot.sent()[0], beyond)
            bench.people().give("discard", "anna", robot.sent()[3])
        elif step == 2:
            assert "the episode waits" in bench.lines[-1]
            assert bench.order().lost == 1
            bench.people().give("label", "anna", robot.sent()[0], label)
        elif step == 3:
            bench.people().give("discard", "anna", robot.sent()[1])
        else:
            robot.play()

    bench.run(bench.source(during))
    store = bench.online()
    assert taken_keys(store)[:2] == [robot.sent()[0], robot.sent()[2]]
    labelled = store.summary(0)
    assert (labelled.length, labelled.success, labelled.return_) == (3, True, 1.0)
    assert labelled.metadata["annotator"] == "anna"
    assert not {robot.sent()[1], robot.sent()[3]} & set(taken_keys(store))


@pytest.mark.slow
def test_with_review_every_episode_waits_to_be_accepted(bench: Bench) -> None:
    robot = bench.robot

    def during() -> None:
        fresh = [key for key in robot.sent() if key in bench.order().waiting]
        if not fresh:
            robot.play()
        for key in fresh:
            bench.people().give("accept", "bert", key)

    bench.run(bench.source(during, review=True))
    assert bench.waits >= 12, "each is seen, then accepted"
    assert len(bench.online()) == 6


@pytest.mark.slow
def test_a_folder_that_goes_and_comes_back_costs_only_time(bench: Bench) -> None:
    away, steps = bench.place / "away", iter(range(50))

    def during() -> None:
        step = next(steps)
        if step == 1:
            bench.folder.rename(away)
        elif step == 2:
            bench.folder.mkdir()
        elif step == 4:
            assert not any(bench.folder.iterdir()), "nobody writes where a disk is not mounted"
            bench.folder.rmdir()
            away.rename(bench.folder)
        bench.robot.look()
        bench.robot.play()

    bench.run(bench.source(during))
    assert len(bench.online()) == 6
    assert any("not published yet" in line for line in bench.lines)
    assert len(set(bench.lines)) == len(bench.lines), "each is said once"


@pytest.mark.slow
def test_a_learner_that_dies_while_it_takes_takes_none_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.robot.play(6)
    original = EpisodeStore.append

    def full(store: EpisodeStore, episode: Any) -> int:
        if len(store) == 2 and store.path.name == "online":
            raise StoreError("no space left")
        return original(store, episode)

    with monkeypatch.context() as patched:
        patched.setattr(EpisodeStore, "append", full)
        with pytest.raises(StoreError, match="no space"):
            bench.run(bench.source(lambda: None))
    assert len(bench.online()) == 2
    bench.run(bench.source(lambda: None))
    assert sorted(taken_keys(bench.online())) == bench.robot.sent()


@pytest.mark.slow
def test_a_continuous_learner_that_dies_in_a_round_goes_on_in_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.robot.play(4)
    original, calls = Learner.actor_update, iter(range(99))

    def dying(learner: Learner, *arguments: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return original(learner, *arguments)

    monkeypatch.setattr(bench, "config", replace(CONFIG, checkpoint_interval_s=0.0))
    with monkeypatch.context() as patched:
        patched.setattr(Learner, "actor_update", dying)
        with pytest.raises(KeyboardInterrupt):
            bench.run(bench.source(lambda: None, continuous=True))
    bench.robot.play(3)
    run = bench.run(bench.source(lambda: None, continuous=True))
    assert taken_keys(bench.online()) == bench.robot.sent()
    assert [s.metadata["round"] for s in bench.online().summaries()] == [0] * 4 + [1] * 3
    assert len(run.online.fingerprints) == 7
    assert run.position.update_step == 4


def test_an_exchange_has_one_run(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Claim(tmp_path / "other", bench.folder, point_spec(), CONFIG.model.chunk)
    with pytest.raises(ConfigError, match="another run"):
        other.require()
    again = Claim(tmp_path / "run", bench.folder, point_spec(), CONFIG.model.chunk)
    again.require()
    assert again.identity == bench.claim.identity
    bench.folder.rename(tmp_path / "away")
    with pytest.raises(StoreError, match=r"exchange.json is gone"):
        Claim(tmp_path / "run", bench.folder, point_spec(), CONFIG.model.chunk).require()
    assert not bench.folder.exists()


def test_a_stop_stands_until_a_start(bench: Bench) -> None:
    side = bench.robot.side
    assert side.next() is Next.EPISODE
    bench.people().give("stop", "anna")
    assert side.next() is Next.STOP
    assert "anna" in side.stopped()
    fresh = Robot(bench.folder, bench.place / "second")
    assert fresh.side.next() is Next.STOP, "for robots that start later too"
    bench.people().give("start", "bert")
    assert side.next() is fresh.side.next() is Next.EPISODE
    assert side.stopped() == ""


def test_a_stop_reaches_a_loop_that_never_touches_the_folder(bench: Bench) -> None:
    with StopListener(ExchangeFolder(bench.folder), bench.lines.append, poll_s=0.01) as listener:
        assert listener.stopped == ""
        bench.people().give("stop", "anna")
        wait_until(lambda: listener.stopped.startswith("anna"))
        bench.folder.rename(bench.place / "away")
        time.sleep(0.05)
        assert listener.stopped, "a folder that goes takes no stop back"
        (bench.place / "away").rename(bench.folder)
        bench.people().give("start", "anna")
        wait_until(lambda: listener.stopped == "")
    assert not listener._thread.is_alive()


def test_a_terminal_that_was_closed_does_not_end_listening(bench: Bench) -> None:
    def say(line: str) -> None:
        raise BrokenPipeError(line)

    (bench.folder / "commands" / f"{0:012d}-{'0' * 32}.json").write_text("{}")
    with StopListener(ExchangeFolder(bench.folder), say, poll_s=0.01) as listener:
        time.sleep(0.05)
        bench.people().give("stop", "anna")
        wait_until(lambda: listener.stopped.startswith("anna"))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing happened")


def test_a_damaged_order_lets_robots_go_on(bench: Bench) -> None:
    (bench.folder / "order.json").write_text('{"wanted": 0}')
    assert bench.robot.side.next() is Next.EPISODE
    (bench.folder / "order.json").write_bytes(b"\xff" * 100)
    assert bench.robot.side.next() is Next.EPISODE
    assert len(bench.robot.lines) == 2
