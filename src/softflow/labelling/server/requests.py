"""What a page may send, and how answers and refusals are written."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Request
from fastapi.responses import Response

from softflow.data.labels import Event, Label
from softflow.errors import DataError, StoreError
from softflow.labelling.agreement import RESOLUTION, resolution
from softflow.labelling.server.episodes import Action
from softflow.labelling.server.operator_state import RobotAction
from softflow.utils.documents import misfit, parse_json

Document = TypeVar("Document")
MAX_EVENTS = 1000
MAX_NAME_LETTERS = 100
Author = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LETTERS)]


class SaidLabel(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody says happened in an episode.

    Attributes:
        annotator: who.
        digest: of the recording that was looked at.
        events: what happened.
        resolves: whether it settles what others said.
        withdrawn: whether it takes all labels back.
    """

    annotator: Author
    digest: Annotated[str, msgspec.Meta(max_length=100)]
    events: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MAX_EVENTS)] = []
    resolves: bool = False
    withdrawn: bool = False

    def label(self) -> Label:
        """As it will be written.

        Raises:
            DataError: the name or the events cannot be used.
        """
        name = require_author(self.annotator)
        if name.startswith(RESOLUTION):
            raise DataError(f"no annotator is called '{RESOLUTION}…'; resolve a disagreement")
        try:
            events = tuple(msgspec.convert(event, Event) for event in self.events)
        except (msgspec.ValidationError, OverflowError) as error:
            raise DataError(f"the label's events: {misfit(error, self.events)}") from error
        if self.resolves:
            return resolution(name, events)
        return Label(name, events, withdrawn=self.withdrawn)


class SaidAction(msgspec.Struct, forbid_unknown_fields=True):
    """What an operator says of an episode."""

    author: Author
    action: Action


class SaidToRobots(msgspec.Struct, forbid_unknown_fields=True):
    """What an operator says to all robots."""

    author: Author
    action: RobotAction


class SaidToken(msgspec.Struct, forbid_unknown_fields=True):
    """What somebody typed as the token."""

    token: Annotated[str, msgspec.Meta(max_length=4096)]


def require_author(name: str) -> str:
    """A name without blanks around it.

    Raises:
        DataError: nothing is left, or it holds what cannot be shown.
    """
    name = name.strip()
    if not name or not name.isprintable():
        raise DataError(f"the name {name!r:.120} cannot be used; give one of printable letters")
    return name


async def body_of(request: Request) -> bytes:
    """The body; its length was looked at before."""
    return await request.body()


def read_as(body: bytes, kind: type[Document]) -> Document:
    """A body as `kind`.

    Raises:
        DataError: it is no JSON, or another document.
    """
    try:
        value = parse_json(body)
    except ValueError as error:
        raise DataError(f"the request is no JSON: {error}") from error
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError) as error:
        raise DataError(misfit(error, value)) from error


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def problem(error: Exception) -> Response:
    """What was wrong: 422 with what the page sent, 503 with the disk."""
    return answer({"error": str(error)}, 503 if isinstance(error, StoreError) else 422)
