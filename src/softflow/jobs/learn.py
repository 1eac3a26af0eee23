"""Learn from robots: a run goes on with episodes that arrive in a shared folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from softflow.data.action_space import require_fits_environment
from softflow.data.episode_store import EpisodeStore
from softflow.envs.registry import require_trusted_env
from softflow.errors import ConfigError
from softflow.jobs.acting_place import acting_place, few_on_robots
from softflow.jobs.consent import require_named_kinds, trust_environment
from softflow.jobs.ending import closed_and_reported
from softflow.jobs.targets import require_outside_stores, require_run_folder
from softflow.models.checkpoint import last_checkpoint
from softflow.robot.exchange.claiming import Claim
from softflow.robot.exchange_experience import ExchangeExperience
from softflow.training.config import STAGES, TrainingConfig
from softflow.training.continuing.changes import as_told
from softflow.training.continuing.history import read_history
from softflow.training.continuing.stating import state
from softflow.training.persistence import read_run_facts
from softflow.training.provenance import (
    identity_of,
    learned_from,
    require_continues,
    write_identity,
)
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.imports import trust
from softflow.utils.progress import ConsoleProgress

_NO_NETWORKS: Mapping[str, str] = MappingProxyType({})


def learn(
    run: str | os.PathLike[str],
    exchange: str | os.PathLike[str],
    *,
    continuous: bool = False,
    review: bool = False,
    dataset: str | os.PathLike[str] | None = None,
    env_id: str = "",
    device: str = "",
    networks: Mapping[str, str] = _NO_NETWORKS,
) -> Path:
    """Go on with a run: the stages that are not behind it, the online one on robots' episodes.

    Stopped or killed at any moment, the same call goes on; robots do not notice.

    Args:
        run: a run that `softflow train` has begun.
        exchange: the folder shared with the robots; made if the run has never used it.
        continuous: learn from all that is there, while robots go on (App. E); else in rounds: the
            ordered episodes, then the updates, as the paper does.
        review: every episode waits for a person to accept or label it.
        dataset: where the offline data are now, if they were moved.
        env_id: measure the policy in this environment, the one that the data name; "": nowhere.
        device: of the learner; "": as the run was configured.
        networks: networks of your own that the run has: "policy", "critic", "encoder" or "image"
            -> package.module:Class.

    Returns:
        The last checkpoint.

    Raises:
        SoftflowError: of many kinds, before anything is written where that can be known before.
    """
    folder, shared = Path(run), Path(exchange)
    trust(*filter(None, networks.values()))
    checkpoint = last_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise ConfigError(
            f"'{folder}' holds no run; begin one with the configuration and data that it shall "
            f"have: softflow train PRESET --dataset DATA --run {folder} --stages imitation"
        )
    config, _, position = read_run_facts(checkpoint)
    require_named_kinds(config.model, networks, checkpoint)
    told = read_history(folder).at(position["stage"], position["update_step"])
    config = as_told(config, told)
    config = _adapted(config, env_id, device)
    store = EpisodeStore.open(dataset or _dataset_of(folder))
    require_run_folder(folder, store.path)
    require_outside_stores(shared, "--exchange")
    trust_environment(store, env_id, "--env-id")
    if env_id:
        require_trusted_env(env_id)
        config = few_on_robots(config, env_id)
    _learn(folder, shared, store, config, continuous, review, env_id)
    return last_checkpoint(folder / "checkpoints") or checkpoint


def _adapted(config: TrainingConfig, env_id: str, device: str) -> TrainingConfig:
    """The run's configuration where it acts on robots: without a simulator nothing is measured."""
    if not env_id:
        config = replace(config, eval_episodes=0, round_eval_episodes=0)
    if device:
        config = replace(config, device=device)
    config.require_memory()
    return config


def _dataset_of(run: Path) -> Path:
    """The offline data of a run.

    Raises:
        ConfigError: its config.json does not say.
    """
    named = learned_from(run).get("dataset")
    if not isinstance(named, str) or not named:
        raise ConfigError(f"'{run}/config.json' names no dataset; say where it is: --dataset DATA")
    return Path(named)


def _learn(
    folder: Path,
    shared: Path,
    store: EpisodeStore,
    config: TrainingConfig,
    continuous: bool,
    review: bool,
    env_id: str,
) -> None:
    identity = identity_of(store.path, store, STAGES, config)
    require_continues(folder, identity, store)
    simulators = acting_place(env_id, config.num_workers) if env_id else nullcontext()
    with ConsoleProgress() as progress, simulators as pool:
        if pool is not None:
            theirs = pool.environment_spec(env_id, store.spec.image_size)
            require_fits_environment(store.spec, theirs, store.path)
            pool.try_out(env_id, store.spec.image_size)
        claim = Claim(folder, shared, store.spec, config.model.chunk)
        claim.require()
        copies, say = folder / "arriving", progress.say
        source = ExchangeExperience(claim, copies, say, continuous=continuous, review=review)
        run = Run(folder, config, store.path, pool, progress, source, STAGES)
        with closed_and_reported(run):
            require_continues(folder, identity, store)
            state(run, identity)
            write_identity(folder, identity)
            run_stages(run, STAGES)
            source.finish(run.save(), run.online.store.path)
