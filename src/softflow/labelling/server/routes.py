"""The routes of the page's server; every one is a few lines over `EpisodeRows`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response

from softflow.errors import DataError
from softflow.labelling.agreement import agreements
from softflow.labelling.server.access import Access
from softflow.labelling.server.episode_rows import EpisodeRows
from softflow.labelling.server.episodes import Episodes
from softflow.labelling.server.frames import MAX_STEPS, FrameBlocks
from softflow.labelling.server.operator_state import Operator
from softflow.labelling.server.requests import (
    SaidAction,
    SaidLabel,
    SaidToken,
    SaidToRobots,
    answer,
    body_of,
    read_as,
    require_author,
)
from softflow.labelling.server.signals import channels, signal_bytes

Body = Annotated[bytes, Depends(body_of)]
Step = Annotated[int, Query(ge=0, le=10**7)]
Digest = Annotated[str, Query(max_length=100)]
FOREVER = {"cache-control": "private, max-age=86400, immutable"}
"""Of what a digest names: a sealed recording never changes."""


@dataclass(frozen=True)
class Place:
    """A store or an exchange, and how it is looked at.

    Attributes:
        rows: its episodes.
        frames: pictures of its cameras.
        cameras: key -> shape of a frame; recorded ones, or those that render.
    """

    rows: EpisodeRows
    frames: FrameBlocks
    cameras: Mapping[str, tuple[int, ...]]

    @classmethod
    def recorded(cls, episodes: Episodes) -> Place:
        """With the cameras that were recorded."""
        spec = episodes.spec
        cameras = {key: spec.observation_shapes[key] for key in spec.image_keys}
        return cls(EpisodeRows(episodes), FrameBlocks(), cameras)


@dataclass(frozen=True)
class Served:
    """What a server offers.

    Attributes:
        places: "store" and "exchange", as far as there are any.
        access: who may ask.
        annotator: name that the page suggests.
        operator: of the exchange.
    """

    places: dict[str, Place]
    access: Access
    annotator: str = ""
    operator: Operator | None = None

    def place(self, name: str) -> Place:
        """One of them; raises DataError if there is none of that name."""
        if name not in self.places:
            raise DataError(f"there is no place {name!r:.30}; there is {', '.join(self.places)}")
        return self.places[name]

    def close(self) -> None:
        """Leave the episodes' files; for the end of the server."""
        for place in self.places.values():
            place.frames.close()


def api(served: Served) -> APIRouter:
    """All routes below /api."""
    router = APIRouter(prefix="/api")
    _add_session(router, served)
    _add_reading(router, served)
    _add_saying(router, served)
    if served.operator is not None:
        _add_operator(router, served.operator)
    return router


def _add_session(router: APIRouter, served: Served) -> None:
    @router.post("/login")
    def login(body: Body) -> Response:
        if not served.access.knows(read_as(body, SaidToken).token):
            return answer({"error": "this is not the token"}, 401)
        response = answer({"ok": True})
        response.set_cookie(
            served.access.cookie, served.access.token, httponly=True, samesite="strict"
        )
        return response

    @router.get("/places")
    def places() -> Response:
        return answer(
            {
                "annotator": served.annotator,
                "places": {name: _told(place) for name, place in served.places.items()},
            }
        )


def _told(place: Place) -> dict[str, Any]:
    episodes = place.rows.episodes
    spec, kinds = episodes.spec, episodes.kinds
    return {
        "id": episodes.place_id,
        "title": episodes.title,
        "control_hz": spec.control_hz,
        "env_id": spec.env_id,
        "cameras": [{"key": key, "shape": shape} for key, shape in place.cameras.items()],
        "channels": channels(spec),
        "kinds": [msgspec.to_builtins(kind) | {"kind": kind.kind} for kind in kinds.kinds],
    }


def _add_reading(router: APIRouter, served: Served) -> None:
    @router.get("/{place}/episodes")
    def rows(place: str, since: Annotated[int, Query(ge=0)] = 0) -> Response:
        return answer(served.place(place).rows.changed(since))

    @router.get("/{place}/episodes/{name}")
    def detail(place: str, name: str) -> Response:
        return answer(served.place(place).rows.detail(name))

    @router.get("/{place}/episodes/{name}/signals")
    def signals(place: str, name: str, digest: Digest) -> Response:
        content = signal_bytes(served.place(place).rows.recording(name, digest))
        return Response(content, media_type="application/octet-stream", headers=FOREVER)

    @router.get("/{place}/episodes/{name}/frames")
    def frames(
        place: str,
        name: str,
        digest: Digest,
        start: Step,
        count: Annotated[int, Query(ge=1, le=MAX_STEPS)],
    ) -> Response:
        shown = served.place(place)
        block = shown.frames.block(shown.rows.recording(name, digest), start, count)
        return Response(block, media_type="application/octet-stream", headers=FOREVER)

    @router.get("/{place}/agreement")
    def agreement(place: str) -> Response:
        return answer(_agreements(served.place(place).rows))


def _agreements(rows: EpisodeRows) -> list[dict[str, Any]]:
    names, histories = rows.histories()
    hz = rows.episodes.spec.control_hz
    return [
        msgspec.to_builtins(pair) | {"disagreements": [names[i] for i in pair.disagreements]}
        for pair in agreements(dict(enumerate(histories)), hz)
    ]


def _add_saying(router: APIRouter, served: Served) -> None:
    @router.post("/{place}/episodes/{name}/label")
    def label(place: str, name: str, body: Body) -> Response:
        said = read_as(body, SaidLabel)
        rows = served.place(place).rows
        rows.save(name, said.digest, said.label())
        return answer(rows.detail(name))

    @router.post("/{place}/episodes/{name}/act")
    def act(place: str, name: str, body: Body) -> Response:
        said = read_as(body, SaidAction)
        rows = served.place(place).rows
        rows.act(name, said.action, require_author(said.author))
        return answer({"ok": True})


def _add_operator(router: APIRouter, operator: Operator) -> None:
    @router.get("/operator")
    def state() -> Response:
        return answer(operator.state())

    @router.post("/operator")
    def tell(body: Body) -> Response:
        said = read_as(body, SaidToRobots)
        operator.tell(said.action, require_author(said.author))
        return answer(operator.state())
