"""The options of learn and exchange: the docstrings are the text of --help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from softflow.cli.words import InPath

FolderPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
"""The exchange of a learner and its robots."""


@dataclass(frozen=True)
class Learn:
    """Go on with a run on episodes that robots send through a shared folder.

    Begin the run with `softflow train … --stages imitation` (or more stages). Stopped at any
    moment, the same command goes on; the robots do not notice.
    """

    run: InPath
    """The run folder."""
    exchange: Path
    """The folder that learner and robots share: local, rsync, sshfs, NFS. See docs/exchange.md."""
    continuous: bool = False
    """Learn from all that is there while robots go on; else in rounds, for which robots wait."""
    review: bool = False
    """Every episode waits for a person: softflow exchange accept | discard | label."""
    dataset: Path | None = None
    """The offline episodes, if they are no longer where the run found them."""
    env_id: str = ""
    """Measure the policy in this simulator, the one that the data names; by default nowhere."""
    device: str = ""
    """Torch device of the learner; by default the run's."""
    policy: str = ""
    """The run's policy, if it is one of your own (package.module:Class): it runs code, so it is
    imported only if you name it here."""
    critic: str = ""
    """Its critic, in the same way."""
    encoder: str = ""
    """Its encoder, in the same way."""
    image: str = ""
    """The image backbone of that encoder, in the same way."""


@dataclass(frozen=True)
class Show:
    """What an exchange holds, and what the learner waits for."""

    folder: FolderPath
    """The exchange."""


@dataclass(frozen=True)
class Start:
    """Let robots go on that were told to stop."""

    folder: FolderPath
    """The exchange."""
    author: str
    """Who says so."""


@dataclass(frozen=True)
class Stop:
    """Let all robots stand still until somebody gives start.

    It is as fast as the folder is: an emergency stop is a switch.
    """

    folder: FolderPath
    """The exchange."""
    author: str
    """Who says so."""


@dataclass(frozen=True)
class Discard:
    """Do not learn from an episode; accept and label take it back while it is not learned from."""

    folder: FolderPath
    """The exchange."""
    episode: Annotated[str, tyro.conf.Positional]
    """Its name, as `show` and its file have it, or the beginning of it: arm-000012."""
    author: str
    """Who says so."""


@dataclass(frozen=True)
class Accept:
    """Learn from an episode as it was recorded."""

    folder: FolderPath
    """The exchange."""
    episode: Annotated[str, tyro.conf.Positional]
    """Its name, as `show` and its file have it, or the beginning of it: arm-000012."""
    author: str
    """Who says so."""


@dataclass(frozen=True)
class Label:
    """Say what happened in an episode; then it is learned from as the label has it.

    Without any event it ends as it was recorded, and counts as no success.
    """

    folder: FolderPath
    """The exchange."""
    episode: Annotated[str, tyro.conf.Positional]
    """Its name, as `show` and its file have it, or the beginning of it: arm-000012."""
    author: str
    """Who says so."""
    success: int | None = None
    """Control step, from 0, whose action reached the goal; the episode ends there, with reward
    1."""
    failure: int | None = None
    """Control step of a failure that ends the episode; reward 0."""
    reward: tuple[str, ...] = ()
    """Rewards on the way: STEP=NUMBER, such as 40=0.5."""
