"""How long one decision takes in a rollout, and its share of an episode's time."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.measuring import Row, Section, Spread, loops_for, measure
from benchmarks.synthetic import model_inputs
from softflow.data.data_spec import STATE_KEY
from softflow.envs.registry import make_env
from softflow.models.action_selection import ChunkSelector, SelectionConfig, SelectionRule
from softflow.models.value_distribution import ValueSupport
from softflow.training.config import TrainingConfig
from softflow.training.learner import build_critic, build_policy

RULES: tuple[SelectionRule, ...] = ("likelihood", "value")


def run(name: str, config: TrainingConfig, turns: int, env_id: str = "cube-single") -> Section:
    """Rows for a decision by likelihood, one by value, and a simulator step.

    Rollouts run on one CPU thread, whatever device the learner has; so does this.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _run(name, config, turns, env_id)
    finally:
        torch.set_num_threads(threads)


def _run(name: str, config: TrainingConfig, turns: int, env_id: str) -> Section:
    env = make_env(env_id)
    observation, _ = env.reset(seed=0)
    sizes = (len(observation[STATE_KEY]), len(env.neutral_action))
    inputs = model_inputs(config.model, *sizes)
    policy = build_policy(config.model, inputs).eval()
    critic = build_critic(config.model, inputs, ValueSupport(0.0, 1.0), policy).eval()
    chunk, num = config.model.chunk, config.execution_candidates
    seen = torch.from_numpy(observation[STATE_KEY]).expand(1, chunk.history_length, -1)
    prefix = torch.from_numpy(env.neutral_action).expand(1, chunk.prefix_length, -1)
    actions = np.random.default_rng(0)

    def step() -> None:
        action = actions.uniform(env.action_space.low, env.action_space.high)  # type: ignore
        *_, terminated, truncated, _ = env.step(action.astype(np.float32))
        if terminated or truncated:
            env.reset(seed=0)

    selectors = {
        rule: ChunkSelector(policy, critic, SelectionConfig(num, config.sampling_std, rule))
        for rule in RULES
    }
    variants = {
        rule: lambda selector=selector: selector({STATE_KEY: seen}, prefix)
        for rule, selector in selectors.items()
    } | {"step": step}
    loops = {key: loops_for(variant) for key, variant in variants.items()}
    timings = measure(variants, turns, loops=loops)
    env.close()
    title = f"A rollout at `{name}` size on {env_id}: N = {num}, one thread"
    rows = [
        Row(
            f"one decision by {rule}",
            timings.ms(rule),
            _share(timings.turns_ms[rule], timings.turns_ms["step"], chunk.execution_horizon),
            note=f"every {chunk.execution_horizon} control steps",
        )
        for rule in RULES
    ]
    rows.append(Row("one simulator step", timings.ms("step")))
    return Section(title, "share of time", rows)


def _share(decision_ms: np.ndarray, step_ms: np.ndarray, execution_horizon: int) -> Spread:
    return Spread.of(decision_ms / (decision_ms + execution_horizon * step_ms))
