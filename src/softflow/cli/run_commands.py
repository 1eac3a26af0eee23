"""What demo, collect, train, learn, serve, evaluate and report do."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from itertools import pairwise
from types import FrameType
from typing import Any

import tyro

from softflow.cli.exchange_options import Learn, Serve
from softflow.cli.help.train_help import demo_page, first_page, preset_page
from softflow.cli.option_types import OPTION_TYPES, parsed, wants_help
from softflow.cli.run_options import Collect, Demo, Evaluate, Report, Train
from softflow.cli.seed_runs import train_seeds
from softflow.envs.demonstrations import collect_demonstrations, only_operator
from softflow.errors import ConfigError
from softflow.jobs.evaluate import evaluate
from softflow.jobs.learn import learn
from softflow.jobs.targets import (
    require_outside_stores,
    require_result_file,
    require_store_folder,
)
from softflow.jobs.train import train
from softflow.models.critic import CRITICS
from softflow.models.encoder import ENCODERS
from softflow.models.images.backbone import BACKBONES
from softflow.models.kinds import Kinds
from softflow.models.policy import POLICIES
from softflow.pages.comparing.groups import runs_in
from softflow.pages.comparing.page import default_place, write_comparison
from softflow.pages.run_report import write_report
from softflow.presets import preset
from softflow.training.config import TrainingConfig
from softflow.training.hardware.ranks import launched_processes, launched_rank
from softflow.training.provenance import learned_from
from softflow.utils.console import say
from softflow.utils.imports import trust
from softflow.utils.progress import ConsoleProgress
from softflow.utils.wandb_mirror import WandbMirror, require_wandb


def run(name: str, words: list[str]) -> None:
    """Parse the words after a command's name and do it.

    Raises:
        ConfigError: a launcher has started several processes of a command that is one.
    """
    if name != "train" and (count := launched_processes()) > 1:
        raise ConfigError(
            f"`softflow {name}` was started as {count} processes; only `softflow train` shares its "
            "work, start the others by themselves"
        )
    with nullcontext() if name == "serve" or launched_processes() > 1 else _stopped_like_ctrl_c():
        _do(name, words)


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """A plain `kill`, or a machine that is shut down, stops a command as Ctrl-C does.

    Not a launcher's processes: one that waits for the others hears nothing, and must die.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _do(name: str, words: list[str]) -> None:
    if name == "demo":
        if wants_help(words):
            say(demo_page())
            return
        demo(parsed(Demo, "softflow demo", words, pairs=True))
    elif name == "collect":
        collect(parsed(Collect, "softflow collect", words))
    elif name == "train":
        if options := _parse_train(words):
            _train(options, words)
    elif name == "learn":
        say(f"policy: {learn(**_with_networks(parsed(Learn, 'softflow learn', words)))}")
    elif name == "serve":
        from softflow.jobs.serve import serve  # needs the extra robot

        serve(**_with_networks(parsed(Serve, "softflow serve", words)))
    elif name == "evaluate":
        evaluate(**_with_networks(parsed(Evaluate, "softflow evaluate", words)))
    else:
        if "" in words:  # behind a list of runs tyro would not say what is wrong with one
            raise ConfigError('the path is empty; name a run folder ("." is the one you are in)')
        report(parsed(Report, "softflow report", words))


def _with_networks(given: Any) -> dict[str, Any]:
    """Options by name, those that name networks together as one argument."""
    options = {item.name: getattr(given, item.name) for item in fields(given)}
    networks = {name: options.pop(name) for name in (*KINDS, IMAGE)}
    return {**options, "networks": networks}


def _parse_train(words: list[str]) -> Train | None:
    """`train PRESET ...`: the preset decides the defaults. None: help was asked for."""
    named = bool(words) and not words[0].startswith("-")
    name, words = (words[0], words[1:]) if named else ("softflow-plus", words)
    config = _of_other_kinds(preset(name), words)
    default = Train(dataset=tyro.MISSING, run=tyro.MISSING, config=config)
    prog = f"softflow train {name}"
    if wants_help(words):
        everything = named or any(_last_given(kind, words) for kind in (*KINDS, IMAGE))
        say(preset_page(default, name) if everything else first_page(default, name))
        return None
    return tyro.cli(Train, args=words, default=default, prog=prog, registry=OPTION_TYPES)


def _train(options: Train, words: list[str]) -> None:
    """One seed here, or several in processes of their own.

    Raises:
        ConfigError: a launcher's processes would each start all seeds.
    """
    is_first = launched_rank() == 0
    if options.logger == "wandb":
        require_wandb()
    if options.seeds > 1:
        if (count := launched_processes()) > 1:
            raise ConfigError(
                f"--seeds {options.seeds} starts a process for each seed, and a launcher has "
                f"started {count} of this one; leave out one of the two"
            )
        train_seeds(options, words)
        return
    mirrored = options.logger == "wandb" and is_first
    with WandbMirror(options.run) if mirrored else nullcontext():
        train(
            options.dataset,
            options.run,
            options.config,
            stages=options.stages,
            env=options.env,
            start=options.start,
            start_critic=options.from_critic,
            robot_eval_episodes=options.robot_eval_episodes,
        )
    if is_first:
        say(f"policy: {options.run / 'checkpoints' / 'last'}")
        say(f"report: {options.run / 'report.html'}")


KINDS: dict[str, Kinds[Any]] = {"policy": POLICIES, "critic": CRITICS, "encoder": ENCODERS}
IMAGE = "image"
"""The kind inside an encoder."""


def _of_other_kinds(config: TrainingConfig, words: list[str]) -> TrainingConfig:
    """The preset with the networks that the words name, at their defaults.

    Before everything else is parsed, because they decide which options there are.

    Raises:
        ConfigError: there is no such network, or the encoder has no image backbone.
    """
    for name, kinds in KINDS.items():
        if given := _last_given(name, words):
            trust(given)
            sized = _in_the_size_of(getattr(config.model, name), kinds.default_config(given))
            config = replace(config, model=replace(config.model, **{name: sized}))
    if given := _last_given(IMAGE, words):
        trust(given)
        encoder: Any = config.model.encoder
        if IMAGE not in {item.name for item in fields(encoder)}:
            raise ConfigError(
                f"--image is {given!r}, but the encoder {encoder.kind} reads no cameras; add "
                "--encoder mixed"
            )
        encoder = replace(encoder, image=BACKBONES.default_config(given))
        config = replace(config, model=replace(config.model, encoder=encoder))
    return config


def _last_given(name: str, words: list[str]) -> str:
    """What the last --NAME among the words says; "" where there is none."""
    given = [word.removeprefix(f"--{name}=") for word in words if word.startswith(f"--{name}=")]
    given += [after for word, after in pairwise(words) if word == f"--{name}"]
    return given[-1] if given else ""


def _in_the_size_of(preset_config: Any, other: Any) -> Any:
    """Another kind's configuration with the preset's numbers where both have one of that name."""
    shared = {item.name for item in fields(other) if item.init} & {
        item.name for item in fields(preset_config) if item.init
    }
    return replace(other, **{name: getattr(preset_config, name) for name in sorted(shared)})


def demo(options: Demo) -> None:
    """Demonstrations, four stages and the report, in one folder."""
    require_outside_stores(options.run, "--run")
    _require_same_demonstrations(options)
    store = options.run / "demonstrations"
    collect(
        Collect(
            store,
            options.env,
            options.demonstrations,
            seed=options.config.seed,
            workers=options.config.num_workers,
        )
    )
    train(store, options.run, options.config)
    say(f"\nOpen the report in a browser: {(options.run / 'report.html').resolve()}")


def _require_same_demonstrations(options: Demo) -> None:
    """Refuse fewer demonstrations than the run has learned from; more are welcome."""
    there = learned_from(options.run).get("dataset_episodes", options.demonstrations)
    if there > options.demonstrations:
        raise ConfigError(
            f"{options.run} has learned from {there} demonstrations, not {options.demonstrations}; "
            f"continue it with --demonstrations {there} or more, or choose another --run folder"
        )


def collect(options: Collect) -> None:
    """Fill an episode store with demonstrations and say how good they are."""
    require_store_folder(options.out, "--out")
    with ConsoleProgress() as progress:
        progress.begin(f"demonstrate {options.env}", options.episodes)
        tallies = collect_demonstrations(
            options.env,
            options.episodes,
            options.seed,
            options.out,
            mixture=only_operator(options.env, options.operator) if options.operator else None,
            num_workers=options.workers,
            image_size=options.image_size,
            frames=options.frame_storage,
            on_progress=lambda done, _, successes: progress.advance(
                done, f"success {successes}/{done}"
            ),
        )
        for tally in tallies:
            progress.say(f"  {tally}")


def report(options: Report) -> None:
    """Write the report of a run, or the page that compares several."""
    runs = [run for folder in options.runs for run in runs_in(folder)]
    if len(runs) == 1 and options.out is None:
        say(f"report: {write_report(runs[0])}")
        return
    out = options.out or default_place(runs)
    require_result_file(out, "--out", b"<!doctype html>")
    for run in runs:
        write_report(run)
    say(f"comparison: {write_comparison(runs, out)}")
