"""D4RL files in: episodes laid end to end, with and without what follows each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from array_names import hdf5_arrays
from hypothesis import given
from hypothesis import strategies as st

from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError, SeveralFaultsError
from softflow.formats.contents import told_contents
from softflow.formats.d4rl import D4RLSource, stretches
from softflow.formats.importing import import_into
from softflow.utils.progress import SilentProgress

STATE = "observation.state"
LENGTHS = (4, 1, 6, 3)
"""The first episode terminates, the last one was still going when the recording stopped."""


def arrays_of(lengths: tuple[int, ...] = LENGTHS) -> dict[str, np.ndarray]:
    """An Adroit file's arrays: 39 observations, 28 actions, and where the simulator stood."""
    rng, total = np.random.default_rng(0), sum(lengths)
    stops = np.cumsum(lengths)
    timeouts = np.isin(np.arange(total), stops[:-1] - 1)
    terminals = np.arange(total) == stops[0] - 1
    return {
        "observations": rng.normal(size=(total, 39)),
        "actions": rng.uniform(-0.5, 0.5, (total, 28)).astype(np.float32),
        "rewards": rng.normal(size=total),
        "terminals": terminals,
        "timeouts": timeouts & ~terminals,
        "infos/qpos": rng.normal(size=(total, 30)),
        "infos/qvel": rng.normal(size=(total, 30)),
        "infos/door_body_pos": rng.normal(size=(total, 3)),
        "infos/action_mean": rng.normal(size=(total, 28)),
    }


def write(path: Path, arrays: dict[str, np.ndarray], **others: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for name, values in (arrays | others).items():
            file[name] = values
        file["metadata/algorithm"] = "human"
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "door-human-v1.hdf5"


def test_episodes_end_where_the_file_says(path: Path) -> None:
    arrays = arrays_of()
    source = D4RLSource(write(path, arrays))
    assert source.episodes() == [f"episode_{n}" for n in range(4)]
    assert source.spec.control_hz == 100
    assert (source.spec.action_dim, set(source.spec.action_low)) == (28, {-1.0})
    first = 0
    for number, length in enumerate(LENGTHS):
        rows, episode = slice(first, first + length), source.read(f"episode_{number}")
        state = arrays["observations"][rows].astype(np.float32)
        np.testing.assert_array_equal(episode.observations[STATE], [*state, state[-1]])
        np.testing.assert_array_equal(episode.actions, arrays["actions"][rows])
        np.testing.assert_array_equal(episode.rewards, np.float32(arrays["rewards"][rows]))
        assert (episode.terminated, episode.truncated) == (number == 0, number != 0)
        assert episode.metadata["environment"] == "door-human-v1"
        assert episode.metadata["final_observation"] == "repeated"
        assert episode.metadata["unlabelled"]
        start = episode.metadata["initial_state"]
        assert start.keys() == {"qpos", "qvel", "door_body_pos"}
        assert start["qpos"] == arrays["infos/qpos"][first].tolist()
        first += length


def test_next_observations_give_the_final_one(path: Path) -> None:
    arrays = arrays_of()
    following = np.random.default_rng(1).normal(size=arrays["observations"].shape)
    source = D4RLSource(write(path, arrays, next_observations=following))
    episode = source.read("episode_2")
    np.testing.assert_array_equal(episode.observations[STATE][-1], np.float32(following[10]))
    assert "final_observation" not in episode.metadata


def test_goal_achieved_is_success(path: Path) -> None:
    achieved = np.zeros(sum(LENGTHS), bool)
    achieved[[7, 8, 9]] = True
    write(path, arrays_of(), **{"infos/goal_achieved": achieved})
    won, lost = (D4RLSource(path).read(name) for name in ("episode_2", "episode_0"))
    assert (won.length, won.success, won.terminated) == (3, True, True)
    assert (lost.length, lost.success, lost.terminated) == (4, False, True)
    assert "unlabelled" not in won.metadata
    whole = D4RLSource(path, end_at_success=False).read("episode_2")
    assert (whole.length, whole.success, whole.truncated) == (6, True, True)


@given(st.lists(st.booleans(), max_size=40), st.none() | st.integers(1, 9))
def test_stretches_cover_every_row_once(ends: list[bool], longest: int | None) -> None:
    pairs = stretches(np.array(ends, bool), longest)
    assert [row for first, stop in pairs for row in range(first, stop)] == list(range(len(ends)))
    for first, stop in pairs:
        assert not any(ends[first : stop - 1])
        assert stop - first <= (longest or len(ends))
        assert ends[stop - 1] or stop == len(ends) or stop - first == longest


def test_without_timeouts_the_length_of_episodes_is_asked_for(path: Path) -> None:
    arrays = arrays_of()
    del arrays["timeouts"]
    arrays["terminals"][:] = False
    write(path, arrays)
    with pytest.raises(DataError, match=r"neither 'timeouts' nor .* in 14 steps.*--max-episode"):
        D4RLSource(path)
    source = D4RLSource(path, max_episode_steps=5)
    assert [source.read(name).length for name in source.episodes()] == [5, 5, 4]
    assert not any(source.read(name).terminated for name in source.episodes())


@pytest.mark.slow
def test_the_human_door_demonstrations_in_d4rls_layout(
    tmp_path: Path, path: Path, shared_data: Path
) -> None:
    human = np.load(shared_data / "adroit_door_human" / "door_human.npz")
    lengths = human["lengths"]
    ends = np.zeros(lengths.sum(), bool)
    ends[np.cumsum(lengths) - 1] = True
    write(
        path,
        {
            "observations": human["observations"],
            "actions": human["actions"],
            "rewards": np.zeros(len(ends)),
            "terminals": np.zeros(len(ends), bool),
            "timeouts": ends,
        },
    )
    source = D4RLSource(path)
    assert import_into(source, tmp_path / "store", SilentProgress()) == 25
    store = EpisodeStore.open(tmp_path / "store")
    assert [summary.length for summary in store.summaries()] == lengths.tolist()
    np.testing.assert_array_equal(
        np.concatenate([store.episode(i).actions for i in range(25)]),
        np.float32(human["actions"]),
    )


# ---- broken on purpose -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("terminals", None, r"has no array 'terminals' \(it has \['actions'.*is it a D4RL file"),
        ("observations", None, r"has no array 'observations'"),
        ("rewards", np.zeros(9), r"arrays of different lengths .*'rewards' 9"),
        ("infos/qpos", np.zeros((9, 30)), r"arrays of different lengths .*'infos/qpos' 9"),
        ("actions", np.zeros(sum(LENGTHS), np.int64), r"actions have shape \(4,\), expected"),
        ("rewards", np.array(["a"] * sum(LENGTHS), "S"), r"rewards is \|S1 of shape \(14,\)"),
    ],
)
def test_files_that_are_not_whole(
    path: Path, name: str, value: np.ndarray | None, message: str
) -> None:
    arrays: dict[str, Any] = arrays_of() | {name: value}
    write(path, {key: values for key, values in arrays.items() if values is not None})
    with pytest.raises(DataError, match=message) as caught:
        D4RLSource(path)
    assert str(path) in str(caught.value)


def test_what_is_no_number_is_told_with_its_rows(path: Path) -> None:
    arrays = arrays_of()
    arrays["observations"][7, 3] = np.nan
    source = D4RLSource(write(path, arrays))
    assert source.read("episode_1").length == 1
    with pytest.raises(DataError, match=r"episode_2 \(rows 5 to 10\): .* step 2, component 3 is n"):
        source.read("episode_2")


def test_an_unknown_name_needs_its_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "juggle-v0.hdf5", arrays_of())
    with pytest.raises(DataError, match=r"does not know it of 'juggle-v0'; give --control-hz"):
        D4RLSource(path)
    assert D4RLSource(path, control_hz=30).spec.control_hz == 30


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95])
def test_a_file_cut_while_downloading(path: Path, share: float) -> None:
    whole = write(path, arrays_of()).read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"cannot read {path}"):
        D4RLSource(path)


def test_a_file_without_steps(path: Path) -> None:
    write(path, {name: values[:0] for name, values in arrays_of().items()})
    with pytest.raises(DataError, match="has 0 steps"):
        D4RLSource(path)


def test_nothing_in_the_file_is_unmentioned(tmp_path: Path) -> None:
    path = write(tmp_path / "door-human-v1.hdf5", arrays_of(), extra=np.zeros(3))
    taken, left = "\n".join(told_contents(D4RLSource(path))).split("not taken:")
    for name in hdf5_arrays(path):
        assert f"  {name} " in (taken + left), name
    for name in ("infos/action_mean [28] float64", "extra", "metadata/algorithm"):
        assert name in left
    assert "infos/qpos [30] float64" in taken


def test_all_faults_of_an_episode_are_told(path: Path) -> None:
    arrays = arrays_of()
    arrays["observations"][5, 3] = np.nan
    arrays["rewards"][6] = np.inf
    source = D4RLSource(write(path, arrays))
    with pytest.raises(SeveralFaultsError) as caught:
        source.read("episode_2")
    told = sorted(text.partition("'")[2] for text in caught.value.faults)
    assert len(told) == 2
    assert told[0].startswith("next.reward' at step 1 is inf")
    assert told[1].startswith("observation.state' at step 0, component 3 is nan")
