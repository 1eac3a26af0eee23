"""Train on an episode store: the run, its checks beforehand, its report afterwards."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from softflow.data.action_space import require_fits_environment
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.seen_again import foreign_actions
from softflow.deployment.saved_policy import find_checkpoint
from softflow.envs.registry import is_robot, require_trusted_env
from softflow.errors import ConfigError
from softflow.jobs.acting_place import FEW, acting_place, few_on_robots
from softflow.jobs.consent import trust_environment
from softflow.jobs.ending import closed_and_reported
from softflow.jobs.opening import open_store
from softflow.jobs.targets import require_run_folder
from softflow.models.checkpoint import last_checkpoint
from softflow.presets import preset
from softflow.training.config import STAGES, StageName, TrainingConfig
from softflow.training.continuing.starting import (
    Start,
    read_start,
    require_same_start,
    require_start_fits,
)
from softflow.training.continuing.stating import state
from softflow.training.hardware.ranks import Ranks
from softflow.training.held_out.split import held_out_episodes, in_words, successful_episodes
from softflow.training.provenance import identity_of, require_continues, write_identity
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.progress import ConsoleProgress, SilentProgress


def train(
    dataset: str | os.PathLike[str],
    run: str | os.PathLike[str],
    config: TrainingConfig | str = "softflow-plus",
    *,
    stages: Sequence[StageName] = STAGES,
    env: str = "",
    start: str | os.PathLike[str] = "",
    start_critic: bool = True,
    robot_eval_episodes: int = FEW,
) -> Path | None:
    """Run the stages, then write the report; also after an error or Ctrl-C, with what there is.

    Of several processes that a launcher started (torchrun, `accelerate launch`) each takes its part
    of every update; the first acts, writes and talks.

    Args:
        dataset: episode store with the demonstrations (failures included).
        run: folder of the run; if it holds a run already, that run continues, also with other
            numbers for what is still to come; its history keeps what changed.
        config: everything else that decides the result, or the name of a preset.
        stages: which to run; their order is the paper's.
        env: the environment that the data names, if that is an import path (module:function): it
            runs code, so it is imported only if you name it here.
        start: another run, or a checkpoint, whose networks a new run starts from; sizes and keys
            must be the same, and its normalisation is kept.
        start_critic: take its critic along, where that has learned.
        robot_eval_episodes: most episodes of an evaluation where the environment is a robot.

    Returns:
        The newest checkpoint; None if nothing was trained.

    Raises:
        SoftflowError: of many kinds, before anything is written where that can be known before;
            the message says what is wrong and how to mend it.
    """
    dataset, run = Path(dataset), Path(run)
    config = preset(config) if isinstance(config, str) else config
    _require_stages(stages)
    config.require_memory()
    require_run_folder(run, dataset)
    store = open_store(dataset)
    config.model.actions.require_fit(store.spec)
    trust_environment(store, env)
    if not store.spec.env_id:
        config = _without_environment(config, store, stages)
    begin = starting_from(os.fspath(start), run, config, store.spec, start_critic)
    acts = bool(config.eval_episodes) or "online_rl" in stages
    if acts:
        require_trusted_env(store.spec.env_id)
        config = few_on_robots(config, store.spec.env_id, robot_eval_episodes)
    with Ranks.joined(config.device) as ranks:
        if ranks.is_first:
            # One that is named is held to the data now, but no robot is woken up for it.
            asked = acts or (bool(env) and not is_robot(env))
            _train(store, run, config, stages, asked, ranks, begin)
        else:
            _follow(store, run, config, stages, ranks, begin)
    return last_checkpoint(run / "checkpoints")


def _train(
    store: EpisodeStore,
    folder: Path,
    config: TrainingConfig,
    stages: Sequence[StageName],
    acts: bool,
    ranks: Ranks,
    start: Start | None,
) -> None:
    """The run itself; `acts`: its environment must be there, and give what the data hold."""
    dataset = store.path
    identity = identity_of(dataset, store, stages, config)
    require_continues(folder, identity, store)
    if told := foreign_actions(store.summaries()):
        warnings.warn(f"'{dataset}': {told}", stacklevel=3)
    spec = store.spec
    place = acting_place(spec.env_id if acts else "", config.num_workers)
    with ConsoleProgress() as progress, place as pool:
        if acts:
            theirs = pool.environment_spec(spec.env_id, spec.image_size)
            require_fits_environment(spec, theirs, dataset)
            pool.try_out(spec.env_id, spec.image_size)  # not after hours of imitation
        # Until here nothing is written; from here on the run is locked.
        run = Run(folder, config, dataset, pool, progress, stages=stages, ranks=ranks, start=start)
        with closed_and_reported(run):
            require_continues(folder, identity, store)
            state(run, identity, start)
            write_identity(folder, identity)
            if not store.spec.env_id:
                progress.say(_what_is_measured(store, config))
            if start:
                run.save()  # from here on the other run is not needed
            run_stages(run, stages)


def _follow(
    store: EpisodeStore,
    folder: Path,
    config: TrainingConfig,
    stages: Sequence[StageName],
    ranks: Ranks,
    start: Start | None,
) -> None:
    """What the processes after the first one do: their part of every update."""
    silent = SilentProgress()
    run = Run(folder, config, store.path, None, silent, stages=stages, ranks=ranks, start=start)
    try:
        run_stages(run, stages)
    finally:
        run.close()


def starting_from(
    given: str, run: Path, config: TrainingConfig, spec: DataSpec, with_critic: bool
) -> Start | None:
    """The networks that a new run starts from; None where it starts anew, or has started already.

    Args:
        given: run or checkpoint as the user named it; "" for none.
        run, config, spec: the folder of the new run, its configuration, and what its data hold.
        with_critic: take the critic along, where that has learned.

    Raises:
        ConfigError: they do not fit, or the run started from others.
        CheckpointError: there are none, or they are damaged.
    """
    if not given or require_same_start(run, given):
        return None
    start = read_start(given, find_checkpoint(Path(given)), with_critic=with_critic)
    require_start_fits(start, config, spec)
    return start


def _require_stages(stages: Sequence[StageName]) -> None:
    """Raise unless these are stages.

    Raises:
        ConfigError: there is none, or one of another name.
    """
    names = ", ".join(STAGES)
    if not stages:
        raise ConfigError(f"stages names no stage; choose among {names}")
    if isinstance(stages, str):
        raise ConfigError(f"stages is {stages!r}; give a list of stages, among {names}")
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise ConfigError(f"stages has {unknown[0]!r}; choose among {names}")


def _what_is_measured(store: EpisodeStore, config: TrainingConfig) -> str:
    """What takes the place of success rates where no environment is known."""
    share, successes = config.data.held_out, len(successful_episodes(store))
    split = in_words(successes, len(held_out_episodes(store, share, config.seed)), share)
    return f"this data names no environment: no success rates; {split}"


def _without_environment(
    config: TrainingConfig, store: EpisodeStore, stages: Sequence[StageName]
) -> TrainingConfig:
    """Training on data of which no simulator is known: nothing is evaluated.

    Raises:
        ConfigError: a stage needs robot episodes.
    """
    if "online_rl" in stages:
        offline = " ".join(stage for stage in STAGES if stage != "online_rl")
        raise ConfigError(
            f"'{store.path}' names no environment, and online_rl collects episodes in one; "
            f"train the other stages (--stages {offline}), or name it: softflow data bounds "
            f"{store.path} --env-id ENVIRONMENT"
        )
    return replace(config, eval_episodes=0, round_eval_episodes=0)
