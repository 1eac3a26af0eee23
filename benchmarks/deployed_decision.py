"""What a decision costs through `softflow.load_policy`, beside the same one in a rollout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import Row, Section, loops_for, measure
from benchmarks.synthetic import statistics
from softflow.control.acting import ActingEpisode
from softflow.control.observation_checks import ObservationChecks
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.deployment.deployed_policy import DeployedPolicy
from softflow.envs.answers import checked_observation
from softflow.envs.contract import RobotEnv, data_spec
from softflow.envs.registry import make_env
from softflow.models.action_selection import (
    ChunkSelector,
    EpisodeDecisions,
    SelectionConfig,
    SelectionRule,
)
from softflow.models.inputs import ModelInputs
from softflow.models.value_distribution import ValueSupport
from softflow.training.config import TrainingConfig
from softflow.training.learner import build_critic, build_policy

RULES: tuple[SelectionRule, ...] = ("likelihood", "value")


def run(name: str, config: TrainingConfig, turns: int, env_id: str = "cube-single") -> Section:
    """Rows for the control steps of one decision, by both rules, checks included on both sides."""
    chunk, num = config.model.chunk, config.execution_candidates
    env = make_env(env_id)
    with _one_thread():
        variants: dict[str, Callable[[], None]] = {}
        for rule in RULES:
            selector = _selector(config, data_spec(env, env_id), rule)
            variants[f"rollout, {rule}"] = _in_rollout(env, selector)
            variants[f"load_policy, {rule}"] = _deployed(data_spec(env, env_id), selector)
        loops = {key: loops_for(variant) for key, variant in variants.items()}
        timings = measure(variants, turns, loops=loops)
    env.close()
    rows: list[Row] = []
    for rule in RULES:
        ours, theirs = f"load_policy, {rule}", f"rollout, {rule}"
        rows.append(Row(theirs, timings.ms(theirs)))
        rows.append(Row(ours, timings.ms(ours), timings.ratio(ours, theirs), "≤ 1.05"))
    steps = f"one decision and its {chunk.execution_horizon} control steps"
    title = f"Acting at `{name}` size on states of {env_id}: {steps}, N = {num}, one thread"
    return Section(title, "÷ rollout", rows)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As rollouts run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _selector(config: TrainingConfig, spec: DataSpec, rule: SelectionRule) -> ChunkSelector:
    shapes = spec.observation_shapes
    seen = statistics(shapes[STATE_KEY][0], spec.action_dim)
    inputs = ModelInputs(config.model.chunk, seen, shapes)
    policy = build_policy(config.model, inputs).eval()
    critic = build_critic(config.model, inputs, ValueSupport(0.0, 1.0), policy).eval()
    selection = SelectionConfig(config.execution_candidates, config.sampling_std, rule)
    return ChunkSelector(policy, critic, selection)


def _observation(spec: DataSpec) -> dict[str, np.ndarray]:
    return {STATE_KEY: np.zeros(spec.observation_shapes[STATE_KEY], np.float32)}


def _in_rollout(env: RobotEnv, selector: ChunkSelector) -> Callable[[], None]:
    """The control steps of a decision as `training.rollouts` takes them, without the simulator."""
    spec, chunk = data_spec(env, ""), selector.policy.inputs.chunk
    low, high = (np.asarray(bound, np.float32) for bound in (spec.action_low, spec.action_high))
    decide = EpisodeDecisions(
        selector, torch.Generator().manual_seed(0), (low, high), "a benchmark"
    )
    acting = ActingEpisode(chunk, env.neutral_action, decide)
    observation = _observation(spec)

    def steps() -> None:
        for _ in range(chunk.execution_horizon):
            acting.act(checked_observation(env, observation, "a benchmark"))

    return steps


def _deployed(spec: DataSpec, selector: ChunkSelector) -> Callable[[], None]:
    inputs = selector.policy.inputs
    checks = ObservationChecks(spec, [STATE_KEY], inputs.statistics)
    policy = DeployedPolicy(selector, spec, checks, Path(), 0)
    policy.reset()
    observation = _observation(spec)

    def steps() -> None:
        for _ in range(inputs.chunk.execution_horizon):
            policy.act(observation)

    return steps
