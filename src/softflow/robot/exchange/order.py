"""What the learner asks of the robots: order.json, replaced whole whenever it changes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from softflow.robot.exchange.folder import FORMAT_VERSION, ExchangeFolder, read_document
from softflow.utils.documents import checked
from softflow.utils.files import is_there
from softflow.utils.sealed_json import write_sealed

MAX_LISTED = 100
Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a learner waits for, and what it made of what came.

    Attributes:
        policy: name of the one that is to act.
        wanted: episodes in all, from the first round to the end of this one; None: as many as the
            robots can (continuous learning).
        taken: episodes that are learned from.
        lost: episodes that came and do not count: refused or discarded.
        waiting: keys of the first episodes that wait for a person: a label, or to be accepted.
        refused: key -> why, of the first episodes that cannot be learned from.
    """

    policy: Annotated[str, msgspec.Meta(max_length=60)]
    wanted: Count | None
    taken: Count = 0
    lost: Count = 0
    waiting: Annotated[list[str], msgspec.Meta(max_length=MAX_LISTED)] = []
    refused: Annotated[dict[str, str], msgspec.Meta(max_length=MAX_LISTED)] = {}

    def wants_more(self, num_there: int) -> bool:
        """Whether another episode is of use, with so many in the exchange or on their way."""
        return self.wanted is None or num_there < self.wanted + self.lost


def write_order(folder: ExchangeFolder, order: Order) -> None:
    """Replace the order.

    Raises:
        StoreError: the exchange is away or full; the order before it stands.
    """
    document = {"format_version": FORMAT_VERSION, **msgspec.to_builtins(order)}
    write_sealed(folder.order_file, document)


def read_order(folder: ExchangeFolder) -> Order | None:
    """The order that stands; None before the first one.

    Raises:
        StoreError: it is damaged, of a newer softflow, or the exchange is away.
    """
    path = folder.order_file
    if not is_there(path):
        return None
    return checked(read_document(path), Order, f"'{path}'", "wait for the next one")
