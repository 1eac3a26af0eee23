"""Frames of an episode shown to a vision-language model, and what it makes of them.

    softflow data propose DATASET --with vlm --set url=http://localhost:8000/v1 model=NAME

The model sees `frames` moments of the episode, evenly spread, numbered, from the chosen cameras as
JPEG, and the declared kinds of events. It answers in JSON, which is held against a schema and
against these kinds:

    {"events": [{"name": "retrieved", "frame": 7, "confidence": 0.8}]}
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from softflow.data.data_spec import IMAGE_PREFIX
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.errors import ConfigError, DataError
from softflow.labelling.event_kinds import EventDeclaration, EventKinds
from softflow.labelling.pictures import jpeg
from softflow.labelling.proposals import ProposedEvent
from softflow.labelling.vlm.endpoint import ChatEndpoint
from softflow.sampling.frame_cache import FrameCache
from softflow.utils.documents import misfit, parse_json

MAX_PICTURES = 96
_FENCE = "```"


@dataclass(frozen=True)
class VlmSettings:
    """Which model, and what it is shown.

    Attributes:
        url: base of an OpenAI-compatible interface, such as http://localhost:8000/v1.
        model: as the server calls it.
        key_variable: environment variable that holds the key; nothing else may.
        frames: moments of the episode.
        cameras: names, comma between them; "" for all.
        side: longest side of a picture, pixels.
        task: what the robot is to do, in a sentence, for the model.
        timeout_s: seconds for one try; tries: how often to try.
        json_mode: ask the server to make the model speak JSON; false where it knows no such thing.
    """

    url: str = ""
    model: str = ""
    key_variable: str = "OPENAI_API_KEY"
    frames: int = 16
    cameras: str = ""
    side: int = 384
    task: str = ""
    timeout_s: float = 120.0
    tries: int = 3
    json_mode: bool = True

    def __post_init__(self) -> None:
        if not (self.url and self.model):
            raise ConfigError("vlm needs a server and a model: --set url=http://… model=NAME")
        if not (2 <= self.frames <= MAX_PICTURES and 16 <= self.side <= 4096):
            raise ConfigError(
                f"vlm: frames is {self.frames} (2 to {MAX_PICTURES}), side {self.side} (16 to 4096)"
            )
        if not (0 < self.timeout_s < math.inf and 1 <= self.tries <= 10):
            raise ConfigError(
                f"vlm: timeout_s is {self.timeout_s}, give seconds; tries {self.tries}, 1 to 10"
            )


class VlmProposer:
    """A vision-language model as a proposer.

    Args:
        settings: which model, and what it is shown.
        kinds: the events that the data set declares.
        endpoint: by default the one that the settings name.

    Raises:
        ConfigError: the settings name no usable server.
    """

    note = "a vision-language model: how often it is right, nobody has measured"

    def __init__(
        self, settings: VlmSettings, kinds: EventKinds, endpoint: ChatEndpoint | None = None
    ) -> None:
        self._settings, self._kinds = settings, kinds
        self._endpoint = endpoint or ChatEndpoint(
            settings.url,
            settings.model,
            settings.key_variable,
            timeout_s=settings.timeout_s,
            tries=settings.tries,
        )
        self.name = f"vlm:{settings.model}"
        told = f"{asdict(settings)} {kinds} {_ANSWER}"
        self.version = hashlib.sha256(told.encode()).hexdigest()[:12]

    def propose(self, store: EpisodeStore, index: int) -> Iterable[ProposedEvent]:
        """What the model sees happen.

        Raises:
            ConfigError: the data has no cameras, or not those named.
            EndpointError: the server does not answer, or never says anything that can be meant.
        """
        cameras = _cameras(store, self._settings)
        length = store.summary(index, labelled=False).length
        shown = np.unique(np.linspace(0, length, self._settings.frames).round().astype(int))
        content = self._question(store, index, cameras, shown)
        mode = {"response_format": {"type": "json_object"}} if self._settings.json_mode else {}
        return self._endpoint.ask(
            content, lambda text: understood(text, shown.tolist(), self._kinds), mode
        )

    def _question(
        self, store: EpisodeStore, index: int, cameras: Sequence[str], shown: np.ndarray
    ) -> list[dict[str, Any]]:
        """Text, then the pictures, each behind the number of its frame."""
        frames = FrameCache(store, 1).frames(cameras, np.full(len(shown), index), shown)
        content = [_text(question(self._settings.task, self._kinds, len(shown)))]
        for number, step in enumerate(shown):
            for camera in cameras:
                time_s, name = step / store.spec.control_hz, camera.removeprefix(IMAGE_PREFIX)
                content.append(_text(f"frame {number}, {time_s:.1f} s, camera {name}"))
                picture = jpeg(frames[camera][number], self._settings.side)
                address = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
                content.append({"type": "image_url", "image_url": {"url": address}})
        return content


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _cameras(store: EpisodeStore, settings: VlmSettings) -> list[str]:
    there = store.spec.image_keys
    if not there:
        raise ConfigError(f"'{store.path}' has no cameras, and a vision-language model only looks")
    named = [name.strip() for name in settings.cameras.split(",") if name.strip()]
    keys = [f"{IMAGE_PREFIX}{name.removeprefix(IMAGE_PREFIX)}" for name in named] or list(there)
    if strange := [key for key in keys if key not in there]:
        known = ", ".join(key.removeprefix(IMAGE_PREFIX) for key in there)
        raise ConfigError(f"'{store.path}' has no camera '{strange[0]}'; it has {known}")
    if len(keys) * settings.frames > MAX_PICTURES:
        raise ConfigError(
            f"{len(keys)} cameras in {settings.frames} frames are {len(keys) * settings.frames} "
            f"pictures, at most {MAX_PICTURES}; name fewer cameras= or lower frames="
        )
    return keys


_ANSWER = """\
Answer with JSON alone, in this form, the frame being the first that shows the event:
{"events": [{"name": "NAME OF THE EVENT", "frame": NUMBER, "confidence": 0.0 TO 1.0}]}
If none of these events happened, answer {"events": []}."""


def question(task: str, kinds: EventKinds, num_frames: int) -> str:
    """What the model is asked."""
    lines = [
        f"These are {num_frames} frames of one recording of a robot, in order, numbered from 0 to "
        f"{num_frames - 1}.",
        *([f"The robot is to do this: {task}"] if task else []),
        "Say which of these events happened, and in which frame each is first seen:",
        *map(_described, kinds.kinds),
        _ANSWER,
    ]
    return "\n".join(lines)


def _described(kind: EventDeclaration) -> str:
    often = (
        "ends the episode" if kind.ends else "may happen several times" if kind.repeats else "once"
    )
    return f"- {kind.name}: {kind.help or kind.name.replace('_', ' ')} ({often})"


class _Seen(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(max_length=100)]
    frame: Annotated[int, msgspec.Meta(ge=0)]
    confidence: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    events: Annotated[list[_Seen], msgspec.Meta(max_length=100)]


def understood(text: str, shown: Sequence[int], kinds: EventKinds) -> list[ProposedEvent]:
    """The events in a model's answer.

    Args:
        text: JSON; a fence of Markdown around it, and thoughts before it, are taken off.
        shown: the observation that each numbered frame was.
        kinds: the declared events.

    Raises:
        DataError: it is anything else; says what.
    """
    value: Any = None
    try:
        value = parse_json(_bare(text).encode())
        answer = msgspec.convert(value, _Answer)
    except msgspec.ValidationError as error:
        raise DataError(f"the model's answer does not fit: {misfit(error, value)}") from error
    except (ValueError, OverflowError) as error:
        raise DataError(f"the model's answer is no JSON ({error}): {text!r:.120}") from error
    found: list[ProposedEvent] = []
    for one in answer.events:
        if one.frame >= len(shown):
            raise DataError(f"the model names frame {one.frame} of {len(shown)}")
        step = max(shown[one.frame] - 1, 0)
        found.append(ProposedEvent(kinds.named(one.name).at(step), one.confidence))
    kinds.require_fit(Label("the model", tuple(one.event for one in found)))
    return found


def _bare(text: str) -> str:
    """The answer without what models put around it."""
    text = text.rpartition("</think>")[2].strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE) and len(text) > 2 * len(_FENCE):
        text = text[len(_FENCE) : -len(_FENCE)].removeprefix("json")
    return text
