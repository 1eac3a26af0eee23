"""What a vision-language model is shown, and what is made of its answer."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from chat_server import chat_server, says
from PIL import Image
from toy_episodes import EpisodeMaker

from softflow.cli.data.store_commands import run
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError
from softflow.labelling.event_kinds import READY_MADE, write_event_kinds
from softflow.labelling.pictures import jpeg
from softflow.labelling.proposals import ProposalFolder
from softflow.labelling.vlm.proposer import VlmSettings, understood

SCISSORS = READY_MADE["scissors"]
SHOWN = [0, 5, 10, 15, 20]


@pytest.fixture
def store(tmp_path: Path, image_spec: DataSpec, make_episode: EpisodeMaker) -> EpisodeStore:
    with EpisodeStore.create(tmp_path / "store", image_spec) as store:
        for seed in range(2):
            store.append(make_episode(image_spec, length=20, seed=seed, success=False))
    write_event_kinds(tmp_path / "store", SCISSORS)
    return EpisodeStore.open(tmp_path / "store")


def test_frames_are_numbered_and_shown_as_they_are(store: EpisodeStore) -> None:
    answer = '{"events": [{"name": "retrieved", "frame": 2, "confidence": 0.75}]}'
    with chat_server(says(answer)) as server:
        words = ["propose", str(store.path), "--with", "vlm", "--set", f"url={server.url}"]
        assert run([*words, "model=m", "frames=5", "task=cut the tape", "key_variable="]) == 0
    assert len(server.bodies) == 2
    assert server.bodies[0]["response_format"] == {"type": "json_object"}
    text, *parts = server.bodies[1]["messages"][0]["content"]
    assert "cut the tape" in text["text"]
    assert "- retrieved: the scissors are out of their holder (once)" in text["text"]
    assert [part["text"] for part in parts[::2]][2] == "frame 2, 0.5 s, camera front"
    assert len(parts) == 10
    frames = store.episode(1).observations["observation.images.front"]
    address = parts[5]["image_url"]["url"]
    picture = Image.open(
        io.BytesIO(base64.b64decode(address.removeprefix("data:image/jpeg;base64,")))
    )
    assert np.abs(np.asarray(picture, float) - frames[10]).mean() < 60  # noise survives JPEG badly
    (said,) = ProposalFolder(store).of(1)
    assert said.proposer == "vlm:m"
    assert [(one.event.name, one.event.step, one.confidence) for one in said.events] == [
        ("retrieved", 9, 0.75)
    ]


def test_a_large_frame_is_made_smaller() -> None:
    picture = Image.open(io.BytesIO(jpeg(np.zeros((300, 600, 3), np.uint8), 64)))
    assert picture.size == (64, 32)


@pytest.mark.parametrize(
    "text",
    [
        '{"events": [{"name": "cut", "frame": 3}]}',
        '```json\n{"events": [{"name": "cut", "frame": 3}]}\n```',
        '<think>let me {"see"}</think>\n{"events": [{"name": "cut", "frame": 3}]}',
    ],
)
def test_an_answer_is_understood_with_what_models_put_around_it(text: str) -> None:
    (one,) = understood(text, SHOWN, SCISSORS)
    assert (one.event.name, one.event.step, one.event.kind) == ("cut", 14, "success")
    assert one.confidence == 0.5


def test_an_event_in_the_first_frame_is_at_the_first_step() -> None:
    (one,) = understood('{"events": [{"name": "cut", "frame": 0}]}', SHOWN, SCISSORS)
    assert one.event.step == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("The tape was cut.", "no JSON"),
        ("", "no JSON"),
        ("[" * 1000, "no JSON"),
        ('{"events": [{"name": "cut", "frame": NaN}]}', "no JSON"),
        ("[]", "does not fit"),
        ('{"happened": []}', "does not fit"),
        ('{"events": [], "__class__": "x"}', "does not fit"),
        ('{"events": [{"name": "cut", "frame": 1.5}]}', "does not fit"),
        ('{"events": [{"name": "cut", "frame": -1}]}', "does not fit"),
        ('{"events": [{"name": "cut", "frame": 1, "confidence": 3}]}', "does not fit"),
        ('{"events": [{"name": "cut", "frame": 5}]}', "names frame 5 of 5"),
        ('{"events": [{"name": "<script>", "frame": 1}]}', "not declared"),
        (
            '{"events": [{"name": "retrieved", "frame": 1}, {"name": "retrieved", "frame": 2}]}',
            "again",
        ),
        (
            '{"events": [{"name": "cut", "frame": 1}, {"name": "retrieved", "frame": 2}]}',
            "ends once",
        ),
        (f'{{"events": [{", ".join(["{}"] * 101)}]}}', "does not fit"),
    ],
)
def test_an_answer_that_cannot_be_meant(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        understood(text, SHOWN, SCISSORS)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs a server and a model"),
        ({"url": "u", "model": "m", "frames": 1}, "frames is 1"),
        ({"url": "u", "model": "m", "tries": 0}, "tries 0"),
    ],
)
def test_settings_that_cannot_be_meant(given: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VlmSettings(**given)  # type: ignore[arg-type]


def test_cameras_that_are_not_there(
    store: EpisodeStore, tmp_path: Path, spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    words = ["--with", "vlm", "--set", "url=http://localhost:1/v1", "model=m"]
    with pytest.raises(ConfigError, match=r"no camera .*; it has front"):
        run(["propose", str(store.path), *words, "cameras=wrist"])
    with EpisodeStore.create(tmp_path / "blind", spec) as blind:
        blind.append(make_episode(spec))
    with pytest.raises(ConfigError, match="has no cameras"):
        run(["propose", str(tmp_path / "blind"), *words])
