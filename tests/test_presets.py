"""The presets hold the paper's numbers, and configurations refuse what makes no sense."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from softflow.errors import ConfigError
from softflow.presets import PRESETS, preset
from softflow.training.config import TrainingConfig
from softflow.training.persistence import config_from_json, config_to_json

PAPER: dict[str, Any] = {
    # IV-E and V-A
    "model.chunk.chunk_length": 10,
    "model.chunk.execution_horizon": 10,
    "noise_std": 0.05,
    "sampling_std": 0.7,
    "offline_rl.bc_coef": 0.1,
    "eval_episodes": 100,
    # V-B: rounds of 10 episodes and 500 updates
    "critic_warmup.num_updates": 5_000,
    "offline_rl.num_updates": 1_000,
    "online_rl.num_updates": 500,
    "online_rl.num_rounds": 5,
    "online_rl.episodes_per_round": 10,
    # App. C1
    "model.policy.num_layers": 16,
    "model.policy.dim": 256,
    "model.policy.num_heads": 8,
    "model.policy.mlp_dim": 768,
    "model.policy.head_hidden_dim": 512,
    "model.critic.dim": 512,
    "model.critic.num_heads": 8,
    "model.critic.num_layers": 3,
    "model.critic.mlp_dim": 256,
    "model.critic.dropout": 0.1,
    "model.critic.num_critics": 2,
    "model.critic.num_bins": 101,
    # App. C2
    "imitation.num_updates": 30_000,
    "imitation.learning_rate": 1e-4,
    "imitation.dropout": 0.5,
    "critic_warmup.learning_rate": 2e-4,
    "critic_warmup.batch_size": 48,
    "critic_warmup.target_candidates": 1,
    "offline_rl.dropout": 0.1,
    "online_rl.actor_candidates": 24,
    "online_rl.target_candidates": 24,
    "online_rl.offline_ratio": 0.5,
    "discount": 0.997,
    "tau": 0.05,
    "weight_decay": 1e-4,
    "execution_candidates": 128,
}


def value_at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


def changed(config: Any, path: str, value: Any) -> Any:
    """The configuration with one value, given by its dotted name, replaced."""
    name, _, rest = path.partition(".")
    return replace(config, **{name: changed(getattr(config, name), rest, value) if rest else value})


@pytest.mark.parametrize(("path", "value"), PAPER.items())
def test_paper_has_the_numbers_of_the_paper(path: str, value: Any) -> None:
    assert value_at(preset("paper"), path) == value


def test_paper_is_the_method_of_the_paper_without_additions() -> None:
    config = preset("paper")
    assert (config.model.chunk.prefix_length, config.model.chunk.history_length) == (0, 1)
    assert config.online_rl.bc_decay == 1.0
    assert config.critic_noise_std == 0.0


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_new_each_time_and_survive_json(name: str) -> None:
    value = json.loads(json.dumps(config_to_json(preset(name))))
    assert config_from_json(TrainingConfig, value, name) == preset(name)


def test_demo_is_small_with_other_budgets() -> None:
    small, demo = preset("small"), preset("demo")
    assert demo.model == small.model
    differing = {f.name for f in fields(demo) if getattr(demo, f.name) != getattr(small, f.name)}
    assert differing <= {
        "imitation",
        "critic_warmup",
        "offline_rl",
        "online_rl",
        "eval_episodes",
        "round_eval_episodes",
        "checkpoint_interval_s",
    }


@pytest.mark.parametrize("name", ["small", "demo"])
def test_the_online_budget_is_at_most_100_episodes(name: str) -> None:
    online = preset(name).online_rl
    assert online.num_rounds * online.episodes_per_round <= 100


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="choose one of paper, small, demo"):
        preset("samll")


BAD = [
    ("discount", 0.0),
    ("discount", 1.1),
    ("tau", 0.0),
    ("tau", 1.5),
    ("weight_decay", -1e-4),
    ("noise_std", -0.1),
    ("noise_std", float("nan")),
    ("sampling_std", -1.0),
    ("execution_candidates", 0),
    ("num_workers", 0),
    ("seed", -1),
    ("seed", 2**63),
    ("sampling_std", float("inf")),
    ("checkpoint_interval_s", float("nan")),
    ("offline_rl.bc_coef", float("inf")),
    ("eval_episodes", -1),
    ("round_eval_episodes", -1),
    ("imitation.num_updates", -1),
    ("imitation.batch_size", 0),
    ("imitation.learning_rate", 0.0),
    ("imitation.learning_rate", float("nan")),
    ("imitation.learning_rate", float("inf")),
    ("imitation.dropout", 1.0),
    ("imitation.dropout", -0.1),
    ("critic_warmup.target_candidates", 0),
    ("offline_rl.bc_coef", -0.1),
    ("offline_rl.actor_candidates", 0),
    ("online_rl.num_rounds", -1),
    ("online_rl.episodes_per_round", 0),
    ("online_rl.offline_ratio", 1.1),
    ("online_rl.bc_decay", 0.0),
    ("model.chunk.chunk_length", 0),
    ("model.chunk.execution_horizon", 99),
    ("model.chunk.prefix_length", -1),
    ("model.chunk.history_length", 0),
    ("model.policy.dim", 15),
    ("model.policy.num_layers", 0),
    ("model.encoder.token_dim", 32),
    ("model.critic.num_heads", 7),
    ("model.critic.dropout", 1.0),
    ("model.critic.num_bins", 1),
]


@pytest.mark.parametrize(("path", "value"), BAD, ids=lambda item: str(item))
def test_a_value_that_makes_no_sense_is_refused_with_its_name(path: str, value: Any) -> None:
    field = path.rpartition(".")[2]
    with pytest.raises(ConfigError, match=rf"{field}.*{value}"):
        changed(preset("small"), path, value)


def leaves(config: Any, where: str = "") -> list[str]:
    """Dotted names of all settings."""
    names: list[str] = []
    for item in fields(config):
        value = getattr(config, item.name)
        name = f"{where}{item.name}"
        names += leaves(value, f"{name}.") if is_dataclass(value) else [name]
    return names


def test_every_number_of_a_run_is_in_its_configuration() -> None:
    """A guard for the test above: it should know the settings that exist."""
    known = set(leaves(preset("small")))
    assert {path for path, _ in BAD} | set(PAPER) <= known
