"""What demo, collect, train, evaluate and report do."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import tyro

from softflow.cli.option_types import OPTION_TYPES
from softflow.cli.run_options import Collect, Demo, Evaluate, Report, Train
from softflow.envs.demonstrations import OperatorTally, collect_demonstrations
from softflow.errors import ConfigError
from softflow.jobs.evaluate import evaluate
from softflow.jobs.targets import require_outside_stores, require_store_folder
from softflow.jobs.train import train
from softflow.models.critic import CRITICS
from softflow.models.encoder import ENCODERS
from softflow.models.images.backbone import BACKBONES
from softflow.models.kinds import Kinds
from softflow.models.policy import POLICIES
from softflow.pages.run_report import write_report
from softflow.presets import preset
from softflow.training.config import TrainingConfig
from softflow.training.hardware.ranks import launched_processes, launched_rank
from softflow.training.provenance import learned_from
from softflow.utils.console import say
from softflow.utils.imports import trust
from softflow.utils.progress import ConsoleProgress


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
    if name == "demo":
        demo(tyro.cli(Demo, args=words, prog="softflow demo", registry=OPTION_TYPES))
    elif name == "collect":
        collect(tyro.cli(Collect, args=words, prog="softflow collect", registry=OPTION_TYPES))
    elif name == "train":
        options = _parse_train(words)
        train(options.dataset, options.run, options.config, stages=options.stages, env=options.env)
        if launched_rank() == 0:
            say(f"policy: {options.run / 'checkpoints' / 'last'}")
            say(f"report: {options.run / 'report.html'}")
    elif name == "evaluate":
        given = tyro.cli(Evaluate, args=words, prog="softflow evaluate", registry=OPTION_TYPES)
        options = {item.name: getattr(given, item.name) for item in fields(given)}
        evaluate(networks={name: options.pop(name) for name in (*KINDS, IMAGE)}, **options)
    else:
        folder = tyro.cli(Report, args=words, prog="softflow report", registry=OPTION_TYPES).run
        say(f"report: {write_report(folder)}")


def _parse_train(words: list[str]) -> Train:
    """`train PRESET ...`: the preset decides the defaults that --help shows."""
    if words and not words[0].startswith("-"):
        name, words = words[0], words[1:]
    else:
        name = "softflow-plus"
    config = _of_other_kinds(preset(name), words)
    default = Train(dataset=tyro.MISSING, run=tyro.MISSING, config=config)
    return tyro.cli(
        Train, args=words, default=default, prog=f"softflow train {name}", registry=OPTION_TYPES
    )


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
            options.config.seed,
            options.config.num_workers,
        )
    )
    train(store, options.run, options.config)
    say(f"\nOpen the report in a browser: {(options.run / 'report.html').resolve()}")


def _require_same_demonstrations(options: Demo) -> None:
    """Refuse before anything is collected: a store never shrinks, so it could not be undone."""
    there = learned_from(options.run).get("dataset_episodes", options.demonstrations)
    if there != options.demonstrations:
        raise ConfigError(
            f"{options.run} has learned from {there} demonstrations, not {options.demonstrations}; "
            f"continue it with --demonstrations {there}, or choose another --run folder"
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
            num_workers=options.workers,
            image_size=options.image_size,
            on_progress=lambda done, _, successes: progress.advance(
                done, f"success {successes}/{done}"
            ),
        )
        for tally in tallies:
            progress.say(_tally_line(tally))


def _tally_line(tally: OperatorTally) -> str:
    return (
        f"  operator {tally.operator:<10} {tally.successes}/{tally.episodes} succeed, "
        f"in {tally.mean_success_length:.0f} control steps on average"
    )
