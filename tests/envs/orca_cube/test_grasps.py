"""The cache of grasps: it holds, and is refused for another hand or cube."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.grasp_search import find_grasps
from softflow.envs.orca_cube.grasps import DEFAULT_CACHE, read_grasps, write_grasps
from softflow.envs.orca_cube.hand_model import ORCA_RIGHT, load_hand
from softflow.envs.orca_cube.scene import CubeScene
from softflow.envs.orca_cube.settings import CubeSettings
from softflow.errors import ConfigError, MissingPackageError, StoreError


def test_the_kept_cache_is_of_the_hand_that_is_loaded(scene: CubeScene) -> None:
    grasps = read_grasps(DEFAULT_CACHE)
    assert len(grasps) > 200
    assert grasps.fingerprint == scene.hand.fingerprint
    low, high = scene.joint_range.T
    assert (grasps.targets >= low - 1e-6).all()
    assert (grasps.targets <= high + 1e-6).all()
    assert np.ptp(grasps.cube_pose[:, :3], axis=0).max() < 0.08


def test_a_cache_is_read_back_and_one_of_another_hand_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    grasps = read_grasps(DEFAULT_CACHE).chosen(np.arange(3))
    write_grasps(path, replace(grasps, fingerprint="0123456789ab"))
    assert np.allclose(read_grasps(path).qpos, grasps.qpos)
    with pytest.raises(ConfigError, match=r"another hand .*softflow teacher grasps"):
        BatchedHand(CubeSettings(), 1, grasps=path)
    with pytest.raises(ConfigError, match="45 mm, this one has 50 mm"):
        BatchedHand(CubeSettings(cube_edge_m=0.05), 1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04rubbish"])
def test_what_is_no_cache_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "grasps.npz"
    path.write_bytes(content)
    with pytest.raises(StoreError, match="no cache of grasps"):
        read_grasps(path)


@pytest.mark.slow
def test_a_search_finds_grasps_and_says_how_it_goes(scene: CubeScene) -> None:
    told: list[tuple[int, int]] = []
    found = find_grasps(scene, 1, 0, batch=24, told=lambda *numbers: told.append(numbers))
    assert 1 <= len(found) <= told[-1][0]
    assert told[-1][1] % 24 == 0
    again = find_grasps(scene, 1, 0, batch=24)
    assert np.array_equal(again.qpos, found.qpos)


def test_another_version_or_no_package_says_how_to_mend_it() -> None:
    with pytest.raises(ConfigError, match=r"orca_sim is version .*== ?9\.9\.9|pip install"):
        load_hand(replace(ORCA_RIGHT, version="9.9.9"))
    with pytest.raises(MissingPackageError, match=r"softflow\[cube\]"):
        load_hand(replace(ORCA_RIGHT, package="no_such_hand"))
    with pytest.raises(ConfigError, match="has no body 'nothing'"):
        load_hand(replace(ORCA_RIGHT, palm="nothing"))


def test_no_knuckle_is_jammed_in_the_palms_box(scene: CubeScene) -> None:
    """The box is as large as the palm at its widest; fingers once pressed on it with 670 N."""
    hand = BatchedHand(CubeSettings(platform_s=0.0), 1, 0)
    targets = hand.grasps.targets[hand.grasps.home]
    hand.reset(np.arange(1), np.array([hand.grasps.home]))
    for _ in range(20):
        hand.step(hand.to_actions(targets[None]))
    model, data = hand.physics.data_of(0)
    palm = model.geom("palm_box").id
    pairs = [tuple(contact.geom) for contact in data.contact]
    assert pairs
    assert palm not in np.array(pairs)
    touching = [pair for pair in pairs if scene.cube_geom in pair]
    assert len(touching) >= 3
