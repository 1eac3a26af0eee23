"""The options of `softflow data import` and `export`: one dataclass a format, shown by --help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from softflow.cli.frame_options import FrameOptions
from softflow.cli.option_types import require_image_size
from softflow.cli.words import InPath, OutPath, StorePath
from softflow.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Import(FrameOptions):
    """What every import has."""

    path: InPath
    """The file or folder to read; it is not changed."""
    out: Path | None = None
    """Episode store to fill, new or existing; an interrupted import goes on. Needed to import."""
    check: bool = False
    """Import nothing; list every problem with its episode, step and key, as `softflow data
    validate` does of a store. Exit status 1 if there are errors."""
    env_id: str = ""
    """Environment of this data, such as cube-single; without one nothing can be evaluated. The
    bounds of the actions are then those of the environment."""
    action_low: tuple[float, ...] = ()
    """Lowest value of the actions, one for all components or one each; actions outside are refused.
    By default the environment's, else what the format tells, else the range of the recordings."""
    action_high: tuple[float, ...] = ()
    """Highest value of the actions, in the same way."""
    unlabelled: Literal["unknown", "success", "failure"] = "unknown"
    """What recordings that say nothing of success are taken for. Rewards that were recorded stay;
    without any, success earns 1 at the last step."""
    image_size: tuple[int, int] | None = None
    """Height and width to bring all cameras to, such as 224 224, which saves the most space. They
    stay as they are if not given."""
    episodes: str = ""
    """Only these, by their positions from 0 on: 0-9, or 0-9,20-29. All if not given."""
    skip_bad: bool = False
    """Leave unusable episodes out, and say why, instead of stopping at the first."""
    jobs: int | None = None
    """Processes that read and write episodes; with cameras one for each core if not given, else
    one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_image_size(self.image_size)
        if self.jobs is not None and self.jobs < 1:
            raise ConfigError(f"--jobs is {self.jobs}; give 1 or more")


@dataclass(frozen=True, kw_only=True)
class ImportRobomimic(Import):
    """RoboMimic or robosuite HDF5, low-dimensional or with cameras, versions 0.1 to 1.5."""

    filter_key: str | None = None
    """Demonstrations of this `mask` only, such as train or better."""
    control_hz: float | None = None
    """Control steps per second; what the file says if not given."""
    state_keys: tuple[str, ...] = ()
    """Observations that make up the state, in this order; all low-dimensional ones if not given."""
    cameras: tuple[str, ...] | None = None
    """Cameras to take, such as agentview_image; all if not given, none if nothing follows."""
    action_key: tuple[str, ...] = ("actions",)
    """Arrays that are the action, side by side, such as actions_abs."""
    whole: bool = False
    """Keep the steps behind the first success."""


@dataclass(frozen=True, kw_only=True)
class ImportLerobot(Import):
    """A LeRobot dataset on this disk, v2.0, v2.1 or v3.0."""

    cameras: tuple[str, ...] | None = None
    """Cameras to take, such as front or wrist_image; all called observation.… if not given, none if
    nothing follows."""
    action_key: tuple[str, ...] = ()
    """Features that are the action, side by side, such as actions; action if not given."""
    state_keys: tuple[str, ...] = ()
    """Features that make up the state, in this order, such as state; if not given, each
    observation.… of numbers under its own name."""
    whole: bool = False
    """Keep the steps behind the first success, and behind the first next.done."""


@dataclass(frozen=True, kw_only=True)
class ImportMinari(Import):
    """A Minari dataset: its folder, or its main_data.hdf5."""

    control_hz: float | None = None
    """Control steps per second; what is known of the environment if not given."""
    whole: bool = False
    """Keep the steps behind the first success."""


@dataclass(frozen=True, kw_only=True)
class ImportD4rl(Import):
    """A D4RL file: HDF5 with all episodes end to end."""

    control_hz: float | None = None
    """Control steps per second; what is known of the task in the file's name if not given."""
    max_episode_steps: int | None = None
    """Cut episodes after so many steps, for files that do not mark time limits."""
    whole: bool = False
    """Keep the steps behind the first success."""


@dataclass(frozen=True, kw_only=True)
class ImportAct(Import):
    """ACT's or ALOHA's HDF5 files, one an episode: their folder, or one of them."""

    control_hz: float | None = None
    """Steps per second, which the files do not say; ALOHA records 50."""
    action_key: tuple[str, ...] = ("action",)
    """Arrays that are the action, side by side, such as action base_action."""
    state_keys: tuple[str, ...] = ()
    """Observations that make up the state, in this order, such as qpos; all vectors if not
    given."""
    cameras: tuple[str, ...] | None = None
    """Cameras to take, such as cam_high; all if not given, none if nothing follows."""
    swap_red_blue: bool = False
    """Put encoded pictures right whose red and blue were exchanged."""


@dataclass(frozen=True, kw_only=True)
class ImportUmi(Import):
    """A replay buffer of UMI or Diffusion Policy: Zarr, a folder or a .zarr.zip."""

    control_hz: float | None = None
    """Rows per second, which the file does not say; UMI records 60, PushT 10."""
    action_key: tuple[str, ...] = ()
    """Arrays that are the action, side by side; action if not given or, without such an array, the
    next row's poses and gripper widths."""
    state_keys: tuple[str, ...] = ()
    """Arrays that make up the state, in this order; all vectors if not given."""
    cameras: tuple[str, ...] | None = None
    """Cameras to take, such as camera0_rgb; all if not given, none if nothing follows."""


@dataclass(frozen=True, kw_only=True)
class ImportRosbag(Import):
    """rosbag2 recordings, MCAP or SQLite: a bag, or a folder of bags."""

    mapping: Path | None = None
    """YAML file that maps topics to keys: docs/rosbag_mapping.md. Needed to import."""
    report: bool = False
    """Import nothing; print rates, gaps, lost messages and clock skew of every bag. Without
    --mapping, all topics with their types, rates, joints and sizes of images."""
    write_mapping: Path | None = None
    """Import nothing; write a mapping to start from, with every topic of the first bag."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.report and self.check:
            raise ConfigError("--report and --check each look at the bags; give one of them")


@dataclass(frozen=True)
class ExportLerobot:
    """A LeRobot dataset, v3.0 or v2.1, with rewards and success."""

    store: StorePath
    """The episode store."""
    out: OutPath
    """Folder to write; it appears when all of it is there."""
    cameras_as: Literal["video", "images"] = "video"
    """H.264 video is small and slightly lossy; images are PNG and exact."""
    format_version: Literal["v3.0", "v2.1"] = "v3.0"
    """v3.0 has many episodes in a file; v2.1 has one, and is what openpi and GR00T read."""
    robot_type: str = "unknown"
    """Name of the robot, for LeRobot's info.json."""


@dataclass(frozen=True)
class ExportRobomimic:
    """A RoboMimic HDF5 file, with masks train, valid and success."""

    store: StorePath
    """The episode store."""
    out: OutPath
    """File to write, such as task.hdf5."""
