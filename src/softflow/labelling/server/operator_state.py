"""What an operator sees of robot rounds: who acts, what is waited for, whether robots move."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from softflow.errors import StoreError
from softflow.labelling.server.exchange_episodes import ExchangeEpisodes
from softflow.robot.exchange.episode_names import parse_key
from softflow.robot.exchange.order import Order, read_order

RobotAction = Literal["start", "stop"]


class Operator:
    """The live state of an exchange, and the two commands that all robots follow.

    Args:
        episodes: of the exchange.
    """

    def __init__(self, episodes: ExchangeEpisodes) -> None:
        self._episodes = episodes

    def state(self) -> dict[str, Any]:
        """What stands now; `problem` says why less is known than usual."""
        try:
            self._episodes.look()
            order = read_order(self._episodes.folder)
            problem = ""
        except StoreError as error:
            order, problem = None, str(error)
        names = list(filter(None, map(parse_key, self._episodes.names())))
        stop = self._episodes.commands.stopped()
        return {
            "run": self._episodes.folder.identity().run[:8] if not problem else "",
            "robots": Counter(name.robot for name in names),
            "stopped_by": stop.author if stop else "",
            "order": _told(order, len(names)),
            "problem": problem,
        }

    def tell(self, action: RobotAction, author: str) -> None:
        """Start or stop all robots; raises StoreError if the exchange is away or full."""
        self._episodes.commands.give(action, author)


def _told(order: Order | None, num_there: int) -> dict[str, Any] | None:
    if order is None:
        return None
    return {
        "policy": order.policy,
        "wanted": order.wanted,
        "taken": order.taken,
        "lost": order.lost,
        "waiting": order.waiting,
        "refused": order.refused,
        "wants_more": order.wants_more(num_there),
    }
