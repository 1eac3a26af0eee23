"""What `softflow label` does. No torch in here: people label beside the robot, too."""

from __future__ import annotations

import contextlib
import sys
import webbrowser
from pathlib import Path

from softflow.cli.label_options import LabelPage
from softflow.cli.option_types import parsed
from softflow.errors import ConfigError, StoreError
from softflow.labelling.event_kinds import (
    FILE_NAME,
    READY_MADE,
    EventKinds,
    read_event_kinds,
    read_kinds_file,
    write_event_kinds,
)
from softflow.labelling.server.access import Access
from softflow.labelling.server.app import make_app
from softflow.labelling.server.episode_rows import EpisodeRows
from softflow.labelling.server.exchange_episodes import ExchangeEpisodes
from softflow.labelling.server.frames import FrameBlocks
from softflow.labelling.server.operator_state import Operator
from softflow.labelling.server.routes import Place, Served
from softflow.labelling.server.running import PageServer, listening
from softflow.labelling.server.store_episodes import StoreEpisodes
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.policy_server import is_loopback, require_token
from softflow.robot.token_file import read_token
from softflow.utils.console import say
from softflow.utils.files import is_there


def run(words: list[str]) -> None:
    """Parse the words after `softflow label` and serve the page."""
    label(parsed(LabelPage, "softflow label", words))


def label(options: LabelPage) -> None:
    """Serve the page until Ctrl-C; raises as `prepared`."""
    server = prepared(options)
    with contextlib.suppress(KeyboardInterrupt):
        server.answer(lambda: _tell(options, server.port))
    say("\nclosed; every label that was saved is on the disk")


def prepared(options: LabelPage) -> PageServer:
    """The page's server, which listens already.

    Raises:
        ConfigError: an option cannot be used.
        StoreError: there is no such store or exchange.
    """
    token = read_token(options.token_file) if options.token_file else ""
    require_token(options.host, token)
    kinds = _kinds(options)
    places: dict[str, Place] = {}
    operator = None
    if options.dataset is not None:
        _require_store(options.dataset)
        places["store"] = _store(options.dataset, kinds, options.render)
    if options.exchange is not None:
        folder = ExchangeFolder(options.exchange)
        places["exchange"] = Place.recorded(ExchangeEpisodes(folder, kinds))
        operator = Operator(folder)
    listener = listening(options.host, options.port)
    access = Access(listener.getsockname()[1], token)
    served = Served(places, access, options.annotator, operator)
    return PageServer(make_app(served), listener, served.close)


def _store(path: Path, kinds: EventKinds, render: bool) -> Place:
    """A data set, seen by the cameras that recorded it or by those of its environment."""
    episodes = StoreEpisodes(path, kinds)
    if not render:
        return Place.recorded(episodes)
    from softflow.labelling.server.rendered_frames import RenderedFrames  # needs a simulator

    frames = RenderedFrames(path)
    return Place(EpisodeRows(episodes), FrameBlocks(frames), frames.cameras)


def _tell(options: LabelPage, port: int) -> None:
    name = "localhost" if options.host == "127.0.0.1" else options.host
    address = f"http://{f'[{name}]' if ':' in name else name}:{port}/"
    say(f"label in the browser: {address} (Ctrl-C ends)")
    if options.exchange is not None:
        say(f"the operator's page: {address}operator")
    if not options.no_open and is_loopback(options.host) and sys.stdin.isatty():
        webbrowser.open(address)


def _kinds(options: LabelPage) -> EventKinds:
    """What may happen, as it is declared beside the episodes; `--events` declares it."""
    folder = options.dataset or options.exchange
    assert folder is not None  # the options say so
    if not options.events:
        return read_event_kinds(folder)
    kinds = _named(options.events)
    if is_there(folder / FILE_NAME):
        if read_event_kinds(folder) != kinds:
            raise ConfigError(
                f"'{folder / FILE_NAME}' declares other events than --events {options.events}; "
                "leave the option out, or remove that file"
            )
        return kinds
    if options.dataset is not None:
        _require_store(options.dataset)
        try:
            write_event_kinds(folder, kinds)
        except StoreError as error:
            say(f"careful: give --events again next time: {error}")
    return kinds


def _named(events: str) -> EventKinds:
    if events in READY_MADE:
        return READY_MADE[events]
    if not events.endswith(".toml"):
        raise ConfigError(
            f"--events is {events!r}; give {', '.join(READY_MADE)}, or a TOML file "
            "(docs/labelling.md)"
        )
    return read_kinds_file(Path(events))


def _require_store(path: Path) -> None:
    """Raise unless there is a store; data of others is to be imported first.

    Raises:
        StoreError: says what the folder looks like, and what to do.
    """
    if is_there(path / "store.json"):
        return
    hint = "softflow data import --help says what can be imported"
    with contextlib.suppress(ImportError):  # names HDF5 files, which not everybody has
        from softflow.formats.recognising import advice

        hint = advice(path, "") or hint
    raise StoreError(f"'{path}' holds no episode store; {hint}")
