"""Bags of other people: joints in any order, topics nobody named, and no mapping yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError, SeveralFaultsError
from softflow.formats.contents import told_contents
from softflow.formats.rosbag.reading import RosbagSource
from softflow.formats.rosbag.yaml import load_mapping, parse_mapping

STATE = "observation.state"
POSITION = {"topic": "/joint_states", "field": "position"}
COMMAND = {"topic": "/command", "field": "data"}
TIMES = [i / 10 for i in range(21)]


def source(path: Path, **mapping: Any) -> RosbagSource:
    keys = {STATE: [POSITION], "action": [COMMAND], "control_hz": 10, **mapping}
    return RosbagSource(path, parse_mapping(keys))


def recording(ros: Any, order: Any) -> list[Any]:
    """Joint a is at t, b at 10 t, c at 100 t, listed as `order(t)` says; a command."""
    scale = {"a": 1, "b": 10, "c": 100}
    joints = [
        ("/joint_states", t, ros.joints(order(t), [scale[name] * t for name in order(t)], t))
        for t in TIMES
    ]
    commands = [("/command", t, ros.number(t)) for t in TIMES]
    return sorted(joints + commands, key=lambda message: message[1])


def test_joints_without_names_are_aligned_by_the_messages_own(tmp_path: Path, ros: Any) -> None:
    """joint_state_broadcaster promises no order: ros2_controllers, issue 159."""
    ros.write(tmp_path / "run", recording(ros, lambda t: ["b", "a", "c"] if t < 1 else [*"cab"]))
    imported = source(tmp_path / "run")
    assert imported.spec.names[STATE] == tuple(f"joint_states_position.{name}" for name in "bac")
    t = np.array(TIMES)[:, None]
    expected = t * [[10, 1, 100]]
    np.testing.assert_allclose(imported.read("run").observations[STATE], expected, atol=1e-4)


def test_bags_of_other_orders_become_the_same(tmp_path: Path, ros: Any) -> None:
    for number, order in enumerate(("abc", "cba", "bca")):
        ros.write(tmp_path / f"run_{number}", recording(ros, lambda _, order=order: [*order]))
    imported = source(tmp_path)
    first, *others = (imported.read(name).observations[STATE] for name in imported.episodes())
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_commands_by_joint_names_inside_the_message(tmp_path: Path, ros: Any) -> None:
    def trajectory(t: float) -> Any:
        names = ["a", "b"] if round(10 * t) % 2 else ["b", "a"]
        point = ros.make(
            "trajectory_msgs/msg/JointTrajectoryPoint",
            positions=np.array([{"a": 1.0, "b": 2.0}[name] for name in names]),
            velocities=np.zeros(0),
            accelerations=np.zeros(0),
            effort=np.zeros(0),
            time_from_start=ros.make("builtin_interfaces/msg/Duration", sec=0, nanosec=0),
        )
        kind = "trajectory_msgs/msg/JointTrajectory"
        return ros.make(kind, header=ros.header(t), joint_names=names, points=[point])

    messages = [m for m in recording(ros, lambda _: [*"abc"]) if m[0] != "/command"]
    messages += [("/arm/command", t, trajectory(t)) for t in TIMES]
    ros.write(tmp_path / "run", sorted(messages, key=lambda message: message[1]))
    action = {"topic": "/arm/command", "field": "points[0].positions"}
    imported = source(tmp_path / "run", action=[action])
    episode = imported.read("run")
    np.testing.assert_array_equal(episode.actions, np.tile([2.0, 1.0], (20, 1)))
    assert [name[-2:] for name in imported.spec.names["action"]] == [".b", ".a"]


def test_two_publishers_without_names_are_no_guess(tmp_path: Path, ros: Any) -> None:
    """An arm and a gripper of as many joints on one topic: their values took turns as a state."""
    messages = recording(ros, lambda t: ["a", "b"])
    fingers = [("/joint_states", t + 0.01, ros.joints(["f", "g"], [5, 5], t)) for t in TIMES]
    bag = ros.write(tmp_path / "run", sorted(messages + fingers, key=lambda message: message[1]))
    with pytest.raises(DataError, match=r"\['f', 'g'\], the first message had \['a', 'b'\]; say"):
        source(bag).read("run")
    chosen = source(bag, **{STATE: [{**POSITION, "names": ["b", "a"]}]})
    assert chosen.read("run").observations[STATE].shape == (21, 2)
    told = "\n".join(told_contents(chosen))
    assert "/joint_states joint f" in told
    assert "/joint_states joint g" in told


def test_every_topic_field_and_joint_is_told_of(tmp_path: Path, ros: Any) -> None:
    messages = recording(ros, lambda t: [*"abc"])
    messages += [("/camera", 0.5, ros.image(np.zeros((4, 6, 3), np.uint8))), ("/note", 1.0, None)]
    messages[-1] = ("/note", 1.0, ros.text("hello"))
    ros.write(tmp_path / "run_1", messages)
    more = [("/only/here", 0.1, ros.flag(True))]
    ros.write(tmp_path / "run_2", messages + more)
    told = told_contents(source(tmp_path, **{STATE: [{**POSITION, "names": ["a"]}]}))
    taken, left = "\n".join(told).split("not taken:")
    assert "/joint_states position float64[]" in taken
    assert "/command data" in taken
    for name in ("velocity", "effort", "joint b", "joint c"):
        assert f"/joint_states {name}" in left
    for topic in ("/camera  ", "/note  ", "/only/here (in run_2)"):
        assert topic.strip() in left
    assert "sensor_msgs/msg/Image" in left


def test_a_report_and_a_mapping_before_there_is_one(
    tmp_path: Path, ros: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    messages = recording(ros, lambda t: [*"abc"])
    messages += [("/front/image_raw", t, ros.image(pixels, stamp=t)) for t in TIMES]
    messages += [("/ee", t, ros.pose([0, 0, t], [0, 0, 0, 1], t)) for t in TIMES]
    messages += [("/verdict", 2.0, ros.text("good"))]
    ros.write(tmp_path / "bags" / "run", sorted(messages, key=lambda message: message[1]))
    command = ["data", "import", "rosbag", str(tmp_path / "bags")]
    assert main([*command, "--report"]) == 0
    shown = capsys.readouterr().out
    for expected in ("/joint_states", "a, b, c", "48 x 64", "10.0", "--write-mapping"):
        assert expected in shown

    file, store = tmp_path / "mapping.yaml", tmp_path / "store"
    assert main([*command, "--write-mapping", str(file)]) == 0
    mapping = load_mapping(file)
    assert mapping.action[0].topic == "/command"
    assert mapping.cameras["observation.images.front"].topic == "/front/image_raw"
    named = {signal.topic: signal.names for signal in mapping.observations[STATE]}
    assert named == {"/ee": (), "/joint_states": ("a", "b", "c")}
    assert "/verdict  std_msgs/msg/String" in file.read_text()
    assert main([*command, "--write-mapping", str(file)]) == 2, "nothing is overwritten"
    assert main([*command, "--mapping", str(file), "--out", str(store)]) == 0
    spec = EpisodeStore.open(store).spec
    assert spec.observation_shapes[STATE] == (3 + 3 + 4,)
    assert main([*command, "--out", str(store)]) == 2
    assert "--write-mapping" in capsys.readouterr().err


def test_hidden_files_of_macos_are_no_bags(tmp_path: Path, ros: Any) -> None:
    ros.write(tmp_path / "run", recording(ros, lambda t: [*"abc"]))
    (tmp_path / "._run_0.mcap").write_bytes(b"\x00\x05\x16\x07")
    assert source(tmp_path).episodes() == ["run"]


def test_a_ros1_bag_is_told_how_to_be_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.bag"
    file.write_bytes(b"#ROSBAG V2.0\n" + bytes(100))
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        "control_hz: 10\nobservation.state: [{topic: /a, field: data}]\n"
        "action: [{topic: /b, field: data}]\n"
    )
    for path in (file, tmp_path):
        words = ["data", "import", "rosbag", str(path), "--mapping", str(mapping), "--check"]
        assert main(words) == 2
        assert "rosbags-convert --src" in " ".join(capsys.readouterr().err.split()), path


def test_a_renamed_file_of_a_bag_is_named(tmp_path: Path, ros: Any) -> None:
    bag = ros.write(tmp_path / "run", recording(ros, lambda t: [*"abc"]))
    (bag / "run.mcap").rename(bag / "monday.mcap")
    with pytest.raises(DataError, match=r"monday\.mcap.* rename it to run\.mcap"):
        source(bag)


def test_all_faults_of_a_bag_are_told(tmp_path: Path, ros: Any) -> None:
    def joints(t: float) -> Any:
        message = ros.joints(["a", "b"], [np.nan if t == 0.5 else t, np.nan if t > 1 else t], t)
        message.velocity = np.array([1.0, np.inf if t == 0.7 else 0.0])
        return message

    messages = [("/joint_states", t, joints(t)) for t in TIMES]
    messages += [("/command", t, ros.number(t)) for t in TIMES]
    ros.write(tmp_path / "run", sorted(messages, key=lambda message: message[1]))
    keys = {"observation.velocity": [POSITION | {"field": "velocity"}]}
    with pytest.raises(SeveralFaultsError) as caught:
        source(tmp_path / "run", **keys).read("run")
    one, other = caught.value.faults
    assert "'position', component 0 is nan" in one
    assert "'velocity', component 1 is inf" in other


def test_gaps_of_all_topics_are_told(tmp_path: Path, ros: Any) -> None:
    messages = [(topic, t, m) for topic, t, m in recording(ros, lambda _: ["a", "b", "c"])]
    gone = {"/joint_states": (0.3, 0.9), "/command": (1.2, 1.8)}
    kept = [one for one in messages if not gone[one[0]][0] < one[1] < gone[one[0]][1]]
    ros.write(tmp_path / "run", kept)
    limits = {"max_gap_s": 0.2, "action": [COMMAND | {"max_gap_s": 0.2}]}
    with pytest.raises(SeveralFaultsError) as caught:
        source(tmp_path / "run", **limits).read("run")
    assert ["/joint_states" in text or "/command" in text for text in caught.value.faults] == [
        True,
        True,
    ]
