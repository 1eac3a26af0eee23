"""Measure one checkpoint in its environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from softflow.control.latency import Latency
from softflow.data.action_space import require_may_act
from softflow.deployment.decision_rule import Rule, decision_rule
from softflow.deployment.saved_policy import (
    SavedFacts,
    find_checkpoint,
    named_place,
    read_facts,
    run_of,
)
from softflow.envs.registry import is_robot
from softflow.errors import ConfigError
from softflow.jobs.acting_place import FEW, acting_place
from softflow.jobs.consent import environment_to_measure_in, require_named_kinds
from softflow.jobs.targets import require_outside_stores
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import stands_alone, weights_identity
from softflow.training import evaluation
from softflow.training.config.limits import MAX_CANDIDATES, MAX_EPISODES, MAX_WORKERS
from softflow.training.evaluation import EvaluationPlan, EvaluationResult
from softflow.training.hardware.devices import acting_device
from softflow.utils.documents import MAX_INTEGER
from softflow.utils.imports import trust
from softflow.utils.progress import ConsoleProgress

_BOUNDS = {
    "episodes": (1, MAX_EPISODES),
    "workers": (1, MAX_WORKERS),
    "seed": (0, MAX_INTEGER),
    "candidates": (0, MAX_CANDIDATES),
}
_NO_NETWORKS: Mapping[str, str] = MappingProxyType({})


def evaluate(
    checkpoint: str | os.PathLike[str],
    *,
    episodes: int | None = None,
    seed: int = 0,
    rule: Rule = "auto",
    candidates: int = 0,
    workers: int = 2,
    latency_ms: Sequence[float] = (0.0,),
    stop_to_think: bool = False,
    device: str = "auto",
    out: str | os.PathLike[str] | None = None,
    env: str = "",
    replace_env: bool = False,
    networks: Mapping[str, str] = _NO_NETWORKS,
) -> EvaluationResult:
    """Success rate of a checkpoint, or what its task declares; every episode is kept.

    Args:
        checkpoint: a checkpoint, a run folder: its newest one, or a `pretrained_model/` alone.
        episodes: how many; None: 100, and 5 of a robot.
        seed: same seed, same episodes, same result.
        rule: how a chunk is chosen: by critic ("value"), by "likelihood", or as it is deployed.
        candidates: chunks sampled a decision; 0 takes the configuration's number for its stage.
        workers: simulator processes; the result does not depend on it.
        latency_ms: how long after its observation a decision arrives, as on a robot: one number,
            or the two ends of a range drawn from for each; rounded up to control steps.
        stop_to_think: the robot stands still meanwhile, instead of going on with what is left of
            the decision before; for a policy without prefix actions.
        device: where the policy decides; "auto" is the CPU for one that reads states alone, and a
            GPU, if there is one, for one that looks through cameras.
        out: folder for the result; by default RUN/evaluations/extra of the checkpoint's run.
        env: the environment that the checkpoint names, if that is an import path
            (module:function): it runs code, so it is imported only if you name it here. One that
            gives the same observations, where the checkpoint names none.
        replace_env: measure in `env` although the checkpoint names another one.
        networks: networks of your own, in the same way: "policy", "critic", "encoder" or "image"
            -> package.module:Class.

    Raises:
        SoftflowError: of many kinds; nothing was measured.
    """
    _require_numbers(episodes=episodes, workers=workers, seed=seed, candidates=candidates)
    latency = Latency(*_ends(latency_ms), stops_to_think=stop_to_think)
    place = find_checkpoint(named_place(checkpoint))  # `last` may move on while this runs
    trust(*filter(None, networks.values()))
    facts = read_facts(place)
    _require_fits(facts, latency, networks, place)
    named = facts.spec.env_id
    acts_in = environment_to_measure_in(named, env, replace_env, place)
    facts = facts._replace(spec=replace(facts.spec, env_id=acts_in))
    folder = _folder_of_results(out, place)
    if episodes is None:
        episodes = FEW if is_robot(acts_in) else 100
    selection = _selection(place, facts, rule, candidates)
    label = _label(place, selection, seed, episodes, latency) + _elsewhere(named, acts_in)
    plan = _plan(place, label, facts, selection, episodes, seed, latency, device)
    return _measure(plan, folder, workers)


def _require_fits(
    facts: SavedFacts, latency: Latency, networks: Mapping[str, str], place: Path
) -> None:
    """Raise unless the policy can be measured like this.

    Raises:
        ConfigError: it cannot; says why.
    """
    if latency.stops_to_think:
        _require_may_stop(facts.config.model.chunk.prefix_length, place)
    require_named_kinds(facts.config.model, networks, place)


def _selection(place: Path, facts: SavedFacts, rule: Rule, candidates: int) -> SelectionConfig:
    """How a chunk is chosen; raises ConfigError as `decision_rule`."""
    critic, where = not stands_alone(place), str(place)
    how = (rule, facts.config, facts.progress, where)
    return decision_rule(*how, has_critic=critic, candidates=candidates)


def _folder_of_results(out: str | os.PathLike[str] | None, place: Path) -> Path:
    """Where the result goes.

    Raises:
        ConfigError: into an episode store, or nobody says where.
    """
    run = run_of(place)
    if out is None and run is None:
        raise ConfigError(
            f"'{place}' lies in no run to keep the result in; say where: --out FOLDER"
        )
    folder = run / "evaluations" / "extra" if out is None and run else Path(out or "")
    require_outside_stores(folder, "--out")
    return folder


def _plan(
    place: Path,
    label: str,
    facts: SavedFacts,
    selection: SelectionConfig,
    episodes: int,
    seed: int,
    latency: Latency,
    device: str,
) -> EvaluationPlan:
    spec, progress = facts.spec, facts.progress
    cameras = facts.config.model.encoder.cameras_among(spec.observation_shapes)
    return EvaluationPlan(
        label=label,
        stage=progress.stage,
        checkpoint=place,
        selection=selection,
        spec=spec,
        num_episodes=episodes,
        seed=seed,
        update_step=progress.update_step,
        online_episodes=facts.online_episodes,
        robot_steps=facts.robot_steps,
        latency=latency,
        device=acting_device(device, bool(cameras)),
    )


def _ends(latency_ms: Sequence[float]) -> tuple[float, float]:
    """Both ends of the range that one or two numbers mean."""
    if len(latency_ms) not in (1, 2):
        raise ConfigError(
            f"latency_ms has {len(latency_ms)} numbers; give one, or the two ends of a range"
        )
    return latency_ms[0], latency_ms[-1]


def _require_may_stop(prefix_length: int, checkpoint: Path) -> None:
    """Raise unless stopping to think means something for this policy.

    Raises:
        ConfigError: it was trained to go on while it thinks.
    """
    if prefix_length:
        raise ConfigError(
            f"stop_to_think: the policy of '{checkpoint}' has prefix_length {prefix_length}, which "
            "it executes while it thinks; leave it out, or give a policy trained without prefix"
        )


def _label(
    checkpoint: Path, selection: SelectionConfig, seed: int, episodes: int, latency: Latency
) -> str:
    """What the result is called: everything that decides it."""
    name = f"{checkpoint.name}-{weights_identity(checkpoint)[:8]}"
    label = f"{name}-{selection.rule}-{selection.num_candidates}-seed{seed}-n{episodes}"
    return f"{label}-latency{latency}" if latency else label


def _elsewhere(named: str, acts_in: str) -> str:
    """What the label says of an environment that the checkpoint does not name."""
    return f"-in-{re.sub(r'[^A-Za-z0-9.]+', '-', acts_in)}" if acts_in != named else ""


def _require_numbers(**given: int | None) -> None:
    """Raise unless every number that is given can be.

    Raises:
        ConfigError: names it, its value and its bounds.
    """
    for name, number in given.items():
        least, most = _BOUNDS[name]
        if number is not None and not least <= number <= most:
            raise ConfigError(f"{name} is {number:,}; it must be >= {least} and <= {most:,}")


def _measure(plan: EvaluationPlan, folder: Path, workers: int) -> EvaluationResult:
    spec = plan.spec
    with ConsoleProgress() as progress, acting_place(spec.env_id, workers) as pool:
        theirs = pool.environment_spec(spec.env_id, spec.image_size)
        require_may_act(spec, theirs, plan.checkpoint)
        folder.mkdir(parents=True, exist_ok=True)
        return evaluation.evaluate(pool, folder, plan, progress)
