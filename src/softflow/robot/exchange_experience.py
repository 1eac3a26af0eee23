"""Online episodes from robots: an `ExperienceSource` that waits for files in an exchange."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import outcome_known
from softflow.data.metadata import metadata_value
from softflow.errors import DataError, StoreError
from softflow.robot.exchange.claiming import Claim
from softflow.robot.exchange.commands import Command, CommandFolder
from softflow.robot.exchange.inbox import Arrival, EpisodeInbox
from softflow.robot.exchange.order import MAX_LISTED, Order, write_order
from softflow.robot.exchange.policy_publishing import publish
from softflow.robot.exchange.told_once import ToldOnce
from softflow.training.collecting import CollectionOrder, ExperienceSource
from softflow.training.planned_work import COLLECT
from softflow.utils.progress import ProgressReporter

POLL_S = 1.0
EPISODE_KEY = "exchange_episode"
"""Metadata of an online episode: which one of the exchange it is. So none is taken twice, also by a
learner that was killed between two of them."""


class ExchangeExperience(ExperienceSource):
    """Episodes that robots sent.

    A round begins with the publication of its policy, and ends when enough episodes have arrived.
    An episode whose outcome nobody knows waits for a label; with `review`, every one waits to be
    accepted or labelled.

    Attributes:
        continuous: rounds take all that is there, not only what was ordered, and robots go on
            while the learner learns (App. E).

    Args:
        claim: the run's hold on the exchange.
        copies: a folder of the learner's own for what has arrived and is not taken yet.
        continuous: see above.
        review: every episode waits for a person.
        say: where faults are told, each once.
        sleep: waits between two looks.
    """

    def __init__(
        self,
        claim: Claim,
        copies: Path,
        say: Callable[[str], None],
        *,
        continuous: bool = False,
        review: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.continuous = continuous
        self._claim, self._review = claim, review
        self._inbox = EpisodeInbox(claim.folder, copies, claim.identity.spec, say)
        self._commands = CommandFolder(claim.folder.commands, say)
        self._told = ToldOnce(say)
        self._sleep = sleep
        self._order: Order | None = None

    def collect(self, order: CollectionOrder, progress: ProgressReporter) -> None:
        """Publish the policy, wait for the episodes, and put them into the online store.

        A learner that is behind (continuous) finds them there, and does not wait.
        """
        taken = taken_keys(EpisodeStore.open(order.store))
        missing = order.num_episodes - len(taken)
        wanted = None if self.continuous else order.num_episodes
        earlier = order.num_episodes - order.num_episodes // (order.round_index + 1)
        total = order.num_episodes - earlier
        progress.begin(f"round {order.round_index + 1}: {COLLECT}", total, total - max(missing, 0))
        while True:
            self.publish(order.checkpoint)
            seen = self._look(taken)
            progress.advance(min(total, total - missing + len(seen.usable)), "from robots")
            if len(seen.usable) >= missing:
                break
            self._tell_robots(order.checkpoint, wanted, len(taken), seen)
            self._sleep(POLL_S)
        chosen = seen.usable if self.continuous else seen.usable[: max(missing, 0)]
        self._take(order, seen, chosen)
        self._tell_robots(order.checkpoint, wanted, len(taken) + len(chosen), seen)

    def finish(self, checkpoint: Path, store: Path) -> None:
        """The run is over: publish its last policy, and ask robots for no more episodes.

        Args:
            checkpoint: the last one.
            store: of the online episodes.
        """
        self.publish(checkpoint)
        taken = taken_keys(EpisodeStore.open(store))
        self._tell_robots(checkpoint, len(taken), len(taken), self._look(taken))

    def publish(self, checkpoint: Path) -> bool:
        """Publish a policy if it is not there; False, told once, if the exchange refuses."""
        claim = self._claim
        try:
            claim.require()
            publish(claim.folder, claim.identity, checkpoint)
        except StoreError as error:
            self._told("publish", f"policy {checkpoint.name} is not published yet: {error}")
            return False
        self._told.over("publish", f"policy {checkpoint.name} is published now")
        return True

    def _look(self, taken: list[str]) -> _Seen:
        """What is there now and not taken yet."""
        seen = _Seen(self._commands.on_episodes())
        for arrival in self._inbox.arrivals(taken):
            command = seen.commands.get(arrival.name.key)
            if command is not None and command.kind == "discard":
                seen.discarded.append(arrival)
            elif self._may_be_used(arrival, command):
                seen.usable.append(arrival)
            else:
                seen.waiting.append(arrival)
        return seen

    def _may_be_used(self, arrival: Arrival, command: Command | None) -> bool:
        """Whether people have said of an episode what must be said before it is learned from."""
        if command is not None and command.kind == "label":
            return self._fits(arrival, command)
        if self._review and command is None:
            return False
        return outcome_known(arrival.summary.metadata)

    def _fits(self, arrival: Arrival, command: Command) -> bool:
        key = arrival.name.key
        try:
            command.said_label().rewards(arrival.summary.length, key)
        except DataError as error:
            self._told(command.id, f"the label is not used, and the episode waits: {error}")
            return False
        return True

    def _take(self, order: CollectionOrder, seen: _Seen, arrivals: list[Arrival]) -> None:
        """Into the online store, each as its label has it: one file, so a kill leaves no half."""
        with EpisodeStore.open_or_create(order.store, order.spec) as store:
            for arrival in arrivals:
                key = arrival.name.key
                episode = self._inbox.episode(arrival)
                command = seen.commands.get(key)
                if command is not None and command.kind == "label":
                    episode = command.said_label().applied_to(episode, key)
                facts = {"source": "online", "round": order.round_index, EPISODE_KEY: key}
                store.append(replace(episode, metadata=episode.metadata | facts))

    def _tell_robots(
        self, checkpoint: Path, wanted: int | None, num_taken: int, seen: _Seen
    ) -> None:
        """Replace order.json, if something changed."""
        refused = self._inbox.refused
        document = Order(
            policy=checkpoint.name,
            wanted=wanted,
            taken=num_taken,
            lost=len(refused) + len(seen.discarded),
            waiting=[arrival.name.key for arrival in seen.waiting[:MAX_LISTED]],
            refused={key: refused[key][:300] for key in list(refused)[:MAX_LISTED]},
        )
        if document == self._order:
            return
        try:
            write_order(self._claim.folder, document)
            self._order = document
        except StoreError as error:
            self._told("order", f"robots do not see what is wanted: {error}")


@dataclass
class _Seen:
    """Episodes that are there and not taken yet, and what people said of any."""

    commands: dict[str, Command]
    usable: list[Arrival] = field(default_factory=list)
    waiting: list[Arrival] = field(default_factory=list)
    discarded: list[Arrival] = field(default_factory=list)


def taken_keys(store: EpisodeStore) -> list[str]:
    """Keys of the exchange's episodes that an online store holds, "" for those from elsewhere.

    Raises:
        DataError: an episode's metadata are not those of an online store.
    """
    return [_key(store, index) for index in range(len(store))]


def _key(store: EpisodeStore, index: int) -> str:
    where = f"episode {index} of '{store.path}'"
    return metadata_value(store.summary(index).metadata, EPISODE_KEY, str, "", where)
