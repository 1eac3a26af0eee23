from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from softflow.data.data_spec import DataSpec, require_same_spec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import ArrayStatistics, DatasetStatistics, compute_statistics
from softflow.errors import ConfigError, DataError
from softflow.models.normalizers import ActionNormalizer, StateNormalizer
from softflow.training.training_data import require_episodes, require_successes

STATE = "observation.state"


def statistics(minimum: list[float], maximum: list[float]) -> ArrayStatistics:
    low, high = np.array(minimum), np.array(maximum)
    return ArrayStatistics(mean=(low + high) / 2, std=(high - low) / 4, minimum=low, maximum=high)


@pytest.fixture
def store(tmp_path: Path, spec: DataSpec, make_episode: Callable[..., Episode]) -> EpisodeStore:
    store = EpisodeStore.create(tmp_path / "store", spec)
    for seed, length in enumerate((1, 4, 9)):
        store.append(make_episode(spec, length=length, seed=seed, success=seed != 1))
    return store


def test_statistics_equal_numpy_over_all_rows(store: EpisodeStore) -> None:
    result = compute_statistics(store)
    episodes = [store.episode(i) for i in range(3)]
    states = np.concatenate([e.observations[STATE] for e in episodes]).astype(np.float64)
    actions = np.concatenate([e.actions for e in episodes]).astype(np.float64)
    assert (result.num_episodes, result.num_steps) == (3, 14)
    for counted, rows in ((result.observations[STATE], states), (result.action, actions)):
        np.testing.assert_allclose(counted.mean, rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(counted.std, rows.std(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(counted.minimum, rows.min(axis=0))
        np.testing.assert_array_equal(counted.maximum, rows.max(axis=0))


def test_statistics_of_chosen_episodes_only(store: EpisodeStore) -> None:
    assert compute_statistics(store, [1]).num_steps == 4
    with pytest.raises(DataError, match="at least one"):
        compute_statistics(store, [])


def test_statistics_skip_images(
    tmp_path: Path, image_spec: DataSpec, make_episode: Callable[..., Episode]
) -> None:
    store = EpisodeStore.create(tmp_path / "store", image_spec)
    store.append(make_episode(image_spec))
    assert list(compute_statistics(store).observations) == [STATE]


def test_statistics_survive_json_exactly(store: EpisodeStore) -> None:
    result = compute_statistics(store)
    again = DatasetStatistics.from_json(json.loads(json.dumps(result.to_json())))
    assert again.to_json() == result.to_json()
    np.testing.assert_array_equal(again.action.mean, result.action.mean)
    with pytest.raises(DataError, match="damaged or of another version"):
        DatasetStatistics.from_json({"action": {}})


def test_statistics_refuse_nonsense() -> None:
    with pytest.raises(DataError, match="NaN"):
        statistics([0.0, np.nan], [1.0, 1.0])
    with pytest.raises(DataError, match="above its maximum"):
        ArrayStatistics(np.zeros(1), np.ones(1), np.ones(1), np.zeros(1))
    with pytest.raises(DataError, match="shape"):
        ArrayStatistics(np.zeros(1), np.ones(2), np.zeros(1), np.zeros(1))


def test_constant_action_is_warned_of_by_component_and_value(
    tmp_path: Path, spec: DataSpec, make_episode: Callable[..., Episode]
) -> None:
    store = EpisodeStore.create(tmp_path / "store", spec)
    episode = make_episode(spec)
    actions = episode.actions.copy()
    actions[:, 1] = 0.25
    store.append(dataclasses.replace(episode, actions=actions))
    with pytest.warns(UserWarning, match=r"component 1 is constant \(0.25\)"):
        result = compute_statistics(store)
    assert result.constant_actions == (1,)


def test_moving_actions_give_no_warning(store: EpisodeStore) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compute_statistics(store).constant_actions == ()


def test_several_constant_actions_are_one_warning(tmp_path: Path) -> None:
    spec = DataSpec({"observation.state": (1,)}, 3, (-1.0,) * 3, (1.0,) * 3, 10.0)
    actions = np.array([[0.5, 0.1, -1], [0.5, 0.2, -1]], np.float32)
    states = {"observation.state": np.zeros((3, 1), np.float32)}
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        store.append(Episode(states, actions, np.zeros(2, np.float32), True, False, True))
        with pytest.warns(UserWarning, match="components 0, 2 are constant") as caught:
            compute_statistics(store)
    assert len(caught) == 1
    assert "(0.5, -1) in all 1 episodes; the policy will always output these" in str(caught[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_action_round_trip_with_constant_component(dtype: torch.dtype) -> None:
    normalizer = ActionNormalizer(statistics([-2.0, 0.1, 0.0], [4.0, 0.1, 1e-3])).to(dtype)
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(50, 4, 3, generator=generator, dtype=dtype)
    actions = normalizer.minimum + share * (normalizer.maximum - normalizer.minimum)
    normalised = normalizer.normalize(actions)
    assert normalised.dtype == dtype
    assert normalised.abs().max() <= 0.9 + 1e-6
    assert torch.equal(normalised[..., 1], torch.zeros_like(normalised[..., 1]))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    again = normalizer.denormalize(normalised)
    torch.testing.assert_close(again, actions, rtol=tolerance, atol=tolerance)
    assert torch.equal(again[..., 1], actions[..., 1])


def test_float64_input_is_not_rounded_to_the_buffers() -> None:
    normalizer = ActionNormalizer(statistics([-1.0], [1.0]))
    action = torch.tensor([[0.123456789012345]], dtype=torch.float64)
    again = normalizer.denormalize(normalizer.normalize(action))
    assert again.dtype == torch.float64
    torch.testing.assert_close(again, action, rtol=1e-14, atol=0)


def test_action_borders_by_hand() -> None:
    normalizer = ActionNormalizer(statistics([-1.0, 10.0], [3.0, 30.0]))
    borders = torch.tensor([[-1.0, 10.0], [1.0, 20.0], [3.0, 30.0]])
    expected = torch.tensor([[-0.9, -0.9], [0.0, 0.0], [0.9, 0.9]])
    torch.testing.assert_close(normalizer.normalize(borders), expected)
    outside = torch.tensor([[-0.99, -0.99], [0.0, 0.45], [0.99, 0.99]])
    clipped = torch.tensor([[-1.0, 10.0], [1.0, 25.0], [3.0, 30.0]])
    torch.testing.assert_close(normalizer.denormalize(outside), clipped)


def test_constant_component_decodes_to_the_constant_whatever_comes() -> None:
    normalizer = ActionNormalizer(statistics([0.3], [0.3]))
    decoded = normalizer.denormalize(torch.tensor([[-0.95], [0.0], [0.7]]))
    assert torch.equal(decoded, torch.full((3, 1), 0.3))


def test_action_gradient_passes_through_denormalize() -> None:
    normalizer = ActionNormalizer(statistics([-1.0], [3.0]))
    normalised = torch.tensor([0.5], requires_grad=True)
    normalizer.denormalize(normalised).sum().backward()
    assert normalised.grad is not None
    torch.testing.assert_close(normalised.grad, torch.tensor([2 / 0.9]))


def test_state_normaliser_by_hand_with_floor_and_clip() -> None:
    counted = ArrayStatistics(
        mean=np.array([1.0, 5.0, 0.0]),
        std=np.array([2.0, 0.0, 1.0]),
        minimum=np.array([-9.0, 5.0, -9.0]),
        maximum=np.array([9.0, 5.0, 9.0]),
    )
    normalizer = StateNormalizer(counted)
    states = torch.tensor([[3.0, 5.0, 1e6], [-1.0, 5.002, -1e6]])
    expected = torch.tensor([[1.0, 0.0, 10.0], [-1.0, 2.0, -10.0]])
    torch.testing.assert_close(normalizer(states), expected, rtol=1e-3, atol=1e-6)


def test_normalisers_travel_in_the_state_dict() -> None:
    trained = ActionNormalizer(statistics([-2.0], [4.0]))
    restored = ActionNormalizer(statistics([0.0], [1.0]))
    restored.load_state_dict(trained.state_dict())
    action = torch.tensor([[3.0]])
    assert torch.equal(restored.normalize(action), trained.normalize(action))


def test_normaliser_settings_are_checked() -> None:
    counted = statistics([0.0], [1.0])
    with pytest.raises(ConfigError, match=r"action_scale is 1\.5"):
        ActionNormalizer(counted, action_scale=1.5)
    with pytest.raises(ConfigError, match="std_floor 0"):
        StateNormalizer(counted, std_floor=0.0)


def test_imitation_learns_from_successes_only(store: EpisodeStore) -> None:
    assert require_episodes(store) == [0, 1, 2]
    assert require_successes(store) == [0, 2]


def test_empty_and_unsuccessful_datasets_are_refused(
    tmp_path: Path, spec: DataSpec, make_episode: Callable[..., Episode]
) -> None:
    store = EpisodeStore.create(tmp_path / "empty", spec)
    for check in (require_episodes, require_successes):
        with pytest.raises(DataError, match="holds no episodes; collect"):
            check(store)
    store.append(make_episode(spec, success=False))
    with pytest.raises(DataError, match="none of the 1 episodes"):
        require_successes(store)


def test_mismatch_names_each_field_with_both_values(spec: DataSpec) -> None:
    require_same_spec(spec, dataclasses.replace(spec), "dataset", "environment")
    other = dataclasses.replace(spec, control_hz=10.0, env_id="scene")
    with pytest.raises(DataError) as caught:
        require_same_spec(spec, other, "dataset 'demos'", "environment 'scene'")
    for part in ("demos", "control_hz: 20.0 and 10.0", "env_id: 'toy' and 'scene'"):
        assert part in str(caught.value)
