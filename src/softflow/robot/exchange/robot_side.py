"""All that a robot does with an exchange, in calls that never stop it.

Between two episodes: `newer_policy`, `send`, `next`. Whatever is wrong with the folder is told
once, and the robot goes on with what it has. A call takes as long as the folder does, so it is
nothing for the control loop: during an episode a `StopListener` listens.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError
from softflow.robot.exchange.commands import CommandFolder
from softflow.robot.exchange.episode_names import parse_file_name
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.order import read_order
from softflow.robot.exchange.outbox import EpisodeOutbox
from softflow.robot.exchange.outside_files import names_in
from softflow.robot.exchange.policy_receiving import PolicyReceiver, ReceivedPolicy
from softflow.robot.exchange.told_once import ToldOnce


class Next(Enum):
    """What a robot does between two episodes."""

    EPISODE = "episode"
    WAIT = "wait"
    STOP = "stop"


class RobotSide:
    """A robot's view of the folder that it shares with a learner.

    Args:
        path: the exchange; it may be away.
        store: the robot's own episodes, on its own disk.
        robot: name of the robot, which no other in the exchange has.
        chunk: lengths of a decision that the robot is set up for; None takes any.
        say: where faults are told.

    Raises:
        ConfigError: the name is none.
    """

    def __init__(
        self,
        path: Path,
        store: EpisodeStore,
        robot: str,
        chunk: ChunkSpec | None,
        say: Callable[[str], None],
    ) -> None:
        self._folder, self._store = ExchangeFolder(path), store
        spec: DataSpec = store.spec
        copies = store.path.parent / f"{store.path.name}_policies"
        self._told = ToldOnce(say)
        self._outbox = EpisodeOutbox(self._folder, robot, spec, say)
        self._policies = PolicyReceiver(self._folder, copies, spec, chunk, say)
        self._commands = CommandFolder(self._folder.commands, say)

    @property
    def policy(self) -> ReceivedPolicy | None:
        """The policy taken last, on the robot's own disk; None before the first."""
        return self._policies.current

    def newer_policy(self) -> ReceivedPolicy | None:
        """A newer policy, copied and checked; None if the present one stays."""
        return self._policies.newer()

    def reject_policy(self, why: str) -> ReceivedPolicy | None:
        """The policy taken last cannot act: the one before it, which stays until a newer comes."""
        return self._policies.reject(why)

    def send(self) -> int:
        """Send what the exchange has not; gives how many episodes are still to be sent."""
        return self._outbox.send(self._store)

    def stopped(self) -> str:
        """Who told robots to stop, if that stands; "" if they may move."""
        command = self._commands.stopped()
        return "" if command is None else f"{command.author} ({command.id[:8]})"

    def next(self) -> Next:
        """What to do now: play an episode, wait for the learner, or stand still.

        Without an order that can be read the robot goes on: the learner may be away for hours.
        """
        if self._commands.stopped():
            return Next.STOP
        try:
            order = read_order(self._folder)
            there = sum(1 for name in names_in(self._folder.episodes) if parse_file_name(name))
        except StoreError as error:
            self._told("order", f"{error}; going on without an order")
            return Next.EPISODE
        self._told.over("order")
        if order is None or order.wants_more(there):
            return Next.EPISODE
        return Next.WAIT
