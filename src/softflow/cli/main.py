"""The command line: `softflow demo | collect | train | learn | label | report | …`."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence

from softflow import __version__
from softflow.cli.parent_death import end_with_parent
from softflow.cli.words import asks_for_help, require_command, require_readable
from softflow.errors import SoftflowError, with_extra
from softflow.utils.console import plain, say

EXAMPLES = """\
softflow — make a robot policy better with little robot time.

  softflow demo                            the whole story on a simulated task (about 10 minutes)
  softflow collect --env cube-single --out data/cube
                                           scripted demonstrations, some of which fail
  softflow train softflow-plus --dataset data/cube --run runs/cube
                                           the four stages; the same command continues a stopped run
  softflow train softflow-plus --dataset data/cube --run runs/cube2 --imitation.num-updates 5000
                                           any number of the preset can be overridden; presets:
                                           softflow-plus, small, small-image, demo,
                                           robomimic-state, robomimic-image, scissors, cube,
                                           cube-small
  softflow evaluate runs/cube/checkpoints/last --episodes 200
  softflow robot runs/cube --env-id cube-single --out data/rehearsal
                                           the policy in real time: on an environment, or your robot
  softflow report runs/cube                write RUN/report.html; of several runs, a comparison
  softflow learn runs/cube --exchange /mnt/exchange
                                           go on with a run on episodes that robots send
  softflow serve runs/cube                 decisions for robots on other machines
  softflow exchange show /mnt/exchange     what that folder holds; stop robots, label episodes
  softflow data import lerobot PATH --out data/mine
                                           other people's data in (and out: softflow data export)
  softflow label data/mine                 say what happened in episodes, in a browser
  softflow teacher train two-cores --run runs/teacher
                                           a cube turned in a simulated hand, to be learned from
  softflow cube-pose train small --renders data/renders --run runs/pose
                                           a camera that finds the cube in the hand
  softflow data validate data/cube         look into, check, merge, filter, label and plot episodes

`softflow COMMAND --help` explains each; `softflow --version` says which softflow this is.
"""

COMMANDS = (
    "demo",
    "collect",
    "train",
    "evaluate",
    "robot",
    "report",
    "data",
    "label",
    "learn",
    "serve",
    "exchange",
    "teacher",
    "cube-pose",
)


LEARNING = ("demo", "train", "learn", "teacher", "cube-pose")
"""Commands that write checkpoints."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the `softflow` command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    warnings.formatwarning = _warning
    if asks_for_help(words):
        say(EXAMPLES)
        return 0
    if words[0] in ("--version", "-V"):
        say(f"softflow {__version__}")
        return 0
    try:
        end_with_parent()
        require_readable(words)
        return _run(words[0], words[1:])
    except SoftflowError as error:
        say(f"\nsoftflow: {error}", to_errors=True)
        return 2
    except ModuleNotFoundError as error:
        known = with_extra(error, "this command")
        if known is error:
            raise
        say(f"\nsoftflow: {known}", to_errors=True)
        return 2
    except KeyboardInterrupt:
        goes_on = "The same command continues from the last checkpoint."
        kept = goes_on if words[0] in LEARNING else "What was finished is kept."
        say(f"\nStopped. {kept}", to_errors=True)
        return 130
    except MemoryError:
        say(
            "\nsoftflow: not enough memory; lower the sizes and numbers of this command, or close "
            "other programs. What is on the disk is whole.",
            to_errors=True,
        )
        return 2
    except BrokenPipeError:
        # `softflow demo --help | head`: nobody reads on, and Python must not flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        if error.errno is None:
            raise
        say(f"\nsoftflow: {_file_problem(error)}", to_errors=True)
        return 2


def _warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> str:
    """What a user should know, without the line of source that says it."""
    kind = "" if category is UserWarning else f"{category.__name__}: "
    return f"careful: {plain(f'{kind}{message}')}\n"


def _file_problem(error: OSError) -> str:
    """A full disk, a missing right, a folder that is a file: which file, and what to do."""
    what = f"'{error.filename}': " if error.filename else ""
    return (
        f"{what}{error.strerror or error}. Free some space, correct the path or its permissions, "
        "then run the same command again: it continues from what is safely on the disk."
    )


def _run(name: str, words: list[str]) -> int:
    """Do a command; its exit status."""
    require_command(name, COMMANDS)
    # Imported here: `softflow --help` should not wait for torch, nor `softflow data`.
    if name == "data":
        from softflow.cli.data import store_commands

        return store_commands.run(words)
    if name == "robot":
        from softflow.cli import robot_commands

        robot_commands.run(words)
        return 0
    if name == "label":
        from softflow.cli import label_commands

        label_commands.run(words)
        return 0
    if name == "exchange":
        from softflow.cli import exchange_commands

        return exchange_commands.run(words)
    if name == "teacher":
        from softflow.cli.cube import teacher_commands

        return teacher_commands.run(words)
    if name == "cube-pose":
        from softflow.cli.cube import pose

        return pose.run(words)
    from softflow.cli import run_commands

    run_commands.run(name, words)
    return 0
