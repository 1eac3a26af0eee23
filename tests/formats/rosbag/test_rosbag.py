"""Bags of both storages into episodes: values, images, rewards, several bags, goings-on."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rosbags.rosbag2 import CompressionFormat, CompressionMode

from softflow.curation.validation import validate_store
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.importing import import_into
from softflow.formats.rosbag.reading import RosbagSource
from softflow.formats.rosbag.yaml import parse_mapping
from softflow.utils.progress import SilentProgress

STATE = "observation.state"
JOINTS = {"topic": "/joint_states", "field": "position", "names": ["j1", "j2"]}
COMMAND = {"topic": "/command", "field": "data"}


def source(path: Path, **mapping: Any) -> RosbagSource:
    """A source with `state`, `action` and other options given as Python values."""
    keys = {STATE: mapping.pop("state", [JOINTS]), "action": mapping.pop("action", [COMMAND])}
    return RosbagSource(path, parse_mapping({"control_hz": 10, **keys, **mapping}))


def ramp(ros: Any, seconds: float = 1.0, offset: float = 0.0) -> list[Any]:
    """j1 = t and j2 = −2t at 100 Hz, listed as j2, j1; the command is 20 Hz, k at k/20 s."""
    times = [i / 100 for i in range(round(seconds * 100) + 1)]
    joints = [
        ("/joint_states", offset + t, ros.joints(["j2", "j1"], [-2 * t, t], offset + t))
        for t in times
    ]
    commands = [
        ("/command", offset + k / 20, ros.number(k)) for k in range(round(seconds * 20) + 1)
    ]
    return sorted(joints + commands, key=lambda message: message[1])


def test_values_at_the_control_steps(tmp_path: Path, ros: Any, storage: str) -> None:
    bag = ros.write(tmp_path / "run", ramp(ros), storage=storage)
    episode = source(bag).read("run")

    assert episode.length == 10
    t = np.arange(11) / 10
    np.testing.assert_allclose(episode.observations[STATE], np.stack([t, -2 * t], 1), atol=1e-6)
    np.testing.assert_array_equal(episode.actions[:, 0], np.arange(10) * 2)
    assert (episode.truncated, episode.terminated, episode.success) == (True, False, False)
    assert episode.metadata["unlabelled"] is True


def test_between_messages_observations_are_interpolated_and_actions_held(
    tmp_path: Path, ros: Any
) -> None:
    times = [0.0, 0.3, 0.6, 1.0]
    messages = [("/joint_states", t, ros.joints(["j1", "j2"], [t**2, 1.0], t)) for t in times]
    messages += [("/command", t, ros.number(10 * t)) for t in times]
    bag = ros.write(tmp_path / "run", messages)
    episode = source(bag).read("run")

    # Straight lines through (0, 0), (0.3, 0.09), (0.6, 0.36), (1, 1).
    expected = [0, 0.03, 0.06, 0.09, 0.18, 0.27, 0.36, 0.52, 0.68, 0.84, 1.0]
    np.testing.assert_allclose(episode.observations[STATE][:, 0], expected, atol=1e-6)
    np.testing.assert_allclose(episode.actions[:, 0], [0, 0, 0, 3, 3, 3, 6, 6, 6, 6], atol=1e-6)


def test_every_kind_of_field(tmp_path: Path, ros: Any, storage: str) -> None:
    def pose(t: float) -> Any:
        half = t / 2  # one radian a second about z; the recorder flips signs as it likes
        sign = -1 if round(t * 10) % 2 else 1
        return ros.pose([t, 0, 1], [0, 0, sign * np.sin(half), sign * np.cos(half)], t)

    messages = ramp(ros)
    messages += [("/ee/pose", i / 10, pose(i / 10)) for i in range(11)]
    messages += [("/gripper", i / 10, ros.number(i >= 5)) for i in range(11)]
    messages += [("/contact", i / 4, ros.flag(i >= 2)) for i in range(5)]
    state = [
        {"topic": "/ee/pose", "field": "pose.position"},
        {"topic": "/ee/pose", "field": "pose.orientation"},
        {"topic": "/gripper", "field": "data", "interpolate": "nearest"},
        {"topic": "/contact", "field": "data"},
        {"topic": "/ee/pose", "field": "pose"},
    ]
    bag = ros.write(tmp_path / "run", messages, storage=storage)
    imported = source(bag, control_hz=20, state=state[:4])
    found = imported.read("run").observations[STATE]

    t = np.arange(21) / 20
    np.testing.assert_allclose(found[:, 0], t, atol=1e-6)
    np.testing.assert_allclose(found[:, 3:5], 0, atol=1e-6)
    np.testing.assert_allclose(found[:, 5], np.sin(t / 2), atol=1e-6)
    np.testing.assert_allclose(found[:, 6], np.cos(t / 2), atol=1e-6)
    assert set(found[:, 7]) == {0.0, 1.0}
    np.testing.assert_array_equal(found[:, 8], t >= 0.4)  # 0.375 is half way, its earlier one
    assert imported.spec.names[STATE] == (
        *("ee_pose_position.0", "ee_pose_position.1", "ee_pose_position.2"),
        *(f"ee_pose_orientation_xyzw.{i}" for i in range(4)),
        *("gripper", "contact"),
    )
    whole = source(bag, state=[state[4]]).read("run").observations[STATE]
    assert whole.shape == (11, 7)


def test_actions_that_are_orientations_keep_one_sign(tmp_path: Path, ros: Any) -> None:
    messages = ramp(ros)
    for i in range(11):
        sign = -1 if i % 3 else 1
        xyzw = [0, 0, sign * np.sin(i / 20), sign * np.cos(i / 20)]
        messages.append(("/goal", i / 10, ros.pose([0, 0, 0], xyzw, i / 10)))
    bag = ros.write(tmp_path / "run", messages)
    action = [{"topic": "/goal", "field": "pose.orientation"}]
    actions = source(bag, action=action).read("run").actions
    np.testing.assert_allclose(actions[:, 3], np.cos(np.arange(10) / 20), atol=1e-6)


# ---- where episodes begin and end -----------------------------------------------------------


def test_only_the_time_in_which_all_topics_are_there_counts(tmp_path: Path, ros: Any) -> None:
    messages = [m for m in ramp(ros, 3.0) if m[0] == "/command" or 0.5 <= m[1] <= 2.0]
    bag = ros.write(tmp_path / "run", messages)
    episode = source(bag).read("run")
    assert episode.length == 15
    np.testing.assert_allclose(episode.observations[STATE][[0, -1], 0], [0.5, 2.0], atol=1e-6)


def test_a_held_command_lasts_after_its_last_message(tmp_path: Path, ros: Any) -> None:
    messages = [m for m in ramp(ros, 2.0) if m[0] != "/command"]
    messages += [("/command", 0.0, ros.number(1)), ("/command", 0.55, ros.number(2))]
    bag = ros.write(tmp_path / "run", messages)
    actions = source(bag).read("run").actions[:, 0]
    assert actions.tolist() == [1.0] * 6 + [2.0] * 14
    limited = [{**COMMAND, "max_gap_s": 1.0}]
    with pytest.raises(DataError, match=r"'/command' has no message for 1\.450 s, from 0\.550 s"):
        source(bag, action=limited, action_low=[0], action_high=[3]).read("run")


def test_latency_moves_a_topic(tmp_path: Path, ros: Any) -> None:
    """Commands sent 30 ms after the observation they answer belong to its step."""
    messages = [m for m in ramp(ros) if m[0] != "/command"]
    messages += [("/command", k / 10 + 0.03, ros.number(k)) for k in range(10)]
    bag = ros.write(tmp_path / "run", messages)
    late = source(bag, action=[{**COMMAND, "latency_s": 0.03}]).read("run")
    assert late.actions[:, 0].tolist() == list(range(10))


def test_a_topic_cuts_a_bag_into_episodes(tmp_path: Path, ros: Any, storage: str) -> None:
    marks = [(0.5, "start"), (1.5, "stop"), (2.0, "note"), (2.5, "start"), (3.5, "stop")]
    events = [("/episode", t, ros.text(value)) for t, value in marks]
    outcome = [("/outcome", 1.6, ros.text("success")), ("/outcome", 3.0, ros.text("success"))]
    bag = ros.write(tmp_path / "run", [*ramp(ros, 5.0), *events, *outcome], storage=storage)
    imported = source(
        bag,
        episodes={"topic": "/episode", "start": "start", "stop": "stop"},
        success={"topic": "/outcome", "field": "data", "equals": "success"},
    )
    assert imported.episodes() == ["run/000", "run/001"]
    first, second = (imported.read(name) for name in imported.episodes())
    assert first.length == 10
    np.testing.assert_allclose(first.observations[STATE][0, 0], 0.5, atol=1e-6)
    # Pressed a moment after the episode was stopped: still its outcome.
    assert first.success
    assert first.rewards.tolist() == [0.0] * 9 + [1.0]
    # Pressed 0.5 s after the start of the second one: it ends there.
    assert second.length == 6
    assert second.terminated
    np.testing.assert_allclose(second.observations[STATE][[0, -1], 0], [2.5, 3.1], atol=1e-6)


def test_flags_start_and_stop_and_a_new_start_stops_too(tmp_path: Path, ros: Any) -> None:
    marks = [(0.0, True), (1.0, True), (2.0, False), (2.02, True), (2.05, False), (2.5, True)]
    events = [("/episode", t, ros.flag(value)) for t, value in marks]
    bag = ros.write(tmp_path / "run", [*ramp(ros, 3.0), *events])
    imported = source(bag, episodes={"topic": "/episode"})
    lengths = [imported.read(name).length for name in imported.episodes()]
    assert lengths == [10, 10, 5]
    assert "part 2" in imported.report("run").table()


def test_rewards_come_at_their_control_step(tmp_path: Path, ros: Any) -> None:
    rewards = [(0.05, 1.0), (0.31, 2.0), (0.39, 0.5), (0.4, 4.0), (1.2, 8.0)]
    events = [("/reward", t, ros.number(value)) for t, value in rewards]
    bag = ros.write(tmp_path / "run", [*ramp(ros), *events])
    imported = source(bag, reward={"topic": "/reward", "field": "data"})
    # The last one came after the last observation.
    assert imported.read("run").rewards.tolist() == [1, 0, 0, 2.5, 4, 0, 0, 0, 0, 8]


def test_a_verdict_of_failure_is_an_outcome_and_silence_is_not(tmp_path: Path, ros: Any) -> None:
    marks = [(0.0, True), (1.0, False), (1.5, True), (2.5, False)]
    events = [("/episode", t, ros.flag(value)) for t, value in marks]
    bag = ros.write(tmp_path / "run", [*ramp(ros, 3.0), *events, ("/won", 2.0, ros.flag(False))])
    imported = source(
        bag, episodes={"topic": "/episode"}, success={"topic": "/won", "field": "data"}
    )
    silent, failed = (imported.read(name) for name in imported.episodes())
    assert not failed.success
    assert "outcome_from" in failed.metadata
    assert "outcome_from" not in silent.metadata
    store = tmp_path / "store"
    import_into(imported, store, SilentProgress())
    found = list(validate_store(EpisodeStore.open(store)))
    assert [p.episode for p in found if p.check == "missing-label"] == ["0"]


def test_success_may_leave_the_episode_whole(tmp_path: Path, ros: Any) -> None:
    events = [("/success", 0.2, ros.flag(False)), ("/success", 0.52, ros.flag(True))]
    bag = ros.write(tmp_path / "run", [*ramp(ros), *events])
    success = {"topic": "/success", "field": "data"}
    cut = source(bag, success=success).read("run")
    whole = source(bag, success=success, end_at_success=False).read("run")
    assert (cut.length, whole.length) == (6, 10)
    assert cut.rewards.tolist() == [0, 0, 0, 0, 0, 1]
    assert whole.success


# ---- several bags, and stores ---------------------------------------------------------------


@pytest.mark.slow
def test_a_folder_of_bags_goes_into_a_store_and_on(tmp_path: Path, ros: Any) -> None:
    bags = tmp_path / "bags"
    for number in (2, 10, 1):
        ros.write(bags / f"run_{number}", ramp(ros, offset=number))
    imported = source(bags)
    assert imported.episodes() == ["run_1", "run_2", "run_10"]
    assert imported.spec.action_low == (0.0,)
    assert imported.spec.action_high == (18.0,)
    assert import_into(imported, tmp_path / "store", SilentProgress()) == 3

    ros.write(bags / "run_11", ramp(ros))
    assert import_into(source(bags), tmp_path / "store", SilentProgress()) == 1
    stored = EpisodeStore.open(tmp_path / "store")
    np.testing.assert_array_equal(
        stored.episode(1).observations[STATE], imported.read("run_2").observations[STATE]
    )
    assert [s.metadata["imported"] for s in stored.summaries()][-1] == f"{bags}: run_11"


def test_storage_files_by_themselves(tmp_path: Path, ros: Any, storage: str) -> None:
    bag = ros.write(tmp_path / "run", ramp(ros), storage=storage)
    expected = source(bag).read("run")
    suffix = {"mcap": "mcap", "sqlite3": "db3"}[storage]
    loose = tmp_path / "loose" / f"mine.{suffix}"
    loose.parent.mkdir()
    shutil.copy(bag / f"run.{suffix}", loose)
    for path in (loose, loose.parent):
        imported = source(path)
        assert imported.episodes() == [loose.name]
        found = imported.read(loose.name)
        np.testing.assert_array_equal(found.actions, expected.actions)
        np.testing.assert_array_equal(found.observations[STATE], expected.observations[STATE])


@pytest.mark.parametrize(
    ("storage", "mode"),
    [
        *(("mcap", "FILE"), ("mcap", "MESSAGE"), ("mcap", "STORAGE")),
        *(("sqlite3", "FILE"), ("sqlite3", "MESSAGE")),
    ],
)
def test_compressed_bags(tmp_path: Path, ros: Any, storage: str, mode: str) -> None:
    plain = ros.write(tmp_path / "run", ramp(ros), storage=storage)
    packed = ros.write(
        tmp_path / "packed" / "run",
        ramp(ros),
        storage=storage,
        setup=lambda w: w.set_compression(CompressionMode[mode], CompressionFormat.ZSTD),
    )
    np.testing.assert_array_equal(
        source(packed).read("run").observations[STATE],
        source(plain).read("run").observations[STATE],
    )


def test_publishers_that_share_a_topic(tmp_path: Path, ros: Any) -> None:
    """Arm and hand both publish /joint_states, at their own rates."""
    messages = ramp(ros)
    messages += [
        ("/joint_states", i / 30 + 0.001, ros.joints(["finger"], [i / 30], i / 30))
        for i in range(31)
    ]
    bag = ros.write(tmp_path / "run", sorted(messages, key=lambda message: message[1]))
    finger = {"topic": "/joint_states", "field": "position", "names": ["finger"]}
    imported = source(bag, state=[JOINTS, finger])
    t = np.arange(11) / 10
    expected = np.stack([t, -2 * t, t], axis=1)
    found = imported.read("run").observations[STATE]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    rates = {topic.topic: topic.rate_hz for topic in imported.report("run").topics}
    assert rates["/joint_states (finger)"] == pytest.approx(30, rel=1e-3)
    assert rates["/joint_states (j1, j2)"] == pytest.approx(100, rel=1e-3)


@st.composite
def jittered(draw: st.DrawFn) -> np.ndarray:
    """Times of messages over 1 s, ns, at 20 to 60 Hz and up to 8 ms early or late."""
    hz = draw(st.integers(20, 60))
    jitter = draw(hnp.arrays(np.int64, hz + 1, elements=st.integers(-8_000_000, 8_000_000)))
    return np.arange(hz + 1) * (10**9 // hz) + np.where(np.arange(hz + 1) % hz, jitter, 0)


@pytest.mark.slow
@given(jittered(), jittered(), st.sampled_from(["mcap", "sqlite3"]), st.floats(5, 30))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rates_against_numpy(
    tmp_path: Path, ros: Any, states: np.ndarray, commands: np.ndarray, kind: str, hz: float
) -> None:
    values = np.sin(np.arange(len(states)))
    messages = [
        ("/joint_states", t / 1e9, ros.joints(["j1"], [value], t / 1e9))
        for t, value in zip(states, values, strict=True)
    ]
    messages += [("/command", t / 1e9, ros.number(i)) for i, t in enumerate(commands)]
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    bag = ros.write(folder / "run", sorted(messages, key=lambda m: m[1]), storage=kind)
    episode = source(bag, control_hz=hz, state=[{**JOINTS, "names": ["j1"]}]).read("run")

    start, end = max(states[0], commands[0]), states[-1]
    at = start + np.round(np.arange(episode.length + 1) * 1e9 / hz)
    assert at[-1] <= end < at[-1] + 1e9 / hz + 1
    expected = np.interp(at, states, values)
    np.testing.assert_allclose(episode.observations[STATE][:, 0], expected, atol=1e-6)
    counted = [(commands <= moment).sum() - 1 for moment in at[:-1]]
    assert episode.actions[:, 0].tolist() == counted


LOG_DEFINITION = """
builtin_interfaces/Time stamp
uint8 level
string name
string msg
string file
string function
uint32 line
"""


@pytest.mark.parametrize("kind", ["mcap", "sqlite3"])
def test_recordings_of_ros_itself(shared_data: Path, tmp_path: Path, kind: str) -> None:
    """Written by rosbag2; metadata.yaml and storage word the quality of service differently."""
    bag = shared_data / "rosbag2_fixtures" / kind
    # The SQLite one carries a wrong definition of Log; a file given by the user goes before it.
    file = tmp_path / "rcl_interfaces" / "msg" / "Log.msg"
    file.parent.mkdir(parents=True)
    file.write_text(LOG_DEFINITION)
    mapping = {
        "control_hz": 10,
        STATE: [{"topic": "/rosout", "field": "line"}],
        "action": [{"topic": "/rosout", "field": "level"}],
        "success": {"topic": "/topic", "field": "data", "equals": "Hello, world! 5"},
        "message_definitions": [str(tmp_path)] if kind == "sqlite3" else [],
    }
    imported = RosbagSource(bag, parse_mapping(mapping))
    report = imported.report(kind)
    assert [topic.messages for topic in report.topics] == [10]
    assert report.topics[0].lost == 0
    assert report.topics[0].rate_hz == pytest.approx(2, rel=0.01)
    episode = imported.read(kind)
    assert episode.success
    assert 24 <= episode.length <= 26
    assert set(episode.actions[:, 0]) == {20.0}


def test_a_recording_with_a_wrong_definition(shared_data: Path) -> None:
    bag = shared_data / "rosbag2_fixtures" / "sqlite3"
    level = {"topic": "/rosout", "field": "level"}
    with pytest.raises(DataError, match=r"/rosout.*message_definitions"):
        source(bag, state=[level], action=[level])
