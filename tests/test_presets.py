"""The presets hold the paper's numbers, and configurations refuse what makes no sense."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from typing import Any

import pytest

from softflow.errors import ConfigError
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.presets import PRESETS, paper, preset
from softflow.training.config import STAGES, TrainingConfig
from softflow.training.persistence import config_from_json, config_to_json

BOTH: dict[str, Any] = {
    # III and Eq. 7: chunks are executed whole; IV-E
    "model.chunk.chunk_length": 10,
    "model.chunk.execution_horizon": 10,
    "model.chunk.history_length": 1,
    "sampling_std": 0.7,
    "offline_rl.bc_coef": 0.1,
    "online_rl.bc_coef": 0.1,
    "online_rl.bc_decay": 1.0,
    # App. C1
    "model.policy.num_layers": 16,
    "model.policy.dim": 256,
    "model.policy.num_heads": 8,
    "model.policy.mlp_dim": 768,
    "model.policy.head_hidden_dim": 512,
    "model.encoder.token_dim": 512,
    "model.critic.dim": 512,
    "model.critic.num_heads": 8,
    "model.critic.num_layers": 3,
    "model.critic.mlp_dim": 256,
    "model.critic.dropout": 0.1,
    "model.critic.num_critics": 2,
    "model.critic.num_bins": 101,
    "model.critic.learns": "hl_gauss",  # IV-C
    # App. C2
    "imitation.batch_size": 256,
    "imitation.learning_rate": 1e-4,
    "critic_warmup.num_updates": 5_000,
    "critic_warmup.target_candidates": 1,
    "critic_warmup.batch_size": 48,
    "critic_warmup.learning_rate": 2e-4,
    "critic_warmup.dropout": 0.1,
    "offline_rl.batch_size": 48,
    "offline_rl.learning_rate": 2e-4,
    "offline_rl.dropout": 0.1,
    "online_rl.batch_size": 48,
    "online_rl.learning_rate": 2e-4,
    "online_rl.dropout": 0.1,
    "online_rl.num_updates": 500,
    "online_rl.num_rounds": 5,
    "online_rl.episodes_per_round": 10,
    "model.critic.combine": "minimum",  # Alg. 2
    "offline_rl.value_coef": 1.0,  # Alg. 3, III
    "online_rl.value_coef": 1.0,
    "discount": 0.997,
    "tau": 0.05,
    "weight_decay": 1e-4,
    # nothing that the paper does not mention
    "critic_noise_std": 0.0,
    "imitation.learning_rate_decay": 0.0,
    "critic_warmup.learning_rate_decay": 0.0,
    "offline_rl.learning_rate_decay": 0.0,
    "online_rl.learning_rate_decay": 0.0,
}
SIMULATION: dict[str, Any] = {
    "model.chunk.prefix_length": 0,
    "imitation.num_updates": 30_000,  # App. C2
    "imitation.dropout": 0.5,  # App. C2
    "offline_rl.num_updates": 235_000,  # V-A: 270k in all
    "offline_rl.actor_candidates": 128,  # App. C2
    "offline_rl.target_candidates": 128,
    "online_rl.actor_candidates": 128,
    "online_rl.target_candidates": 128,
    "execution_candidates": 128,  # App. C2
    "rl_execution_candidates": None,
    "online_rl.mixing": "fixed",  # App. C2
    "online_rl.offline_ratio": 0.5,
    "noise_std": 0.05,  # IV-E
    "eval_episodes": 100,  # V-A
    "round_eval_episodes": 0,
}
SCISSORS: dict[str, Any] = {
    "model.chunk.prefix_length": 3,  # Fig. 7, App. A3
    "imitation.num_updates": 200_000,  # App. C2
    "imitation.dropout": 0.2,  # App. C2
    "offline_rl.num_updates": 1_000,  # V-B
    "offline_rl.actor_candidates": 24,  # App. C2
    "offline_rl.target_candidates": 24,
    "online_rl.actor_candidates": 24,
    "online_rl.target_candidates": 24,
    "execution_candidates": 64,  # App. C2
    "rl_execution_candidates": 24,  # App. C2
    "online_rl.mixing": "by_size",  # App. C2
    "online_rl.offline_weight": 0.5,
    "noise_std": 0.01,  # IV-E
    "eval_episodes": 10,  # V-B
    "round_eval_episodes": 10,  # Fig. 4
}
RESNET18: dict[str, Any] = {  # V-A, App. C1
    "model.encoder.kind": "mixed",
    "model.encoder.image.kind": "resnet18",
    "model.encoder.image.finetune": "full",
    "model.encoder.image.norm": "batch",
}
DINOV2: dict[str, Any] = {  # V-B, App. C1
    "model.encoder.kind": "mixed",
    "model.encoder.image.kind": "dinov2",
    "model.encoder.image.finetune": "frozen",
    "model.encoder.image.resize": (224, 224),
}
PAPER = [
    *(("robomimic-image", *item) for item in (BOTH | SIMULATION | RESNET18).items()),
    *(("robomimic-state", *item) for item in (BOTH | SIMULATION).items()),
    *(("scissors", *item) for item in (BOTH | SCISSORS | DINOV2).items()),
]
PAPER_PRESETS = ["robomimic-image", "robomimic-state", "scissors"]
NOT_OF_THE_PAPER = {
    "model.policy.split_seed",
    "model.encoder.hidden_dim",
    "model.encoder.state_tokens",
    "model.encoder.states",
    "model.encoder.cameras",  # those of the data
    "model.encoder.image.weights",
    "model.encoder.image.resize",
    "model.encoder.image.recompute",
    "critic_warmup.converged_within",  # 0: the paper counts updates
    "imitation.imitates",
    "offline_rl.imitates",
    "online_rl.imitates",
    "online_rl.critic_rounds",  # 0; V-C's critic has its own stage before
    "online_rl.exploration_std",
    "online_rl.collection_std",
    "online_rl.collection_candidates",
    "imitation.take_over_weight",
    "offline_rl.take_over_weight",
    "online_rl.take_over_weight",
    # The paper's critic reads the whole chunk, of data where E = H; see the guide's deviations.
    "model.critic.reads",
    "model.critic.value_low",
    "model.critic.value_high",
    "seed",
    "num_workers",
    "device",
    "rollout_device",
    "precision",
    "compile",
    "checkpoint_interval_s",
    "keep_checkpoints",
}


def value_at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


def changed(config: Any, path: str, value: Any) -> Any:
    """The configuration with one value, given by its dotted name, replaced."""
    name, _, rest = path.partition(".")
    return replace(config, **{name: changed(getattr(config, name), rest, value) if rest else value})


@pytest.mark.parametrize(("name", "path", "value"), PAPER)
def test_a_paper_preset_has_the_numbers_of_its_sections(name: str, path: str, value: Any) -> None:
    assert value_at(preset(name), path) == value


@pytest.mark.parametrize("name", PAPER_PRESETS)
def test_every_number_of_a_paper_preset_is_held_or_not_the_papers(name: str) -> None:
    config = preset(name)
    held = {path for whose, path, _ in PAPER if whose == name} | NOT_OF_THE_PAPER
    unused = "offline_weight" if config.online_rl.mixing == "fixed" else "offline_ratio"
    free = ("model.actions.", "data.")
    others = [path for path in leaves(config) if not path.startswith(free)]
    assert set(others) - held == {f"online_rl.{unused}"}


def test_every_number_of_a_paper_preset_names_its_section() -> None:
    """Above it or beside it, whatever it is set to."""
    networks = (paper._networks, paper._robomimic_networks, paper._scissors_networks)
    for builder in (*networks, paper.robomimic_image, paper.scissors):
        lines = inspect.getsource(builder).splitlines()
        for before, line in pairwise(lines):
            if re.match(r"\s+\w+=([\d.\"_e-]+|\"\w+\"|None),", line):
                said = line.partition("#")[2] or before.strip().removeprefix("#")
                assert re.search(r"silent|as offline|IV-|V-|App\.|Alg\.|Eq\.|Fig\.", said), line


def test_the_robot_acts_with_other_numbers_of_candidates_after_imitation() -> None:
    config = preset("scissors")
    assert [config.candidates_after(stage) for stage in STAGES] == [64, 24, 24, 24]
    small = preset("small")
    assert [small.candidates_after(stage) for stage in STAGES] == [16] * 4


@pytest.mark.parametrize("name", ["paper", "paper-sim", "paper-real"])
def test_an_earlier_name_says_what_it_is_called_now(name: str) -> None:
    with pytest.raises(ConfigError, match=rf'"{name}" is now (robomimic-state|scissors)'):
        preset(name)


def test_from_state_and_from_pixels_differ_in_the_encoder_alone() -> None:
    for images, state in (("robomimic-image", "robomimic-state"), ("small-image", "softflow-plus")):
        seeing, blind = preset(images), preset(state)
        model = replace(seeing.model, encoder=blind.model.encoder)
        assert replace(seeing, model=model) == blind
        assert isinstance(blind.model.encoder, StateMlpConfig)
        assert seeing.model.encoder.token_dim == blind.model.encoder.token_dim


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_new_each_time_and_survive_json(name: str) -> None:
    value = json.loads(json.dumps(config_to_json(preset(name))))
    assert config_from_json(TrainingConfig, value, name) == preset(name)


def test_demo_learns_as_softflow_plus() -> None:
    plus, demo = preset("softflow-plus"), preset("demo")
    differing = {f.name for f in fields(demo) if getattr(demo, f.name) != getattr(plus, f.name)}
    assert differing == {"eval_episodes", "checkpoint_interval_s"}


@pytest.mark.parametrize("name", ["small", "softflow-plus", "demo"])
def test_the_online_budget_is_at_most_100_episodes(name: str) -> None:
    online = preset(name).online_rl
    assert online.num_rounds * online.episodes_per_round <= 100


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"choose one of softflow-plus, .*robomimic-image"):
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
    ("rl_execution_candidates", 0),
    ("num_workers", 0),
    ("seed", -1),
    ("seed", 2**63),
    ("sampling_std", float("inf")),
    ("checkpoint_interval_s", float("nan")),
    ("offline_rl.bc_coef", float("inf")),
    ("offline_rl.value_coef", -1.0),
    ("offline_rl.value_coef", float("inf")),
    ("online_rl.value_coef", float("nan")),
    ("model.critic.combine", "median"),
    ("model.critic.learns", "hl_gaus"),
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
    ("online_rl.offline_weight", -0.5),
    ("online_rl.offline_weight", float("inf")),
    ("online_rl.mixing", "by size"),
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
    assert {path for path, _ in BAD} <= set(leaves(preset("small")))
    for name in PAPER_PRESETS:
        held = {path for whose, path, _ in PAPER if whose == name and not path.endswith(".kind")}
        assert held <= set(leaves(preset(name)))
