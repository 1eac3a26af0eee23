"""The options of learn, serve and exchange: the docstrings are the text of --help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from softflow.cli.words import InPath
from softflow.errors import ConfigError

FolderPath = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
"""The exchange of a learner and its robots."""


@dataclass(frozen=True)
class Learn:
    """Go on with a run on episodes that robots send through a shared folder.

    Begin the run with `softflow train … --stages imitation` (or more stages). Stopped at any
    moment, the same command goes on; the robots do not notice.

    Where the run explores (--online-rl.collection-std, --online-rl.exploration-std when it begins),
    give `softflow robot` --explore (docs/robot.md).
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
class Serve:
    """Answer robots on other machines with the decisions of a policy, until Ctrl-C.

    Robots ask through softflow.robot.policy_client, which needs no PyTorch.
    """

    checkpoint: InPath
    """Checkpoint folder, for example RUN/checkpoints/last; or a run, for its newest one."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own needs --token-file."""
    port: int = 8765
    """Port to listen on; 0 takes a free one."""
    token_file: Path | None = None
    """File with the token that robots must know; only its owner may read it (chmod 600). It
    travels as it is: in a network that is not yours, use a tunnel (ssh -L)."""
    seed: int = 0
    """Of what is random in decisions."""
    device: str = "cpu"
    """Torch device of the networks."""
    policy: str = ""
    """The checkpoint's policy, if it is one of your own (package.module:Class): it runs code, so it
    is imported only if you name it here."""
    critic: str = ""
    """Its critic, in the same way."""
    encoder: str = ""
    """Its encoder, in the same way."""
    image: str = ""
    """The image backbone of that encoder, in the same way."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"--port is {self.port}; it must lie in [0, {2**16})")


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
