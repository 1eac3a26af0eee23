"""What `softflow exchange` does: to look into a shared folder, and to tell learner and robots."""

from __future__ import annotations

from collections import Counter
from typing import Any

from softflow.cli import exchange_options as options
from softflow.cli.option_types import parsed
from softflow.cli.words import asks_for_help, first_line, overview, require_command
from softflow.data.labels import Event
from softflow.data.labels import Label as EpisodeLabel
from softflow.errors import ConfigError, DataError
from softflow.robot.exchange.commands import CommandFolder, CommandKind
from softflow.robot.exchange.episode_names import parse_file_name, parse_key
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.order import read_order
from softflow.robot.exchange.outside_files import names_in
from softflow.robot.exchange.policy_manifest import progress_of
from softflow.utils.console import say

PROG = "softflow exchange"
COMMANDS: dict[str, type] = {
    "show": options.Show,
    "stop": options.Stop,
    "start": options.Start,
    "discard": options.Discard,
    "accept": options.Accept,
    "label": options.Label,
}


def run(words: list[str]) -> int:
    """Parse the words after `softflow exchange` and do what they say; the exit status."""
    if asks_for_help(words):
        say(overview(PROG, "the folder of a learner and its robots", _lines()))
        return 0
    name = words[0]
    require_command(name, COMMANDS, "exchange ")
    given = parsed(COMMANDS[name], f"{PROG} {name}", words[1:])
    if name == "show":
        show(given)
    else:
        give(name, given)
    return 0


def _lines() -> dict[str, str]:
    return {name: first_line(kind) for name, kind in COMMANDS.items()}


def show(given: options.Show) -> None:
    """Print what is there."""
    folder = ExchangeFolder(given.folder)
    identity = folder.identity()
    names = list(filter(None, map(parse_file_name, names_in(folder.episodes))))
    policies = sorted(filter(progress_of, names_in(folder.policies)), key=_progress)
    commands = CommandFolder(folder.commands, say)
    say(f"exchange of run {identity.run[:8]}: {identity.spec.action_dim} actions, {identity.chunk}")
    say(f"policies: {', '.join(policies) or 'none yet'}")
    robots = Counter(name.robot for name in names)
    say(f"episodes: {', '.join(f'{n} of {robot}' for robot, n in robots.items()) or 'none yet'}")
    order = read_order(folder)
    if order is not None:
        wanted = "as many as come" if order.wanted is None else f"{order.wanted} in all"
        say(f"the learner wants {wanted}, has {order.taken}; {order.policy} is to act")
        for key in order.waiting:
            say(f"  waits for a person: {key}")
        for key, why in order.refused.items():
            say(f"  refused: {key}: {why}")
    stop = commands.stopped()
    say(f"robots stand still: {stop.author} says so" if stop else "robots may move")


def give(name: str, given: Any) -> None:
    """Write a command.

    Raises:
        ConfigError: it makes no sense, or no such episode is there.
        StoreError: the folder is not there, or cannot be written.
    """
    folder = ExchangeFolder(given.folder)
    folder.identity()
    episode = _episode(folder, given.episode) if hasattr(given, "episode") else ""
    label = _label(given) if isinstance(given, options.Label) else None
    kind: CommandKind = name  # type: ignore[assignment] (one of COMMANDS but show)
    command = CommandFolder(folder.commands, say).give(kind, given.author, episode, label)
    say(f"{name} {episode}".rstrip() + f": command {command.number} is in '{folder.commands}'")


def _episode(folder: ExchangeFolder, begin: str) -> str:
    """The key of the one episode whose name begins so.

    Raises:
        ConfigError: there is none, or several.
    """
    if parse_key(begin) is not None:
        return begin
    names = [name.key for name in filter(None, map(parse_file_name, names_in(folder.episodes)))]
    found = [key for key in names if key.startswith(begin)] if begin else []
    if len(found) == 1:
        return found[0]
    near = f"several begin so: {', '.join(found[:3])}" if found else "none is called so"
    raise ConfigError(f"episode {begin!r}: {near}; see `softflow exchange show {folder.path}`")


def _label(given: options.Label) -> dict[str, Any]:
    """The label that the options describe.

    Raises:
        ConfigError: they contradict each other.
    """
    try:
        events = [_reward(word) for word in given.reward]
        if given.success is not None:
            events.append(Event(given.success, "success", 1.0))
        if given.failure is not None:
            events.append(Event(given.failure, "failure"))
        return EpisodeLabel(given.author, tuple(events)).to_json()
    except DataError as error:
        raise ConfigError(f"label {given.episode}: {error}") from error


def _reward(word: str) -> Event:
    step, _, value = word.partition("=")
    try:
        return Event(int(step), "reward", float(value))
    except ValueError as error:
        raise ConfigError(f'--reward "{word}" is not STEP=NUMBER, such as 40=0.5') from error


def _progress(name: str) -> tuple[int, int]:
    return progress_of(name) or (-1, -1)
