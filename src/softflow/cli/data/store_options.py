"""The options of the `softflow data` commands: frozen dataclasses, whose docstrings are --help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from softflow.cli.frame_options import FrameOptions
from softflow.cli.option_types import require_image_size
from softflow.cli.words import OutPath, StorePath
from softflow.curation.rate_limits import USUAL_SIGMAS
from softflow.errors import ConfigError


@dataclass(frozen=True)
class Inspect:
    """Show what an episode store holds: keys, episodes, hours, success, size."""

    store: StorePath
    """The episode store."""
    episodes: bool = False
    """One line per episode as well."""
    episode: int | None = None
    """Everything known of this episode, with its labels and metadata."""


@dataclass(frozen=True)
class Validate:
    """List every problem of a store, with its episode, step and key; exit status 1 on errors.

    Errors make an episode unfit for training; warnings are worth a look.
    """

    store: StorePath
    """The episode store; it is only read."""
    max_rate: tuple[str, ...] = ()
    """Fastest change allowed, units per second: KEY=NUMBER or KEY[COMPONENT]=NUMBER, such as
    observation.state[3]=1.5 or action=20. Faster is an error."""
    usual_sigmas: float = USUAL_SIGMAS
    """Where no --max-rate is given, a state that changes faster than this many robust standard
    deviations of its changes, and than 4 times their 99.5 % quantile, is a warning; 0: never."""
    frozen_s: float = 1.0
    """A camera may show the same frame for this many seconds while the state moves."""
    idle_s: float = 2.0
    """All actions may be zero for this many seconds."""
    min_length: int = 10
    """Episodes with fewer control steps are a warning."""
    ignore: tuple[str, ...] = ()
    """Checks to leave out, by the name in brackets behind a problem."""
    strict: bool = False
    """Warnings count as errors for the exit status."""
    show: int = 100
    """Lines to print; what episodes share is one line. --json has every problem by itself."""
    json: Path | None = None
    """File to write all problems to."""

    def __post_init__(self) -> None:
        if not self.usual_sigmas >= 0:
            raise ConfigError(f"--usual-sigmas is {self.usual_sigmas}; give a number, 0 for never")


@dataclass(frozen=True)
class Stats:
    """Minimum, maximum, mean, spread and quantiles of every component; lengths and success."""

    store: StorePath
    """The episode store."""
    images: bool = False
    """The colours of the cameras as well; takes longer."""
    json: Path | None = None
    """File to write the numbers to."""


@dataclass(frozen=True)
class Merge(FrameOptions):
    """Copy the episodes of several stores, with their labels, into a new one.

    Interrupted, the same command goes on. Each copy knows its origin (metadata "copied_from").
    """

    out: OutPath
    """Folder of the new store."""
    stores: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="STORE [STORE ...]")
    ]
    """Episode stores that hold the same keys at the same rate. Where the bounds of their actions
    differ, the new store has the wider ones."""


@dataclass(frozen=True)
class Filter(FrameOptions):
    """Copy the episodes that fulfil every condition, with their labels, into a new store."""

    store: StorePath
    """The episode store to choose from; it is only read."""
    out: OutPath
    """Folder of the new store."""
    success: bool = False
    """Keep the successes."""
    failure: bool = False
    """Keep those without success; what nobody labelled is neither."""
    operator: tuple[str, ...] = ()
    """Keep these operators."""
    source: tuple[str, ...] = ()
    """Keep these sources."""
    min_length: int | None = None
    """Keep episodes with at least so many control steps."""
    max_length: int | None = None
    """Keep episodes with at most so many control steps."""
    where: tuple[str, ...] = ()
    """Keep episodes with this metadata: KEY=VALUE, such as collection.seed=3."""
    drop_invalid: bool = False
    """Leave out episodes in which `softflow data validate` finds errors."""
    dry_run: bool = False
    """Only say what would be kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.success and self.failure:
            raise ConfigError("--success and --failure together keep nothing; give one of them")


@dataclass(frozen=True)
class Relabel:
    """Write labels beside the episodes, which stay as they are; without --write, only show them.

    Give a table, or conditions, or --success-at-end, --undo or --clear. A label replaces the
    rewards of its episode; success and failure end it at their step.
    """

    store: StorePath
    """The episode store; it may be in use."""
    table: Path | None = None
    """CSV or JSON with the columns episode,step,kind,value,annotator; kind is success, failure,
    reward or none. Only episode and kind are needed: a success without step is one at the end,
    none says that there was no success (a failure needs its step)."""
    success_when: str | None = None
    """End in success where this first holds, such as "observation.state[3]>0.5 and action[6]<0"."""
    failure_when: str | None = None
    """End in failure where this first holds."""
    hold_s: float = 0.0
    """A condition must hold for this many seconds before it counts."""
    reward: float = 1.0
    """Reward of the step of success."""
    success_at_end: bool = False
    """The episodes succeeded with their last step; say with --annotator who vouches for it."""
    undo: str | None = None
    """Take back what this annotator said: the label before counts again, or the recording."""
    clear: bool = False
    """Take all labels back: the recording counts again. Older labels stay readable."""
    episodes: tuple[int, ...] = ()
    """Only these episodes; by default all. A table names its own."""
    annotator: str = ""
    """Who says so; by default the condition itself, or what the table says."""
    write: bool = False
    """Write the labels."""
    show: int = 20
    """Changes to print."""


@dataclass(frozen=True)
class Bounds:
    """Say which actions there may be: the bounds of an environment, or numbers.

    Episodes stay as they are, and runs on this store go on where the bounds are only wider. An
    action outside is refused, with its episode, step and component; so is an environment that
    gives other observations than the data hold, or steps at another rate. Networks do not notice:
    what they are told is the range of the data.
    """

    store: StorePath
    """The episode store."""
    env_id: str = ""
    """Environment whose bounds to take; a store that names no environment then names this one."""
    replace_env: bool = False
    """Let a store that names another environment name this one: the other was a mistake, or was
    renamed. Runs on this store go on in it."""
    action_low: tuple[float, ...] = ()
    """Lowest value of the actions, one for all components or one each."""
    action_high: tuple[float, ...] = ()
    """Highest value, in the same way."""


@dataclass(frozen=True)
class Plot:
    """Write a self-contained page of plots: actions, coverage, cameras, lengths, rewards."""

    store: StorePath
    """The episode store."""
    out: Path | None = None
    """The page; by default STORE.html beside the store."""
    lags: int = 20
    """Control steps over which to compare actions with later ones."""
    preset: str = ""
    """Show what this preset's networks see of the cameras too, such as small-image."""
    shift: int = 0
    """As --data.augmentation.shift: pixels by which training frames are moved at most."""
    colour_jitter: float = 0.0
    """As --data.augmentation.colour-jitter."""


@dataclass(frozen=True)
class Render(FrameOptions):
    """See recorded simulator states again, with cameras: pictures for state-only recordings.

    A RoboMimic or robosuite file is gone through state by state; an episode that softflow recorded
    in simulation is played again from its seed and actions. What was recorded of the state must
    come again. Interrupted, the same command goes on.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """HDF5 file with simulator states, or an episode store; it is not changed."""
    out: OutPath
    """Folder of the new store."""
    env_id: str = ""
    """The environment that was recorded, such as lift; a store names its own."""
    size: tuple[int, int] | None = None
    """Height and width of the cameras' pictures, such as 84 84; without it the state alone is
    computed anew."""
    tolerance: float = 0.002
    """How far a recorded observation may be from the one seen now (m; components of quaternions).
    """
    filter_key: str | None = None
    """Demonstrations of this `mask` of an HDF5 file only."""
    whole: bool = False
    """Keep the steps of an HDF5 file's demonstrations behind the first success."""
    skip_bad: bool = False
    """Leave unusable episodes out, and say why, instead of stopping at the first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_image_size(self.size)
        if not self.tolerance > 0:
            raise ConfigError(f"--tolerance is {self.tolerance}; give a number above 0")
