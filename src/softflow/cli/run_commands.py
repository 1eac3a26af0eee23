"""What demo, collect, train, evaluate and report do."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import tyro

from softflow.cli.consent import require_named_kinds, trust_environment
from softflow.cli.option_types import OPTION_TYPES
from softflow.cli.run_options import Collect, Demo, Evaluate, Report, Train
from softflow.cli.targets import (
    require_outside_stores,
    require_run_folder,
    require_store_folder,
)
from softflow.data.data_spec import require_same_spec
from softflow.data.episode_store import EpisodeStore
from softflow.envs.demonstrations import OperatorTally, collect_demonstrations
from softflow.envs.registry import require_trusted_env
from softflow.errors import ConfigError
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import weights_identity
from softflow.models.critic import CRITICS
from softflow.models.encoder import ENCODERS
from softflow.models.images.backbone import BACKBONES
from softflow.models.kinds import Kinds
from softflow.models.policy import POLICIES
from softflow.pages.run_report import write_report
from softflow.presets import preset
from softflow.training.config import STAGES, TrainingConfig
from softflow.training.evaluation import EvaluationPlan, evaluate
from softflow.training.held_out.split import held_out_episodes, in_words, successful_episodes
from softflow.training.learner import usable_device
from softflow.training.persistence import read_run_facts
from softflow.training.provenance import (
    identity_of,
    learned_from,
    require_continues,
    write_identity,
)
from softflow.training.rollouts import RolloutPool
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.console import say
from softflow.utils.files import real_path
from softflow.utils.imports import trust
from softflow.utils.progress import ConsoleProgress


def run(name: str, words: list[str]) -> None:
    """Parse the words after a command's name and do it."""
    if name == "demo":
        demo(tyro.cli(Demo, args=words, prog="softflow demo", registry=OPTION_TYPES))
    elif name == "collect":
        collect(tyro.cli(Collect, args=words, prog="softflow collect", registry=OPTION_TYPES))
    elif name == "train":
        options = _parse_train(words)
        train(options)
        say(f"policy: {options.run / 'checkpoints' / 'last'}")
        say(f"report: {options.run / 'report.html'}")
    elif name == "evaluate":
        evaluate_checkpoint(
            tyro.cli(Evaluate, args=words, prog="softflow evaluate", registry=OPTION_TYPES)
        )
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
    train(Train(store, options.run, STAGES, config=options.config))
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


def train(options: Train) -> None:
    """Run the stages, then write the report; also after an error or Ctrl-C, with what there is."""
    options.config.require_memory()
    usable_device(options.config.device)
    require_run_folder(options.run, options.dataset)
    dataset = EpisodeStore.open(options.dataset)
    options.config.model.actions.require_fit(dataset.spec)
    trust_environment(dataset.spec, options.env, f"'{options.dataset}'")
    if not dataset.spec.env_id:
        options = _without_environment(options, dataset)
    acts = options.config.eval_episodes or "online_rl" in options.stages
    if acts:
        require_trusted_env(dataset.spec.env_id)
    identity = identity_of(options.dataset, dataset, options.stages, options.config)
    require_continues(options.run, identity, dataset)
    with ConsoleProgress() as progress, RolloutPool(options.config.num_workers) as pool:
        if acts:
            spec = dataset.spec
            theirs = pool.environment_spec(spec.env_id, spec.image_size)
            require_same_spec(spec, theirs, f"the dataset '{options.dataset}'", "the environment")
        # Until here nothing is written; from here on the run is locked.
        run = Run(
            options.run, options.config, options.dataset, pool, progress, stages=options.stages
        )
        try:
            require_continues(options.run, identity, dataset)
            write_identity(options.run, identity)
            run_stages(run, options.stages)
        finally:
            try:
                run.close()
            finally:
                write_report(options.run)


def _without_environment(options: Train, dataset: EpisodeStore) -> Train:
    """Training on data of which no simulator is known: nothing is evaluated.

    Raises:
        ConfigError: a stage needs robot episodes.
    """
    if "online_rl" in options.stages:
        offline = " ".join(stage for stage in STAGES if stage != "online_rl")
        raise ConfigError(
            f"'{options.dataset}' names no environment, and online_rl collects episodes in one; "
            f"train the other stages (--stages {offline}), or name the environment when importing "
            "(--env-id)"
        )
    share, seed = options.config.data.held_out, options.config.seed
    held_out = held_out_episodes(dataset, share, seed)
    split = in_words(len(successful_episodes(dataset)), len(held_out), share)
    say(f"this data names no environment: no success rates; {split}")
    config = replace(options.config, eval_episodes=0, round_eval_episodes=0)
    return replace(options, config=config)


def evaluate_checkpoint(options: Evaluate) -> None:
    """Measure one checkpoint."""
    checkpoint = real_path(options.checkpoint)  # `last` may move on while this runs
    named = {name: getattr(options, name) for name in (*KINDS, IMAGE)}
    trust(*filter(None, named.values()))
    config, spec, position = read_run_facts(checkpoint)
    require_named_kinds(config.model, named, checkpoint)
    trust_environment(spec, options.env, f"'{checkpoint}'")
    require_trusted_env(spec.env_id)
    if not spec.env_id:
        raise ConfigError(
            f"'{checkpoint}' was trained on data that names no environment, so there is none to "
            "measure success in; its report shows likelihoods, or name the environment when "
            "importing the data (--env-id) and train again"
        )
    stage = position["stage"]
    rule = options.rule
    if rule == "auto":
        rule = "likelihood" if stage == "imitation" else "value"
    candidates = options.candidates or config.candidates_after(stage)
    folder = options.out or checkpoint.parent.parent / "evaluations" / "extra"
    require_outside_stores(folder, "--out")
    name = f"{checkpoint.name}-{weights_identity(checkpoint)[:8]}"
    with ConsoleProgress() as progress, RolloutPool(options.workers) as pool:
        theirs = pool.environment_spec(spec.env_id, spec.image_size)
        require_same_spec(spec, theirs, f"the checkpoint '{checkpoint}'", "the environment")
        plan = EvaluationPlan(
            label=f"{name}-{rule}-{candidates}-seed{options.seed}-n{options.episodes}",
            stage=stage,
            checkpoint=checkpoint,
            selection=SelectionConfig(candidates, config.sampling_std, rule),
            spec=spec,
            num_episodes=options.episodes,
            seed=options.seed,
            update_step=position["update_step"],
            online_episodes=position["online_episodes"],
            robot_steps=position["robot_steps"],
        )
        folder.mkdir(parents=True, exist_ok=True)
        evaluate(pool, folder, plan, progress)
