"""Bags broken on purpose: every message names the bag, the topic, the place and the fix."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from softflow.errors import DataError
from softflow.formats.rosbag.reading import RosbagSource
from softflow.formats.rosbag.yaml import parse_mapping

STATE = "observation.state"
CAMERA = "observation.images.wrist"
JOINTS: dict[str, Any] = {"topic": "/joint_states", "field": "position", "names": ["j1"]}
COMMAND: dict[str, Any] = {"topic": "/command", "field": "data"}
SUFFIX = {"mcap": "mcap", "sqlite3": "db3"}


def source(path: Path, **mapping: Any) -> RosbagSource:
    keys = {STATE: mapping.pop("state", [JOINTS]), "action": mapping.pop("action", [COMMAND])}
    return RosbagSource(path, parse_mapping({"control_hz": 10, **keys, **mapping}))


def recording(ros: Any, seconds: float = 1.0) -> list[Any]:
    """j1 = t at 100 Hz, the command counts at 10 Hz."""
    times = [i / 100 for i in range(round(seconds * 100) + 1)]
    messages = [("/joint_states", t, ros.joints(["j1"], [t], t)) for t in times]
    messages += [("/command", t, ros.number(k)) for k, t in enumerate(times[::10])]
    return sorted(messages, key=lambda message: message[1])


def read_first(path: Path, **mapping: Any) -> None:
    imported = source(path, **mapping)
    imported.read(imported.episodes()[0])


def refused(path: Path, *parts: str, **mapping: Any) -> None:
    """Reading the bag raises a DataError that holds all of these."""
    with pytest.raises(DataError) as caught:
        read_first(path, **mapping)
    for part in parts:
        assert part in str(caught.value)


# ---- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.95])
def test_a_truncated_file(tmp_path: Path, ros: Any, storage: str, kept: float) -> None:
    bag = ros.write(tmp_path / "run", recording(ros, 20), storage=storage)
    file = bag / f"run.{SUFFIX[storage]}"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    refused(bag, "cannot read the bag", str(bag), "copy it again")


def test_a_damaged_file(tmp_path: Path, ros: Any) -> None:
    """The compressed chunk's checksum notices flipped bytes."""

    def compress(writer: Writer) -> None:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)

    bag = ros.write(tmp_path / "run", recording(ros), setup=compress)
    file = bag / "run.mcap"
    content = bytearray(file.read_bytes())
    middle = len(content) // 4
    content[middle : middle + 8] = bytes(255 - byte for byte in content[middle : middle + 8])
    file.write_bytes(content)
    refused(bag, "cannot read the bag", "copy it again")


@pytest.mark.slow
@given(
    st.sampled_from(["mcap", "sqlite3"]), st.integers(0, 2**40), st.binary(min_size=1, max_size=16)
)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_noticed_or_harmless(
    tmp_path: Path, ros: Any, kind: str, place: int, content: bytes
) -> None:
    """Bytes overwritten anywhere: an episode, or a DataError, and nothing else."""
    bag = tmp_path / kind
    if not bag.exists():
        ros.write(bag, recording(ros, 0.3), storage=kind)
    file = bag / f"{kind}.{SUFFIX[kind]}"
    whole = file.read_bytes()
    place %= len(whole)
    file.write_bytes((whole[:place] + content + whole[place + len(content) :])[: len(whole)])
    with contextlib.suppress(DataError):
        source(bag).read(kind)
    file.write_bytes(whole)


def test_metadata_that_is_missing(tmp_path: Path, ros: Any, storage: str) -> None:
    bag = ros.write(tmp_path / "run", recording(ros), storage=storage)
    (bag / "metadata.yaml").unlink()
    file = bag / f"run.{SUFFIX[storage]}"
    file.rename(bag / f"run_0.{SUFFIX[storage]}")  # as ros2 bag record calls it
    refused(bag, "has no metadata.yaml", f"ros2 bag reindex {bag}")
    refused(bag.parent, "has no metadata.yaml")


@pytest.mark.parametrize("text", ["", "rosbag2_bagfile_information: 3", "a: [", "\x00"])
def test_metadata_that_is_broken(tmp_path: Path, ros: Any, text: str) -> None:
    bag = ros.write(tmp_path / "run", recording(ros))
    (bag / "metadata.yaml").write_text(text)
    refused(bag, "cannot read the bag", str(bag))


def test_a_storage_file_that_is_missing(tmp_path: Path, ros: Any, storage: str) -> None:
    bag = ros.write(tmp_path / "run", recording(ros), storage=storage)
    (bag / f"run.{SUFFIX[storage]}").unlink()
    refused(bag, "cannot read the bag", f"run.{SUFFIX[storage]}")


def test_a_database_that_was_not_closed(tmp_path: Path, ros: Any) -> None:
    """Messages in SQLite's write-ahead log would silently be missing."""
    bag = ros.write(tmp_path / "run", recording(ros), storage="sqlite3")
    live = tmp_path / "live.db3"
    shutil.copy(bag / "run.db3", live)
    database = sqlite3.connect(live)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("UPDATE messages SET timestamp = timestamp + 1")
    database.commit()
    for name in ("live.db3", "live.db3-wal"):
        shutil.copy(tmp_path / name, bag / name.replace("live", "run"))
    database.close()
    refused(bag, "run.db3-wal' holds messages", "wal_checkpoint")


def test_no_bags(tmp_path: Path) -> None:
    refused(tmp_path / "gone", "there is no")
    (tmp_path / "notes.txt").write_text("nothing here")
    refused(tmp_path, "holds no bags")
    refused(tmp_path / "notes.txt", "cannot read the bag")


def test_a_message_that_is_cut_off(tmp_path: Path, ros: Any) -> None:
    bag = ros.write(tmp_path / "run", recording(ros), storage="sqlite3")
    database = sqlite3.connect(bag / "run.db3")
    database.execute("UPDATE messages SET data = substr(data, 1, 40) WHERE id = 30")
    database.commit()
    database.close()
    refused(bag, "/joint_states, received 0.", "does not fit its type sensor_msgs/msg/JointState")


# ---- topics, fields, types ------------------------------------------------------------------


def test_an_unknown_topic(tmp_path: Path, ros: Any, storage: str) -> None:
    bag = ros.write(tmp_path / "run", recording(ros), storage=storage)
    wrong = {"topic": "/joint_state", "field": "position"}
    refused(
        *(bag, "has no topic '/joint_state'", "/command  std_msgs/msg/Float64"),
        *("/joint_states  sensor_msgs/msg/JointState", "Correct the mapping"),
        state=[wrong],
    )
    refused(bag, "has no topic '/success'", success={"topic": "/success", "field": "data"})


def test_an_empty_topic(tmp_path: Path, ros: Any, storage: str) -> None:
    topics = {"/effort": "std_msgs/msg/Float64", "/success": "std_msgs/msg/Bool"}
    bag = ros.write(tmp_path / "run", recording(ros), storage=storage, topics=topics)
    empty = {"topic": "/effort", "field": "data"}
    refused(bag, "'/effort' has no messages", "leave this bag out", state=[JOINTS, empty])
    # Nobody pressed the button: no success, and no error.
    assert not source(bag, success={"topic": "/success", "field": "data"}).read("run").success


@pytest.mark.parametrize(
    ("signal", "parts"),
    [
        ({"field": "positions"}, ["no field 'positions'", "header, name, position, velocity"]),
        ({"field": "header.stamp.secs"}, ["no field 'secs'", "sec, nanosec"]),
        ({"field": "position.x"}, ["no field 'x'", "it is a value"]),
        ({"field": "header.frame_id"}, ["'header.frame_id' is text"]),
        ({"field": "header"}, ["'header' holds text", "stamp, frame_id"]),
        ({"field": "name"}, ["'name' holds text"]),
        ({"field": "position[3]"}, ["has 1 entries, none at [3]"]),
        ({"field": "header[0]"}, ["'header[0]' of 'header[0]' is no list"]),
        ({"field": "effort"}, ["'effort' is empty"]),
        ({"field": "position", "names": ["j1", "j9"]}, ["has no 'j9' in 'name', only ['j1']"]),
        ({"field": "velocity", "names": ["j1"]}, ["has 0 values for the 1 joints"]),
        ({"field": "position", "names": ["j9"]}, ["(j9)' has no messages", "tell of ['j1']"]),
        ({"field": "position", "interpolate": "slerp"}, ["has 1 numbers, slerp needs the 4"]),
    ],
)
def test_fields(tmp_path: Path, ros: Any, signal: dict[str, Any], parts: list[str]) -> None:
    bag = ros.write(tmp_path / "run", recording(ros))
    refused(bag, "/joint_states", *parts, state=[{"topic": "/joint_states", **signal}])


def test_what_does_not_go_together(tmp_path: Path, ros: Any) -> None:
    poses = [("/pose", t, ros.pose([0, 0, 0], [0, 0, 0, 1], t)) for t in (0.0, 0.5, 1.0)]
    texts = [("/text", t, ros.text("go")) for t in (0.0, 0.5, 1.0)]
    bag = ros.write(tmp_path / "run", [*recording(ros), *poses, *texts])
    straight = {"topic": "/pose", "field": "pose.orientation", "interpolate": "linear"}
    refused(bag, "/pose", "use 'interpolate: slerp'", state=[straight])
    named = {"topic": "/pose", "field": "pose.position", "names": ["j1"]}
    refused(bag, "/pose", "leave 'names' out", state=[named])
    refused(bag, "'/pose' is of type geometry_msgs/msg/PoseStamped", **{CAMERA: {"topic": "/pose"}})
    refused(bag, "a reward is a number", reward={"topic": "/text", "field": "data"})
    success = {"topic": "/text", "field": "data"}
    refused(bag, "is text; give equals in 'success'", success=success)
    refused(bag, "is text; give start and stop", episodes=success)
    refused(bag, "is a number or boolean", success={**COMMAND, "equals": "yes"})
    refused(bag, "/pose", "has 7 values", reward={"topic": "/pose", "field": "pose"})
    refused(bag, "'action_low' has 2 values for 1", "command", action_low=[0, 0])
    refused(bag, "is the start value 'begin'", episodes={**success, "start": "begin", "stop": "x"})


GRIP = "float64 force\nMode mode"
MODE = "uint8 value"


def custom_types() -> Any:
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg(MODE, "my_msgs/msg/Mode"))
    types.register(get_types_from_msg(GRIP, "my_msgs/msg/Grip"))
    return types


def with_grip(ros: Any, path: Path, storage: str) -> Path:
    types = custom_types()
    grip, mode = types.types["my_msgs/msg/Grip"], types.types["my_msgs/msg/Mode"]
    grips = [("/grip", i / 10, grip(force=i / 2, mode=mode(value=i >= 5))) for i in range(11)]
    return ros.write(path, [*recording(ros), *grips], storage=storage, types=types)


GRIP_FORCE = {"topic": "/grip", "field": "force"}
GRIP_MODE = {"topic": "/grip", "field": "mode.value"}


def test_types_of_ones_own_come_with_the_bag(tmp_path: Path, ros: Any, storage: str) -> None:
    bag = with_grip(ros, tmp_path / "run", storage)
    found = source(bag, state=[GRIP_FORCE, GRIP_MODE]).read("run").observations[STATE]
    np.testing.assert_allclose(found[:, 0], np.arange(11) / 2, atol=1e-6)
    np.testing.assert_array_equal(found[:, 1], np.arange(11) >= 5)


def test_a_header_that_does_not_come_first(tmp_path: Path, ros: Any) -> None:
    types = custom_types()
    types.register(get_types_from_msg("float64 value\nstd_msgs/Header header", "my_msgs/msg/Late"))
    late = types.types["my_msgs/msg/Late"]
    messages = [
        ("/late", i / 10 + 0.03, late(value=i, header=ros.header(i / 10))) for i in range(11)
    ]
    bag = ros.write(tmp_path / "run", [*recording(ros), *messages], types=types)
    imported = source(bag, state=[{"topic": "/late", "field": "value"}])
    found = imported.read("run").observations[STATE][:, 0]
    np.testing.assert_allclose(found, np.arange(11), atol=1e-6)
    skew = {topic.topic: topic.skew_ms for topic in imported.report("run").topics}
    assert skew["/late"] == pytest.approx(-30)


def test_types_that_nobody_defines(tmp_path: Path, ros: Any) -> None:
    """Older recorders wrote no definitions; without them only ROS 2's own types are known."""
    bag = with_grip(ros, tmp_path / "run", "sqlite3")
    database = sqlite3.connect(bag / "run.db3")
    database.execute("DELETE FROM message_definitions")
    database.commit()
    database.close()
    assert source(bag).read("run").length == 10
    refused(
        *(bag, "no definition of the message type my_msgs/msg/Grip", "message_definitions"),
        state=[GRIP_FORCE],
    )
    folder = tmp_path / "my_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Grip.msg").write_text(GRIP)
    files = [str(folder / "Grip.msg")]
    refused(bag, "my_msgs/msg/Mode (part of", state=[GRIP_FORCE], message_definitions=files)
    (folder / "Mode.msg").write_text(MODE)
    for definitions in ([*files, str(folder / "Mode.msg")], [str(tmp_path)]):
        imported = source(bag, state=[GRIP_FORCE], message_definitions=definitions)
        assert imported.read("run").observations[STATE][-1, 0] == 5
    refused(bag, "no .msg file at", message_definitions=[str(tmp_path / "gone.msg")])
    (folder / "Grip.msg").write_text("float64 = what")
    refused(bag, "my_msgs/msg/Grip cannot be read", message_definitions=files)


# ---- values ---------------------------------------------------------------------------------


def replaced(messages: list[Any], topic: str, number: int, message: Any) -> list[Any]:
    places = [place for place, (name, _, _) in enumerate(messages) if name == topic]
    at = places[number]
    return [*messages[:at], (topic, messages[at][1], message), *messages[at + 1 :]]


def test_nan_says_topic_time_and_component(tmp_path: Path, ros: Any) -> None:
    bad = ros.joints(["j0", "j1"], [0.0, np.nan], 0.4)
    bag = ros.write(tmp_path / "run", replaced(recording(ros), "/joint_states", 40, bad))
    refused(bag, "/joint_states, received 0.400000 s", "'position', component 0 is nan", "repair")


def test_nan_outside_the_episode_does_not_matter(tmp_path: Path, ros: Any) -> None:
    messages = [m for m in recording(ros) if m[0] != "/command" or m[1] >= 0.5]
    bad = ros.joints(["j1"], [np.inf], 0.02)
    bag = ros.write(tmp_path / "run", replaced(messages, "/joint_states", 2, bad))
    assert source(bag).read("run").length == 5


def test_a_quaternion_that_is_none(tmp_path: Path, ros: Any) -> None:
    """Drivers send zeros until they know better."""
    poses = [("/pose", i / 10, ros.pose([0, 0, 0], [0, 0, 0, i != 3], i / 10)) for i in range(11)]
    bag = ros.write(tmp_path / "run", [*recording(ros), *poses])
    orientation = {"topic": "/pose", "field": "pose.orientation"}
    refused(bag, "/pose, received 0.300000 s", "norm 0, not 1", state=[orientation])


def test_a_shape_that_changes(tmp_path: Path, ros: Any) -> None:
    bad = ros.joints(["j1", "j2"], [0.5, 0.5], 0.5)
    bag = ros.write(tmp_path / "run", replaced(recording(ros), "/joint_states", 50, bad))
    unnamed = {"topic": "/joint_states", "field": "position"}
    refused(
        bag, "received 0.500000 s", "['j1', 'j2'], the first message had ['j1']", state=[unnamed]
    )
    assert source(bag).read("run").length == 10


def test_bags_of_another_shape(tmp_path: Path, ros: Any) -> None:
    ros.write(tmp_path / "a", recording(ros))
    more = [("/joint_states", i / 10, ros.joints(["j1", "j2"], [0, 0], i / 10)) for i in range(11)]
    commands = [message for message in recording(ros) if message[0] == "/command"]
    ros.write(tmp_path / "b", [*more, *commands])
    imported = source(tmp_path, state=[{"topic": "/joint_states", "field": "position"}])
    assert imported.read("a").length == 10
    with pytest.raises(DataError, match=r"/b.*the first message had \['j1'\]; say which joints"):
        imported.read("b")


@pytest.mark.parametrize("kind", ["encoding", "short", "crop", "png", "depth", "size"])
def test_images(tmp_path: Path, ros: Any, kind: str) -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    messages = {t: ros.image(pixels, stamp=t) for t in (0.0, 0.5, 1.0)}
    camera: dict[str, Any] = {"topic": "/camera"}
    if kind == "encoding":
        messages[0.5].encoding = "16UC1"
        parts = ["image encoding '16UC1' is none of rgb8, bgr8"]
    elif kind == "short":
        messages[0.5].data = messages[0.5].data[:100]
        parts = ["an image of 6 x 8 in rgb8, 24 bytes a row, has 100 bytes"]
    elif kind == "crop":
        camera["crop"] = [0, 4, 6, 5]
        parts = ["crop [0, 4, 6, 5]", "beyond the image of 6 x 8"]
    elif kind == "size":
        messages[0.5] = ros.image(np.zeros((4, 8, 3), np.uint8), stamp=0.5)
        parts = ["shape (4, 8, 3), but (6, 8, 3)", "use 'size'"]
    else:
        messages = {t: ros.compressed(pixels, "png", t) for t in (0.0, 0.5, 1.0)}
        messages[0.5].data = messages[0.5].data[:40]
        parts = ["a compressed image of format", "40 bytes that are no"]
        if kind == "depth":
            messages[0.5].format = "16UC1; compressedDepth png"
            parts = ["is depth, not colour"]
    frames = [("/camera", t, message) for t, message in messages.items()]
    bag = ros.write(tmp_path / "run", [*recording(ros), *frames])
    refused(bag, "/camera, received 0.", *parts, **{CAMERA: camera})


def test_names_of_episodes(tmp_path: Path, ros: Any) -> None:
    bag = ros.write(tmp_path / "run", recording(ros))
    imported = source(bag)
    for method in (imported.read, imported.report):
        with pytest.raises(DataError, match=r"no episode 'walk'; its bags are run"):
            method("walk")
