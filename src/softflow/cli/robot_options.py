"""Options of `softflow robot`: the docstrings are the text of --help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from softflow.cli.frame_options import FrameOptions
from softflow.errors import ConfigError
from softflow.utils.documents import MAX_INTEGER

MAX_EPISODES = 10_000
SERVERS = ("ws://", "wss://")
"""How the address of a policy's server begins."""


@dataclass(frozen=True)
class Robot(FrameOptions):
    """Run a policy on a robot, or on an environment in real time; every episode is kept.

    The loop ticks at the robot's rate and waits for nobody: the policy decides in a process of its
    own, and when nothing that it planned is left, the robot holds still, then stops. No command
    leaves the limits. While an episode runs, keys of the terminal are: space or q stops robot and
    run, s and f end the episode as a success or failure, d ends and forgets it; Ctrl-C stops within
    a control step. A stopped robot is not moved again before you start the command anew.

      rehearse      softflow robot runs/cube --env-id cube-single --out data/rehearsal
      for real      softflow robot runs/mine --robot my_robot:make --limits limits.toml \
--out data/robot
      behind ROS 2  softflow robot runs/mine --ros2 franka_orca.toml --limits limits.toml \
--out data/robot
      with a learner softflow robot runs/mine --robot my_robot:make --out data/robot \
--exchange /mnt/exchange
      with a person softflow robot runs/mine --robot my_robot:make --out data/robot \
--take-over keys --pause-every 5

    One page on robots, limits and taking over: docs/robot.md.
    """

    policy: Annotated[str, tyro.conf.Positional]
    """A run, one of its checkpoints, or ws://host:port where softflow serve answers."""
    out: Path
    """Episode store to fill; episodes already there are kept."""
    env_id: str = ""
    """An environment in place of a robot, such as cube-single; stepped in real time."""
    replace_env: bool = False
    """Act there although the policy's data name another environment: one that was renamed, or
    another one that gives the same observations, such as orca-cube-twin-task50."""
    robot: str = ""
    """The robot: module:function, which is imported and called; see examples/own_robot.py."""
    ros2: Path | None = None
    """A robot behind ROS 2 topics: its settings (TOML); see examples/franka_orca.toml."""
    limits: Path | None = None
    """Limits and watchdogs of the robot (TOML); without, the range of the data alone."""
    episodes: int = 5
    """Episodes to run."""
    pause_every: int = 0
    """Pause after so many episodes, for labels or a new scene; 0 does not."""
    verdict: Literal["auto", "always", "never"] = "auto"
    """Whether you are asked after an episode if it succeeded: auto asks for robots, which cannot
    tell, at a terminal."""
    annotator: str = "operator"
    """Who says so; kept with the label."""
    take_over: str = ""
    """A person's actions in place of the policy's: keys (t takes and gives back; l j, i k, o u
    move), or module:function of your own."""
    stop_file: Path | None = None
    """The robot stops when this file is there: touch it from anywhere."""
    heartbeat_file: Path | None = None
    """The robot holds, then stops, when this file is not touched any more."""
    on_death: str = ""
    """module:function, called in a process of its own if this one is killed: stops the robot."""
    exchange: Path | None = None
    """Folder shared with softflow learn: episodes go there, newer policies come from there."""
    name: str = "robot"
    """Of this robot in that folder; no other robot has it."""
    explore: bool = False
    """Decide as the run's online rounds do in a simulator: more widely (--online-rl.collection-std
    when it was trained), each episode's actions shifted by an offset of its own
    (--online-rl.exploration-std), by which the learner corrects the policy."""
    token_file: Path | None = None
    """Token of the policy's server."""
    device: str = "auto"
    """Where the policy decides: auto is a GPU, if there is one."""
    networks: tuple[str, ...] = ()
    """Networks of your own that the checkpoint names (package.module:Class): they run code, so they
    are imported only if you name them here."""
    seed: int = 0
    """Of what is random in decisions and resets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum(map(bool, (self.env_id, self.robot, self.ros2))) != 1:
            raise ConfigError(
                "give either --robot module:function, or --ros2 SETTINGS, or --env-id for a "
                "rehearsal"
            )
        if self.replace_env and not self.env_id:
            raise ConfigError("--replace-env is for a rehearsal: it goes with --env-id")
        if self.replace_env and self.exchange:
            raise ConfigError(
                "--replace-env and --exchange: a learner takes no episodes of another environment "
                "than its data's; leave one out"
            )
        for name, most in (("episodes", MAX_EPISODES), ("seed", MAX_INTEGER)):
            least = int(name == "episodes")
            if not least <= getattr(self, name) <= most:
                raise ConfigError(
                    f"--{name} is {getattr(self, name)}; it must lie in [{least}, {most:,}]"
                )
        if self.exchange and self.policy.startswith(SERVERS):
            raise ConfigError(
                "--exchange brings policies as files, and a server has its own; give one of the two"
            )
        if self.explore and self.policy.startswith(SERVERS):
            raise ConfigError("--explore: a server's policy does not; give a run or a checkpoint")
        if self.pause_every < 0:
            raise ConfigError(f"--pause-every is {self.pause_every}; it must be >= 0")
