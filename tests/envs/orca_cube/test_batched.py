"""Many hands at once: the same bits under a seed, drops, platforms, delays, broken physics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.randomisation import NOTHING, Randomisation
from softflow.envs.orca_cube.settings import CubeSettings, Gap, twin
from softflow.envs.orca_cube.unstable import replay_unstable
from softflow.errors import ConfigError, StoreError

Make = Callable[..., BatchedHand]


def _held(hand: BatchedHand) -> np.ndarray:
    """Actions that keep the targets of the grasps."""
    return hand.to_actions(hand.targets)


def _played(hand: BatchedHand, steps: int, seed: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.1, (steps, hand.num, hand.scene.num_joints))
    states = [hand.step(_held(hand) + n).state for n in noise]
    return np.stack(states)


def test_the_same_seed_gives_the_same_bits_whatever_the_threads() -> None:
    settings = twin(CubeSettings())
    hands = [
        BatchedHand(settings, 6, 3, threads=n, randomisation=Randomisation()) for n in (1, 1, 2)
    ]
    played = [_played(hand, 12) for hand in hands]
    assert np.array_equal(played[0], played[1])
    assert np.array_equal(played[0], played[2])
    other = BatchedHand(settings, 6, 4, randomisation=Randomisation())
    assert not np.array_equal(_played(other, 12), played[0])


def test_grasps_hold_the_cube_on_the_platform_and_without(make_hands: Make) -> None:
    for platform_s in (6.0, 0.0):
        hand = make_hands(16, platform_s=platform_s)
        dropped = np.zeros(16, dtype=bool)
        for _ in range(40):
            dropped |= hand.step(_held(hand)).dropped
        assert dropped.sum() <= 2


def test_an_open_hand_drops_the_cube_once_the_platform_is_gone(make_hands: Make) -> None:
    hand = make_hands(4, platform_s=1.0)
    dropped_at = np.full(4, -1)
    for step in range(60):
        ended = hand.step(np.full((4, 17), -1.0)).dropped
        dropped_at[ended & (dropped_at < 0)] = step
    assert (dropped_at > 20).all()


def test_a_delayed_hand_hears_commands_later() -> None:
    prompt, late = (
        BatchedHand(CubeSettings(gap=Gap(delay_s=delay), platform_s=0.0), 1, 0)
        for delay in (0.0, 0.1)
    )
    for step in range(4):
        before = late.physics.joints.copy()
        for hand in (prompt, late):
            hand.step(np.full((1, 17), 1.0))
        moved = np.abs(late.physics.joints - before).max()
        assert (moved > 0.05) == (step >= 2)
    assert np.abs(prompt.physics.joints - late.physics.joints).max() > 0.1


def test_readings_are_as_far_off_as_the_gap_says() -> None:
    gap = Gap(pose_bias_m=0.01, pose_noise_m=0.002, joint_bias_rad=0.1)
    hand = BatchedHand(CubeSettings(gap=gap), 64, 0)
    state = hand.reset(np.arange(64))
    off = state[:, :17] - hand.physics.joints
    assert off.std() == pytest.approx(0.1, rel=0.1)
    home = np.array(hand.scene.hand.description.cube_home_m)
    away = state[:, 34:37] - (hand.physics.cube_pos - home)
    assert away.std() == pytest.approx(np.hypot(0.01, 0.002), rel=0.2)


def test_broken_physics_is_dumped_discarded_and_can_be_played_again(tmp_path: Path) -> None:
    hand = BatchedHand(CubeSettings(), 3, 0, dumps=tmp_path)
    hand.physics.joint_vel[1] = 1e8
    done = hand.step(_held(hand))
    assert list(done.broken) == [False, True, False]
    assert list(done.done) == [False, True, False]
    assert not done.dropped.any()
    assert np.isfinite(done.state).all()
    assert hand.broken_episodes == 1
    states = replay_unstable(tmp_path / "unstable_00001.npz")
    assert not np.isfinite(states).all() or np.abs(states).max() > 1e4
    assert not hand.step(_held(hand)).broken.any()


def test_what_is_no_dump_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dump.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(StoreError, match="no dump"):
        replay_unstable(path)


def test_randomisation_changes_models_and_each_part_can_be_left_out() -> None:
    changed = BatchedHand(CubeSettings(), 8, 0, randomisation=Randomisation())
    nominal = changed.scene.model
    for name in ("geom_friction", "body_mass", "dof_damping", "actuator_gainprm", "jnt_range"):
        drawn = np.stack([getattr(model, name) for model in changed.physics.models])
        assert not np.allclose(drawn[0], getattr(nominal, name)), name
        assert not np.allclose(drawn[0], drawn[1]), name
    plain = BatchedHand(CubeSettings(), 2, 0, randomisation=NOTHING)
    for model in plain.physics.models:
        assert np.array_equal(model.body_mass, nominal.body_mass)
        assert np.allclose(model.geom_friction, nominal.geom_friction)
    with pytest.raises(ConfigError, match="cube_friction"):
        Randomisation(cube_friction=(1.0, 0.5))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"solver_iterations": 8}, "20 or more"),
        ({"physics_step_s": 0.007}, "whole number"),
        ({"ema": 0.0}, "ema"),
        ({"platform_s": 40.0}, "platform_s"),
    ],
)
def test_settings_that_blow_up_or_mean_nothing_are_refused(
    change: dict[str, float], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        CubeSettings(**change)  # type: ignore[arg-type]


def test_a_gap_can_be_scaled() -> None:
    gap = Gap(delay_s=0.1, friction=0.5, mass_factor=1.4)
    assert gap.scaled(1.0) == gap
    assert gap.scaled(0.0) == Gap()
    half = gap.scaled(0.5)
    assert (half.delay_s, half.friction, half.mass_factor) == pytest.approx((0.05, 0.7, 1.2))
