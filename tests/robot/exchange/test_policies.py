"""A policy is taken whole, newer and fitting, or not at all; the robot is never stopped by one."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exchange_parts import CHUNK, FILES, SPEC, contents, small_disk, toy_checkpoint, toy_claim
from hypothesis import given, settings
from hypothesis import strategies as st

import softflow
from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import StoreError
from softflow.robot.exchange import policy_manifest
from softflow.robot.exchange.claiming import Claim
from softflow.robot.exchange.policy_manifest import POLICY, read_manifest
from softflow.robot.exchange.policy_publishing import KEEP_POLICIES, publish
from softflow.robot.exchange.policy_receiving import PolicyReceiver

Change = Callable[[dict[str, Any]], Any]


class Robot:
    """A receiver, and what it said."""

    def __init__(self, claim: Claim, copies: Path, chunk: ChunkSpec | None = CHUNK) -> None:
        self.lines: list[str] = []
        self.policies = PolicyReceiver(claim.folder, copies, SPEC, chunk, self.lines.append)

    def newer(self) -> str | None:
        received = self.policies.newer()
        return received and received.checkpoint.name


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return toy_claim(tmp_path)


@pytest.fixture
def robot(claim: Claim, tmp_path: Path) -> Robot:
    return Robot(claim, tmp_path / "copies")


def published(claim: Claim, tmp_path: Path, update: int) -> Path:
    checkpoint = toy_checkpoint(tmp_path / "checkpoints", update)
    return publish(claim.folder, claim.identity, checkpoint)


def test_what_acts_is_what_was_published_without_the_optimisers(
    claim: Claim, robot: Robot, tmp_path: Path
) -> None:
    published(claim, tmp_path, 500)
    received = robot.policies.newer()
    assert received is not None
    there = contents(received.checkpoint)
    original = contents(tmp_path / "checkpoints/3_online_rl_00000500")
    assert there.keys() == {*FILES, POLICY}
    assert all(there[name] == original[name] for name in FILES)
    assert received.manifest.stage == "online_rl"
    assert received.manifest.run == claim.identity.run
    assert robot.newer() is None, "it is taken once"
    assert robot.lines == []


def test_only_newer_ones_are_taken_and_old_ones_are_removed(
    claim: Claim, robot: Robot, tmp_path: Path
) -> None:
    published(claim, tmp_path, 500)
    assert robot.newer() == "3_online_rl_00000500"
    published(claim, tmp_path, 400)
    assert robot.newer() is None, "older"
    shutil.rmtree(claim.folder.policies / "3_online_rl_00000500")
    assert robot.newer() is robot.newer() is None
    assert len(robot.lines) == 1
    assert "is older than 3_online_rl_00000500" in robot.lines[0]
    for update in (600, 700, 800, 900):
        published(claim, tmp_path, update)
    names = sorted(path.name for path in claim.folder.policies.iterdir())
    assert names == [f"3_online_rl_00000{n}" for n in (700, 800, 900)]
    assert len(names) == KEEP_POLICIES
    assert robot.newer() == "3_online_rl_00000900", "those between are not needed"
    assert len(list((tmp_path / "copies").iterdir())) == 2


@pytest.mark.parametrize("year", [1970, 2090])
def test_no_clock_says_which_is_newer(
    claim: Claim, robot: Robot, tmp_path: Path, year: int
) -> None:
    """The learner's clock was set back, or goes wrong in any other way."""
    published(claim, tmp_path, 500)
    assert robot.newer() == "3_online_rl_00000500"
    newer = published(claim, tmp_path, 600)
    at_s = (year - 1970) * 31_557_600
    for path in (newer, *newer.rglob("*")):
        os.utime(path, (at_s, at_s))
    assert robot.newer() == "3_online_rl_00000600"
    assert robot.newer() is None


def test_a_torn_one_is_said_once_and_taken_when_it_is_whole(
    claim: Claim, robot: Robot, tmp_path: Path
) -> None:
    published(claim, tmp_path, 500)
    robot.newer()
    published(claim, tmp_path, 600)
    newest = published(claim, tmp_path, 700)
    weights = newest / "pretrained_model/model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert robot.newer() == "3_online_rl_00000600", "the newest of those that are whole"
    assert robot.newer() is None
    weights.unlink()
    assert robot.newer() is None
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for _ in range(3):
        assert robot.newer() is None
    assert len(robot.lines) == 3, "truncated, gone, altered: once each"
    assert "the present one stays" in robot.lines[-1]
    weights.write_bytes(whole)
    assert robot.newer() == "3_online_rl_00000700"


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_files_in_any_order_and_by_pieces_give_the_whole_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """As a copy tool without renaming writes them."""
    place, order = tmp_path_factory.mktemp("torn"), random.Random(seed)
    claim = toy_claim(place)
    source = published(claim, place, 500)
    files = contents(source)
    shutil.rmtree(source)
    robot = Robot(claim, place / "copies")
    names = sorted(files)
    order.shuffle(names)
    for index, name in enumerate(names):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        cut = order.randrange(len(files[name]))
        target.write_bytes(files[name][:cut])
        assert robot.newer() is None
        target.write_bytes(files[name])
        assert (robot.newer() is not None) == (index == len(names) - 1)
    assert contents(place / "copies/3_online_rl_00000500") == files


def rewritten(policy: Path, change: Change) -> None:
    """Another manifest, sealed as ours are: who can write there can do that too."""
    value = json.loads((policy / POLICY).read_text())
    del value["sha256"]
    change(value)
    policy_manifest.write_sealed(policy / POLICY, value)


MALICIOUS: dict[str, tuple[Change, str]] = {
    "climbs out": (lambda v: v["files"].update({"../../secret.json": FACTS}), "damaged"),
    "absolute": (lambda v: v["files"].update({"/etc/passwd": FACTS}), "damaged"),
    "newline": (lambda v: v["files"].update({"config.json\n": FACTS}), "damaged"),
    "huge": (lambda v: v["files"]["MANIFEST.json"].update(bytes=2**40), "damaged"),
    "huge in all": (
        lambda v: [facts.update(bytes=2**34) for facts in v["files"].values()],
        "beyond",
    ),
    "negative": (lambda v: v["files"]["MANIFEST.json"].update(bytes=-1), "damaged"),
    "many files": (
        lambda v: v["files"].update({f"a/{'b' * i}.json": FACTS for i in range(1, 61)} | MORE),
        "damaged",
    ),
    "no files": (lambda v: v.update(files={}), "damaged"),
    "no manifest": (lambda v: v["files"].pop("MANIFEST.json"), "MANIFEST.json"),
    "pickles": (lambda v: v["files"].update({"model.pkl": FACTS}), "damaged"),
    "another name": (lambda v: v.update(name="3_online_rl_00009999"), "belongs to"),
    "unknown field": (lambda v: v.update(run_this="rm -rf"), "damaged"),
    "other format": (lambda v: v.update(format_version=99), "upgrade"),
    "no format": (lambda v: v.update(format_version=True), "damaged"),
    "other shapes": (
        lambda v: v["spec"]["observation_shapes"].update({"observation.state": [4]}),
        "another robot",
    ),
    "other chunk": (lambda v: v["chunk"].update(chunk_length=9), "another robot"),
    "endless chunk": (lambda v: v["chunk"].update(chunk_length=10**9), "damaged"),
    "newer softflow": (lambda v: v.update(requires="99.0.0"), "needs softflow 99.0.0"),
    "no version": (lambda v: v.update(requires="latest"), "damaged"),
    "another run": (lambda v: v.update(run="0" * 32), "another run"),
    "spec is a list": (lambda v: v.update(spec=[1]), "damaged"),
}
FACTS = {"bytes": 1, "sha256": "0" * 64}
MORE = {f"c/{'b' * i}.json": FACTS for i in range(1, 61)}


@pytest.mark.parametrize("kind", MALICIOUS)
def test_a_policy_that_does_not_fit_is_refused_once_and_the_old_one_stays(
    claim: Claim, robot: Robot, tmp_path: Path, kind: str
) -> None:
    published(claim, tmp_path, 500)
    robot.newer()
    change, said = MALICIOUS[kind]
    rewritten(published(claim, tmp_path, 600), change)
    assert robot.newer() is None
    assert robot.newer() is None
    assert len(robot.lines) == 1
    assert said in robot.lines[0]
    assert robot.policies.current is not None
    assert robot.policies.current.checkpoint.name == "3_online_rl_00000500"
    assert sorted(p.name for p in (tmp_path / "copies").iterdir()) == ["3_online_rl_00000500"]


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "endless"])
def test_what_is_no_file_is_not_opened(
    claim: Claim, robot: Robot, tmp_path: Path, kind: str
) -> None:
    policy = published(claim, tmp_path, 500)
    file = policy / "pretrained_model/model.safetensors"
    content = file.read_bytes()
    file.unlink()
    if kind == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        file.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero")
    assert robot.newer() is None
    assert len(robot.lines) == 1


@settings(max_examples=60)
@given(data=st.data())
def test_no_damaged_manifest_is_believed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("manifest")
    claim = toy_claim(place)
    policy = published(claim, place, 500)
    whole = (policy / POLICY).read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 2))]
    else:
        position = data.draw(st.integers(0, len(whole) - 2))
        flipped = whole[position] ^ (1 << data.draw(st.integers(0, 7)))
        damaged = whole[:position] + bytes([flipped]) + whole[position + 1 :]
    (policy / POLICY).write_bytes(damaged)
    with pytest.raises(StoreError):
        read_manifest(policy)
    assert Robot(claim, place / "copies").newer() is None


def test_a_robot_that_starts_again_goes_on_with_its_copy(
    claim: Claim, robot: Robot, tmp_path: Path
) -> None:
    published(claim, tmp_path, 500)
    robot.newer()
    shutil.rmtree(claim.folder.path)
    (tmp_path / "copies/.tmp-3_online_rl_00000600").mkdir()  # it was killed
    again = Robot(claim, tmp_path / "copies")
    assert again.policies.current is not None
    assert again.policies.current.checkpoint.name == "3_online_rl_00000500"
    assert again.newer() is None
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["3_online_rl_00000500"]


def test_a_manifest_beyond_its_bound_is_not_read(
    claim: Claim, robot: Robot, tmp_path: Path
) -> None:
    policy = published(claim, tmp_path, 500)
    rewritten(policy, lambda v: v.update(stage="x" * 5_000_000))
    assert robot.newer() is None
    assert "at most 4,194,304 are read" in robot.lines[0]


def test_one_that_cannot_act_after_all_is_left_for_the_one_before(
    claim: Claim, robot: Robot, tmp_path: Path
) -> None:
    for update in (500, 600):
        published(claim, tmp_path, update)
        robot.newer()
    before = robot.policies.reject("it names a network of somebody's own")
    assert before is not None
    assert before.checkpoint.name == "3_online_rl_00000500"
    assert before.checkpoint.is_dir()
    assert robot.newer() is None
    assert len(robot.lines) == 1
    published(claim, tmp_path, 700)
    assert robot.newer() == "3_online_rl_00000700"


def test_a_folder_that_is_away_or_emptied_stops_nothing(
    claim: Claim, robot: Robot, tmp_path: Path
) -> None:
    published(claim, tmp_path, 500)
    away = tmp_path / "away"
    claim.folder.path.rename(away)
    assert robot.newer() is None
    claim.folder.path.write_text("a file where the folder was")
    assert robot.newer() is None
    claim.folder.path.unlink()
    away.rename(claim.folder.path)
    assert robot.newer() == "3_online_rl_00000500"


def test_publishing_again_changes_nothing_and_repairs_what_is_torn(
    claim: Claim, robot: Robot, tmp_path: Path
) -> None:
    policy = published(claim, tmp_path, 500)
    before = policy.stat().st_ino
    assert published(claim, tmp_path, 500).stat().st_ino == before
    (policy / "MANIFEST.json").write_bytes(b"")
    (claim.folder.policies / ".tmp-3_online_rl_00000100-0000").mkdir()
    published(claim, tmp_path, 500)
    assert robot.newer() == "3_online_rl_00000500"
    assert [path.name for path in claim.folder.policies.iterdir()] == ["3_online_rl_00000500"]


def test_another_checkpoint_of_the_same_name_takes_its_place(
    claim: Claim, robot: Robot, tmp_path: Path
) -> None:
    """A run that lost its last minutes may come to the same update on another way."""
    published(claim, tmp_path, 500)
    again = toy_checkpoint(tmp_path / "again", 500, seed=1)
    policy = publish(claim.folder, claim.identity, again)
    assert (policy / "MANIFEST.json").read_bytes() == (again / "MANIFEST.json").read_bytes()
    assert robot.newer() == "3_online_rl_00000500"


def publish_many(claim: Claim, tmp_path: Path) -> None:
    for update in range(600, 1600, 100):
        published(claim, tmp_path, update)


def test_a_full_disk_publishes_nothing_and_leaves_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "96k") as disk:
        claim = toy_claim(tmp_path, "disk/exchange")
        published(claim, tmp_path, 500)
        (disk / "filler").write_bytes(b"x" * 40_000)
        with pytest.raises(StoreError, match=r"No space left|free some space"):
            publish_many(claim, tmp_path)
        names = [path.name for path in claim.folder.policies.iterdir()]
        assert names
        assert not [name for name in names if name.startswith(".")]
        robot = Robot(claim, tmp_path / "copies")
        assert robot.newer() == max(names)
        (disk / "filler").unlink()
        published(claim, tmp_path, 2000)
        assert robot.newer() == "3_online_rl_00002000"


def test_a_robot_whose_disk_is_full_keeps_its_policy(claim: Claim, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        robot = Robot(claim, disk / "copies")
        published(claim, tmp_path, 500)
        robot.newer()
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(b"x" * 65_536)
        published(claim, tmp_path, 600)
        assert robot.newer() is None
        assert len(robot.lines) == 1
        filler.unlink()
        assert robot.newer() == "3_online_rl_00000600"


def test_a_robot_without_lengths_of_its_own_takes_those_of_the_policy(
    claim: Claim, tmp_path: Path
) -> None:
    robot = Robot(claim, tmp_path / "copies", chunk=None)
    rewritten(published(claim, tmp_path, 500), lambda v: v["chunk"].update(chunk_length=9))
    received = robot.policies.newer()
    assert received is not None
    assert received.manifest.chunk == replace(CHUNK, chunk_length=9)


def test_versions_are_numbers() -> None:
    assert policy_manifest.is_older("0.9.0", "0.10.0")
    assert not policy_manifest.is_older("0.10.0", "0.9.9")
    assert not policy_manifest.is_older(softflow.__version__, policy_manifest.REQUIRES)
