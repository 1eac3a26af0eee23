"""What an operator sees of robot rounds: who acts, what is waited for, whether robots move."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from typing import Any, Literal

from softflow.errors import StoreError
from softflow.robot.exchange.commands import CommandFolder
from softflow.robot.exchange.episode_names import parse_file_name
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.order import Order, read_order
from softflow.robot.exchange.outside_files import names_in
from softflow.utils.console import say

RobotAction = Literal["start", "stop"]


class Operator:
    """The live state of an exchange, and the two commands that all robots follow.

    It looks at the folder by itself: a stop does not wait until the list of episodes is done.

    Args:
        folder: the exchange.
    """

    def __init__(self, folder: ExchangeFolder) -> None:
        self._folder = folder
        self._commands, self._lock = CommandFolder(folder.commands, say), Lock()

    def state(self) -> dict[str, Any]:
        """What stands now; `problem` says why less is known than usual."""
        order, run, problem = None, "", ""
        robots: Counter[str] = Counter()
        try:
            there = filter(None, map(parse_file_name, names_in(self._folder.episodes)))
            robots = Counter(name.robot for name in there)
            order, run = read_order(self._folder), self._folder.identity().run[:8]
        except StoreError as error:
            problem = str(error)
        with self._lock:
            stop = self._commands.stopped()
        return {
            "run": run,
            "robots": robots,
            "stopped_by": stop.author if stop else "",
            "order": _told(order, robots.total()),
            "problem": problem,
        }

    def tell(self, action: RobotAction, author: str) -> None:
        """Start or stop all robots; raises StoreError if the exchange is away or full."""
        with self._lock:
            self._commands.give(action, author)


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
