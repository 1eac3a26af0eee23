"""Options of `softflow label`: the docstrings are the text of --help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from softflow.errors import ConfigError


@dataclass(frozen=True)
class LabelPage:
    """Say what happened in recorded episodes, in a browser: rewards, successes, failures.

    It prints an address and serves it until Ctrl-C. Every label is a file of its own beside the
    episodes: several people may label at once, while a recorder appends. What is marked and not
    saved yet waits in the browser.

      softflow label data/mine                       success, failure, rewards
      softflow label data/tape --events scissors     the paper's: retrieved, cut, dropped
      softflow label data/tape --exchange /mnt/exchange
                                                     the operator's page of robot rounds beside it

    One page on keys, kinds of events and several annotators: docs/labelling.md.
    """

    dataset: Annotated[Path | None, tyro.conf.Positional] = None
    """Episode store; may be left out with --exchange."""
    exchange: Path | None = None
    """Folder that a learner and robots share: live state, start and stop, and the label of every
    episode that ends."""
    events: str = ""
    """What may happen: success, scissors, cube, or a TOML file. It is written beside the episodes
    and need not be given again."""
    render: bool = False
    """Show data without cameras again in its simulator, from seeds and actions."""
    annotator: str = ""
    """Name that the page suggests; people can change it there."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own needs --token-file."""
    port: int = 8770
    """Port to listen on; 0 takes a free one."""
    token_file: Path | None = None
    """File with the token that people must know; only its owner may read it (chmod 600). It
    travels as it is: beyond one machine put TLS in front, or use a tunnel (ssh -L)."""
    no_open: bool = False
    """Do not open a browser."""

    def __post_init__(self) -> None:
        if self.dataset is None and self.exchange is None:
            raise ConfigError("name a data set, or an exchange: softflow label data/mine")
        if self.render and self.dataset is None:
            raise ConfigError("--render shows a data set again; name one")
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"--port is {self.port}; it must lie in [0, {2**16})")
