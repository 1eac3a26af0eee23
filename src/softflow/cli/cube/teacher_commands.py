"""What `softflow teacher` does: grasps, a teacher in simulation, how well it turns cubes."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import getdoc
from itertools import takewhile
from pathlib import Path
from typing import Any

import tyro

from softflow.cli.cube import teacher_options as options
from softflow.cli.help.examples import EXAMPLES
from softflow.cli.help.page import groups_of, listed, once, page
from softflow.cli.option_types import OPTION_TYPES, parsed, wants_help
from softflow.cli.words import asks_for_help, first_line, overview, require_command
from softflow.envs.orca_cube.grasp_search import find_grasps
from softflow.envs.orca_cube.grasps import DEFAULT_CACHE, write_grasps
from softflow.envs.orca_cube.hand_model import HandDescription, load_hand
from softflow.envs.orca_cube.scene import build_scene
from softflow.envs.orca_cube.settings import CubeSettings
from softflow.errors import ConfigError
from softflow.presets import PRESETS as STUDENTS
from softflow.presets import preset, summary
from softflow.teacher.acting import Teacher
from softflow.teacher.config import PRESETS, SUMMARIES
from softflow.teacher.distillation.config import DistillConfig
from softflow.teacher.distillation.loop import EPISODES, Distillation
from softflow.teacher.hand_choice import HandChoice, described_hand
from softflow.teacher.training import TeacherTraining
from softflow.utils.console import say
from softflow.utils.imports import trust
from softflow.utils.progress import ConsoleProgress

PROG = "softflow teacher"
_ONE_PARSER = (tyro.conf.FlagCreatePairsOff, tyro.conf.AvoidSubcommands)
COMMANDS: dict[str, type] = {
    "train": options.TrainTeacher,
    "evaluate": options.EvaluateTeacher,
    "distill": options.Distill,
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
    elif name == "distill":
        distill(_parsed_distillation(words[1:]))
    else:
        grasps(parsed(options.Grasps, f"{PROG} grasps", words[1:]))
    return 0


def _parsed_training(words: list[str]) -> options.TrainTeacher:
    """`train PRESET ...`: the preset decides the defaults that --help shows."""
    name, words = _preset_of(words, "two-cores", SUMMARIES)
    default = options.TrainTeacher(run=tyro.MISSING, config=PRESETS[name])
    if wants_help(words):
        _show_help(default, "train", name, "--run PATH", SUMMARIES)
    return _overridden(words, default, f"{PROG} train {name}")


def _parsed_distillation(words: list[str]) -> options.Distill:
    """`distill PRESET TEACHER ...`: presets are those of `softflow train`."""
    students = {each: summary(each) for each in STUDENTS}
    name, words = _preset_of(words, "cube-small", students, arguments=1)
    default = options.Distill(
        teacher=tyro.MISSING, run=tyro.MISSING, distill=DistillConfig(), config=preset(name)
    )
    if wants_help(words):
        _show_help(default, "distill", name, "TEACHER --run PATH", students)
    return _overridden(words, default, f"{PROG} distill {name}")


def _preset_of(
    words: list[str], otherwise: str, known: Mapping[str, str], arguments: int = 0
) -> tuple[str, list[str]]:
    """The preset that the first word names, or the usual one, and the other words.

    Args:
        words: after the command; otherwise: the usual preset; known: all of them.
        arguments: words without an option's name that follow a preset.

    Raises:
        ConfigError: there is no such preset.
    """
    plain = list(takewhile(lambda word: not word.startswith("-"), words))
    if plain and plain[0] in known:
        return words[0], words[1:]
    # A word that is no place either was meant to be a preset.
    mistyped = bool(plain) and "/" not in plain[0] and not Path(plain[0]).exists()
    if len(plain) > arguments or mistyped:
        raise ConfigError(f"no preset {words[0]!r}; choose one of {', '.join(known)}")
    return otherwise, words


def _overridden(words: list[str], default: Any, prog: str) -> Any:
    """A preset with the numbers that words override."""
    return tyro.cli(
        type(default),
        args=words,
        default=default,
        prog=prog,
        config=_ONE_PARSER,
        registry=OPTION_TYPES,
    )


def _show_help(
    default: Any, command: str, name: str, needed: str, presets: Mapping[str, str]
) -> None:
    """Print every option with the numbers of a preset, and what other presets there are.

    Raises:
        SystemExit: always, as whoever asks for help wants nothing else.
    """
    groups = groups_of(type(default), default=default, config=_ONE_PARSER, registry=OPTION_TYPES)
    heading = f"Presets; the numbers below are those of {name}"
    what = f"{getdoc(type(default))}\n\n{heading}\n{listed(presets)}"
    usage = f"{PROG} {command} [PRESET] {needed} [OPTIONS]"
    examples = EXAMPLES[f"teacher {command}"]
    say(page(usage, what, examples, once([*groups.values()])))
    raise SystemExit(0)


def train(given: options.TrainTeacher) -> None:
    """Train a teacher, or go on with one."""
    with ConsoleProgress() as progress:
        which = HandChoice(given.hand, _hand_named(given.hand), given.grasps or DEFAULT_CACHE)
        numbers = (given.run, given.config, given.seed)
        facts = TeacherTraining(*numbers, progress, given.device, which).run()
    best = facts.best if facts.best is not None else 0.0
    say(f"teacher: '{given.run}', at best {best:.2f} turns in 60 s")


def evaluate(given: options.EvaluateTeacher) -> None:
    """Measure a teacher."""
    _hand_named(given.hand)
    teacher = Teacher.load(given.run)
    score = teacher.evaluate(
        given.hands,
        given.seconds,
        given.seed,
        corrected=not given.gait_alone,
        randomised=not given.nominal,
    )
    say(str(score))


def distill(given: options.Distill) -> None:
    """Distil a teacher, or go on."""
    _hand_named(given.hand)
    with ConsoleProgress() as progress:
        Distillation(
            given.run,
            Teacher.load(given.teacher),
            given.distill,
            given.config,
            given.env_id,
            given.config.seed,
            progress,
        ).run()
    say(f"student: {given.run / 'checkpoints' / 'last'}")
    say(f"episodes: {given.run / EPISODES}")


def grasps(given: options.Grasps) -> None:
    """Search grasps and write them."""
    scene = build_scene(
        load_hand(_hand_named(given.hand)), CubeSettings(cube_edge_m=given.cube_edge_m)
    )
    with ConsoleProgress() as progress:
        progress.begin("grasps", given.count)

        def told(found: int, tried: int) -> None:
            progress.advance(min(found, given.count), f"{found} of {tried} cages hold")

        found = find_grasps(scene, given.count, given.seed, told=told)
    write_grasps(given.out, found)
    say(f"{len(found)} grasps of hand {found.fingerprint}: '{given.out}'")


def _hand_named(name: str) -> HandDescription:
    """The hand that a word of the command line names, which is trusted."""
    trust(name)
    return described_hand(name)
