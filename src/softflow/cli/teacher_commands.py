"""What `softflow teacher` does: grasps, a teacher in simulation, how well it turns cubes."""

from __future__ import annotations

from typing import Any

import tyro

from softflow.cli import teacher_options as options
from softflow.cli.option_types import OPTION_TYPES, parsed
from softflow.cli.words import asks_for_help, first_line, overview, require_command
from softflow.errors import ConfigError
from softflow.utils.console import say
from softflow.utils.imports import follow, trust
from softflow.utils.progress import ConsoleProgress

PROG = "softflow teacher"
COMMANDS: dict[str, type] = {
    "train": options.TrainTeacher,
    "evaluate": options.EvaluateTeacher,
    "grasps": options.Grasps,
}


def run(words: list[str]) -> int:
    """Parse the words after `softflow teacher` and do what they say; the exit status."""
    if asks_for_help(words):
        lines = {name: first_line(kind) for name, kind in COMMANDS.items()}
        say(overview(PROG, "a cube turned in simulation, to be learned from", lines))
        return 0
    name = words[0]
    require_command(name, COMMANDS, "teacher ")
    if name == "train":
        train(_parsed_training(words[1:]))
    elif name == "evaluate":
        evaluate(parsed(options.EvaluateTeacher, f"{PROG} evaluate", words[1:]))
    else:
        grasps(parsed(options.Grasps, f"{PROG} grasps", words[1:]))
    return 0


def _parsed_training(words: list[str]) -> options.TrainTeacher:
    """`train PRESET ...`: the preset decides the defaults that --help shows.

    Raises:
        ConfigError: there is no such preset.
    """
    from softflow.teacher.config import PRESETS

    name, words = (words[0], words[1:]) if words and words[0][:1] != "-" else ("two-cores", words)
    if name not in PRESETS:
        raise ConfigError(f"no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return tyro.cli(
        options.TrainTeacher,
        args=words,
        default=options.TrainTeacher(run=tyro.MISSING, config=PRESETS[name]),
        prog=f"{PROG} train {name}",
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.AvoidSubcommands),
        registry=OPTION_TYPES,
    )


def train(given: options.TrainTeacher) -> None:
    """Train a teacher, or go on with one."""
    from softflow.teacher.training import TeacherTraining

    with ConsoleProgress() as progress:
        facts = TeacherTraining(given.run, given.config, given.seed, progress, given.device).run()
    best = facts.best if facts.best is not None else 0.0
    say(f"teacher: '{given.run}', at best {best:.2f} turns in 60 s")


def evaluate(given: options.EvaluateTeacher) -> None:
    """Measure a teacher."""
    from softflow.teacher.acting import Teacher

    teacher = Teacher.load(given.run)
    score = teacher.evaluate(
        given.hands,
        given.seconds,
        given.seed,
        corrected=not given.gait_alone,
        randomised=not given.nominal,
    )
    say(str(score))


def grasps(given: options.Grasps) -> None:
    """Search grasps and write them."""
    from softflow.envs.orca_cube.grasp_search import find_grasps
    from softflow.envs.orca_cube.grasps import write_grasps
    from softflow.envs.orca_cube.hand_model import load_hand
    from softflow.envs.orca_cube.scene import build_scene
    from softflow.envs.orca_cube.settings import CubeSettings

    scene = build_scene(load_hand(_hand(given.hand)), CubeSettings(cube_edge_m=given.cube_edge_m))
    with ConsoleProgress() as progress:
        progress.begin("grasps", given.count)

        def told(found: int, tried: int) -> None:
            progress.advance(min(found, given.count), f"{found} of {tried} cages hold")

        found = find_grasps(scene, given.count, given.seed, told=told)
    write_grasps(given.out, found)
    say(f"{len(found)} grasps of hand {found.fingerprint}: '{given.out}'")


def _hand(name: str) -> Any:
    from softflow.envs.orca_cube.hand_model import ORCA_RIGHT, HandDescription

    if not name:
        return ORCA_RIGHT
    trust(name)
    try:
        found = follow(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"--hand {name!r} cannot be imported: {error}") from error
    if not isinstance(found, HandDescription):
        raise ConfigError(f"--hand {name!r} is {found!r:.80}; name a HandDescription")
    return found
