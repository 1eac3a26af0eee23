"""Episodes from a robot's disk to the learner's: any order, any delay, each once, none half."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from exchange_parts import SPEC, recorded, small_disk, toy_claim
from hypothesis import given, settings
from hypothesis import strategies as st

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import write_episode_file
from softflow.errors import ConfigError
from softflow.robot.exchange import inbox
from softflow.robot.exchange.claiming import Claim
from softflow.robot.exchange.episode_names import EpisodeName
from softflow.robot.exchange.inbox import EpisodeInbox
from softflow.robot.exchange.outbox import EpisodeOutbox
from softflow.utils.files import sha256_of


class Robot:
    """A store of a robot's own, and what sends from it."""

    def __init__(self, claim: Claim, place: Path, name: str = "arm") -> None:
        self.lines: list[str] = []
        self.store = EpisodeStore.open_or_create(place / f"store_{name}", SPEC)
        self.outbox = EpisodeOutbox(claim.folder, name, SPEC, self.lines.append)

    def record(self, *seeds: int) -> None:
        for seed in seeds:
            self.store.append(recorded(seed))

    def send(self) -> int:
        return self.outbox.send(self.store)


class Learner:
    """An inbox, and what it said."""

    def __init__(self, claim: Claim, place: Path, spec: DataSpec = SPEC) -> None:
        self.lines: list[str] = []
        self.inbox = EpisodeInbox(claim.folder, place / "arriving", spec, self.lines.append)

    def seeds(self, *taken: str) -> list[int]:
        arrivals = self.inbox.arrivals(taken)
        return [self.inbox.episode(arrival).metadata["seed"] for arrival in arrivals]

    def keys(self, *taken: str) -> list[str]:
        return [arrival.name.key for arrival in self.inbox.arrivals(taken)]


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return toy_claim(tmp_path)


@pytest.fixture
def robot(claim: Claim, tmp_path: Path) -> Robot:
    return Robot(claim, tmp_path)


@pytest.fixture
def learner(claim: Claim, tmp_path: Path) -> Learner:
    return Learner(claim, tmp_path)


def test_what_a_robot_recorded_arrives_as_it_was(
    robot: Robot, learner: Learner, claim: Claim
) -> None:
    robot.record(0, 1)
    assert robot.send() == 0
    robot.record(2)
    assert robot.send() == 0
    first, *_ = learner.inbox.arrivals(())
    episode, original = learner.inbox.episode(first), recorded(0)
    np.testing.assert_array_equal(episode.actions, original.actions)
    assert episode.metadata == original.metadata
    assert first.summary.length == original.length
    assert learner.seeds() == [0, 1, 2]
    before = {p.name: p.stat().st_ino for p in claim.folder.episodes.iterdir()}
    robot.send()
    assert {p.name: p.stat().st_ino for p in claim.folder.episodes.iterdir()} == before
    assert robot.lines == learner.lines == []


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_any_order_any_pieces_any_duplicates(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Of two robots, through a tool that writes in place; each arrives once, whole."""
    place, order = tmp_path_factory.mktemp("orders"), random.Random(seed)
    far, near = toy_claim(place, "far"), toy_claim(place, "near", run="other")
    for number, name in enumerate(("arm", "leg")):
        robot = Robot(far, place, name)
        robot.record(*range(3 * number, 3 * number + 3))
        robot.send()
    learner, came = Learner(near, place), []
    deliveries = list(far.folder.episodes.iterdir()) * 2
    order.shuffle(deliveries)
    taken: list[str] = []
    for path in deliveries:
        target, content = near.folder.episodes / path.name, path.read_bytes()
        if order.random() < 0.7:
            target.write_bytes(content[: order.randrange(len(content))])
            learner.keys(*taken)
        if order.random() < 0.3:
            target.unlink(missing_ok=True)
            learner.keys(*taken)
        target.write_bytes(content)
        os.utime(target, (clock := order.choice((0, 10**9, 2**33)), clock))  # of another machine
        if order.random() < 0.2:
            alias = path.name.replace("arm-", "arm_copy-").replace("leg-", "leg_copy-")
            (near.folder.episodes / alias).write_bytes(content)
        if order.random() < 0.5:
            for arrival in learner.inbox.arrivals(taken)[: order.randrange(3)]:
                came.append(learner.inbox.episode(arrival).metadata["seed"])
                taken.append(arrival.name.key)
        if order.random() < 0.1:
            learner = Learner(near, place)  # killed, and started again
    came += learner.seeds(*taken)
    assert sorted(came) == list(range(6))


@pytest.mark.parametrize("year", [1970, 2090])
def test_no_clock_says_which_episode_is_new(
    claim: Claim, robot: Robot, learner: Learner, year: int
) -> None:
    robot.record(0, 1)
    robot.send()
    taken = learner.keys()
    robot.record(2)
    robot.send()
    at_s = (year - 1970) * 31_557_600
    for path in claim.folder.episodes.iterdir():
        os.utime(path, (at_s, at_s))
    assert learner.seeds(*taken) == [2]


def test_a_torn_file_is_waited_for_told_once_and_never_touched(
    robot: Robot, learner: Learner, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot.record(0)
    robot.send()
    (path,) = claim.folder.episodes.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    for _ in range(3):
        assert learner.keys() == []
    assert len(learner.lines) == 1
    assert path.read_bytes() == whole[:-3]
    path.write_bytes(whole)
    assert learner.seeds() == [0]
    damaged = bytes([*whole[:50], whole[50] ^ 1, *whole[51:]])
    again = Learner(claim, path.parents[2])
    path.write_bytes(damaged)
    assert again.keys() == []
    path.write_bytes(whole)
    assert again.keys() == [], "of the same size: it is hashed anew after a while"
    monkeypatch.setattr(inbox, "LOOK_AGAIN_S", 0.0)
    assert again.seeds() == [0]


def test_an_arrival_needs_its_folder_no_more(
    robot: Robot, learner: Learner, claim: Claim, tmp_path: Path
) -> None:
    robot.record(0, 1)
    robot.send()
    assert learner.seeds() == [0, 1]
    away = tmp_path / "away"
    claim.folder.path.rename(away)
    assert learner.seeds() == [0, 1]
    robot.record(2)
    assert robot.send() == 3
    assert "not mounted" in robot.lines[0]
    claim.folder.path.mkdir()
    assert robot.send() == 3, "the empty place of a disk that is not mounted"
    assert not any(claim.folder.path.iterdir())
    assert len(robot.lines) == 1
    claim.folder.path.rmdir()
    away.rename(claim.folder.path)
    assert robot.send() == 0
    assert learner.seeds() == [0, 1, 2]
    assert "there again" in robot.lines[-1]


def test_what_is_taken_does_not_come_again_under_any_name(
    robot: Robot, learner: Learner, claim: Claim
) -> None:
    robot.record(0, 1)
    robot.send()
    first, second = learner.keys()
    assert learner.keys(first) == [second]
    source = claim.folder.episodes / f"{first}.zarr.zip"
    shutil.copy(source, claim.folder.episodes / f"leg{source.name.removeprefix('arm')}")
    assert learner.keys(first) == [second]
    assert learner.keys(first, second) == []
    assert source.exists(), "nothing in the exchange is removed"


def offered(claim: Claim, path: Path, number: int = 0) -> EpisodeName:
    """A file put into the exchange under the name that its bytes ask for."""
    name = EpisodeName("eve", number, sha256_of(path)[:32])
    shutil.copy(path, claim.folder.episodes / name.file)
    return name


def with_nan(place: Path) -> None:
    episode = recorded(0)
    episode.actions[2, 1] = np.nan
    write_episode_file(place, episode)


def out_of_bounds(place: Path) -> None:
    episode = recorded(0)
    write_episode_file(place, replace(episode, actions=episode.actions * 100))


def with_long_metadata(place: Path) -> None:
    write_episode_file(place, recorded(0, note="x" * (8 * 2**20 - 1000)))


def of_another_robot(place: Path) -> None:
    wide = {STATE_KEY: np.zeros((7, 4), np.float32)}
    write_episode_file(place, replace(recorded(0), observations=wide))


def no_episode(place: Path) -> None:
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("zarr.json", "{}")


def bomb(place: Path) -> None:
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zarr.json", b" " * 10**8)


def with_strange_take_over(place: Path) -> None:
    write_episode_file(place, recorded(0, taken_over=[[5, 2]]))


def endless(place: Path) -> None:
    episode = recorded(0)
    write_episode_file(place, replace(episode, terminated=True, truncated=True))


@pytest.mark.parametrize(
    "make",
    [
        with_nan,
        out_of_bounds,
        with_long_metadata,
        with_strange_take_over,
        of_another_robot,
        no_episode,
        bomb,
        endless,
    ],
)
def test_what_can_never_be_learned_from_is_refused_once_and_the_rest_goes_on(
    robot: Robot, learner: Learner, claim: Claim, tmp_path: Path, make: object
) -> None:
    make(tmp_path / "file.zip")  # type: ignore[operator]
    name = offered(claim, tmp_path / "file.zip")
    robot.record(5)
    robot.send()
    for _ in range(3):
        assert learner.seeds() == [5]
    assert list(learner.inbox.refused) == [name.key]
    assert len(learner.lines) == 1
    assert "not learned from" in learner.lines[0]
    assert (claim.folder.episodes / name.file).exists()


def test_links_pipes_folders_and_other_names_are_left_alone(
    robot: Robot, learner: Learner, claim: Claim, tmp_path: Path
) -> None:
    write_episode_file(tmp_path / "outside.zip", recorded(9))
    digest = sha256_of(tmp_path / "outside.zip")[:32]
    episodes = claim.folder.episodes
    (episodes / f"eve-000000-{digest}.zarr.zip").symlink_to(tmp_path / "outside.zip")
    os.mkfifo(episodes / f"eve-000001-{'b' * 32}.zarr.zip")
    (episodes / f"eve-000002-{'c' * 32}.zarr.zip").mkdir()
    (episodes / f"eve-000003-{'d' * 32}.zarr.zip").symlink_to("/dev/zero")
    for name in ("episode_000000.zarr.zip", "eve-1-x.zarr.zip", ".hidden", "café-000001.zip"):
        shutil.copy(tmp_path / "outside.zip", episodes / name)
    robot.record(5)
    robot.send()
    assert learner.seeds() == [5]


def test_a_robot_of_other_shapes_sends_nothing(claim: Claim, tmp_path: Path) -> None:
    other = DataSpec({STATE_KEY: (4,)}, 2, (-1.0, -1.0), (1.0, 1.0), 20.0)
    lines: list[str] = []
    with EpisodeStore.create(tmp_path / "store", other) as store:
        wide = {STATE_KEY: np.zeros((7, 4), np.float32)}
        store.append(replace(recorded(0), observations=wide))
        outbox = EpisodeOutbox(claim.folder, "arm", other, lines.append)
        assert outbox.send(store) == outbox.send(store) == 1
    assert len(lines) == 1
    assert "another robot" in lines[0]
    assert list(claim.folder.episodes.iterdir()) == []


@pytest.mark.parametrize("name", ["", "Arm", "arm-1", "../arm", "a" * 41, "arm\n"])
def test_names_of_robots_are_plain(claim: Claim, name: str) -> None:
    with pytest.raises(ConfigError, match="robot's name"):
        EpisodeOutbox(claim.folder, name, SPEC, print)


def test_a_full_exchange_costs_no_episode(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "160k") as disk:
        claim = toy_claim(tmp_path, "disk/exchange")
        robot, learner = Robot(claim, tmp_path), Learner(claim, tmp_path)
        filler = disk / "filler"
        filler.write_bytes(b"x" * 110_000)
        robot.record(*range(8))
        left = robot.send()
        assert 0 < left < 8
        assert robot.send() == left
        assert len([line for line in robot.lines if "No space" in line]) == 1
        assert learner.seeds() == list(range(8 - left))
        assert not [p for p in claim.folder.episodes.iterdir() if p.name.startswith(".")]
        filler.unlink()
        assert robot.send() == 0
        assert learner.seeds() == list(range(8))


def test_a_flood_is_taken_in_parts(
    robot: Robot, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MAX_ARRIVED", 3)
    robot.record(*range(8))
    robot.send()
    taken: list[str] = []
    for count in (3, 3, 2, 0):
        keys = learner.keys(*taken)
        assert len(keys) == count
        taken += keys
    assert sorted(taken) == sorted(p.name[:-9] for p in robot.outbox._folder.episodes.iterdir())


def test_a_look_ends_after_a_while_and_the_next_goes_on(
    robot: Robot, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "LOOK_FOR_S", -1.0)
    robot.record(*range(3))
    robot.send()
    assert [len(learner.keys()) for _ in range(4)] == [1, 2, 3, 3]


SENDER = """
import sys
from pathlib import Path
from exchange_parts import SPEC
from softflow.data.episode_store import EpisodeStore
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.outbox import EpisodeOutbox
print("sending", flush=True)
store = EpisodeStore.open(sys.argv[1])
EpisodeOutbox(ExchangeFolder(Path(sys.argv[2])), "arm", SPEC, print).send(store)
"""


def long_episode(seed: int) -> Episode:
    return recorded(seed, length=4000)


@pytest.mark.slow
def test_a_robot_killed_while_it_sends_leaves_nothing_half(claim: Claim, tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "store_arm", SPEC) as store:
        for seed in range(30):
            store.append(long_episode(seed))
    learner, killed = Learner(claim, tmp_path), 0
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", SENDER, str(tmp_path / "store_arm"), str(claim.folder.path)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            if len(list(claim.folder.episodes.glob("arm-*"))) > 3 * attempt:
                process.send_signal(signal.SIGKILL)
                break
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert learner.inbox.refused == {}
        learner.keys()
    assert killed
    robot = Robot(claim, tmp_path)
    assert robot.send() == 0
    assert sorted(learner.seeds()) == list(range(30))
    assert learner.lines == []
    assert not [p for p in claim.folder.episodes.iterdir() if p.name.startswith(".")]
