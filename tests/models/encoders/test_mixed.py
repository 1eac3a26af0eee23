"""Cameras and low-dimensional keys as tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.errors import ConfigError, DataError
from softflow.models.critic import CriticEnsemble
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoder import EncoderConfig, ObservationEncoder
from softflow.models.encoders.mixed import MixedConfig, MixedEncoder
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.images.backbone import ImageConfig
from softflow.models.images.resnet18 import ResNet18Config
from softflow.models.images.sharing import frozen_backbones, share_frozen, shares_frozen
from softflow.models.images.timm_backbone import TimmConfig
from softflow.models.inputs import ModelInputs
from softflow.models.network_kit import check_critic, check_policy, example_inputs
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policies.flow_policy import FlowPolicy
from softflow.models.value_distribution import ValueSupport
from softflow.training.config import ModelConfig
from softflow.training.persistence import config_from_json, config_to_json

FRONT, WRIST = "observation.images.front", "observation.images.wrist"
CAMERAS = {FRONT: (64, 64, 3), WRIST: (96, 64, 3)}
FROZEN = TimmConfig(name="test_resnet")
TRAINED = replace(FROZEN, finetune="full")
CHUNK = ChunkSpec(5, 4, prefix_length=2, history_length=2)


def inputs_of(chunk: ChunkSpec = CHUNK) -> ModelInputs:
    return example_inputs(chunk, image_shapes=CAMERAS)


def config_of(**changes: Any) -> MixedConfig:
    return replace(MixedConfig(8, image=FROZEN, hidden_dim=7, state_tokens=2), **changes)


def observation_of(rows: int = 2, seed: int = 0, history: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    seen: dict[str, Tensor] = {STATE_KEY: torch.randn(rows, history, 6, generator=generator)}
    for key, shape in CAMERAS.items():
        size = (rows, history, *shape)
        seen[key] = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    return seen


@pytest.mark.parametrize("image", [FROZEN, TRAINED, ResNet18Config(norm="group")])
def test_each_token_has_its_own_part_of_the_observation(image: ImageConfig) -> None:
    """2 of the state, then cameras in order, frames oldest first; the prefix stands behind."""
    encoder = ObservationEncoder(inputs_of(), config_of(image=image)).eval()
    assert encoder.num_tokens == 2 + 2 * (4 + 6) + 2
    seen, prefix = observation_of(), torch.randn(2, 2, 2)
    tokens = encoder(seen, prefix)
    assert tokens.shape == (2, 24, 8)
    places = {
        (STATE_KEY, 0): range(2),
        (FRONT, 0): range(2, 6),
        (FRONT, 1): range(6, 10),
        (WRIST, 0): range(10, 16),
        (WRIST, 1): range(16, 22),
    }
    for (key, step), place in places.items():
        other = {name: value.clone() for name, value in seen.items()}
        other[key][:, step] = observation_of(seed=1)[key][:, step]
        changed = (encoder(other, prefix) != tokens).any(-1)
        assert changed.all(0).nonzero().flatten().tolist() == list(place)
        assert changed.any(0).nonzero().flatten().tolist() == list(place)


def test_cameras_and_steps_are_told_apart() -> None:
    """The same picture everywhere gives tokens that differ by camera and step alone."""
    encoder = MixedEncoder(inputs_of(), config_of(states=(), cameras=("front",)))
    seen = observation_of()
    seen[FRONT][:, 1] = seen[FRONT][:, 0]
    first, second = encoder(seen).chunk(2, dim=1)
    step = encoder.frame_position[1] - encoder.frame_position[0]
    torch.testing.assert_close(second - first, step.expand_as(first), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        encoder.camera_type.add_(1)
    torch.testing.assert_close(encoder(seen)[:, :4], first + 1, rtol=1e-4, atol=1e-5)


def test_features_are_as_good_as_pixels() -> None:
    """What a cache hands over gives the same tokens, for policy and critic, to 1e-5."""
    inputs, config = inputs_of(), config_of()
    policy = FlowPolicy(inputs, FlowConfig(2, 8, 2, 12, 10), config).eval()
    critic_config = TransformerCriticConfig(dim=8, num_heads=2, num_layers=1, mlp_dim=8)
    critic = CriticEnsemble(inputs, ValueSupport(0.0, 1.0), critic_config, config).eval()
    assert not shares_frozen(policy.encoder, critic.encoder)
    share_frozen(policy.encoder, critic.encoder)
    assert shares_frozen(policy.encoder, critic.encoder)
    seen, prefix = observation_of(), torch.randn(2, 2, 2)
    features = policy.encoder.with_frozen_features(seen)
    assert features[FRONT].shape == (2, 2, 4, frozen_dim(policy))
    assert features[STATE_KEY] is seen[STATE_KEY]
    assert seen[FRONT].dtype == torch.uint8, "the observation itself is left as it is"
    for encoder in (policy.encoder, critic.encoder):
        gap = (encoder(features, prefix) - encoder(seen, prefix)).abs().max()
        assert gap <= 1e-5
    assert policy.encoder.with_frozen_features(features)[WRIST] is features[WRIST]


def frozen_dim(policy: FlowPolicy) -> int:
    [backbone] = frozen_backbones(policy).values()
    return backbone.feature_dim


def test_a_trained_backbone_keeps_its_pixels() -> None:
    encoder = MixedEncoder(inputs_of(), config_of(image=TRAINED))
    seen = observation_of()
    assert encoder.with_frozen_features(seen)[FRONT] is seen[FRONT]
    assert len(encoder.backbones) == 2, "one a camera"
    assert len(MixedEncoder(inputs_of(), config_of()).backbones) == 1, "frozen: one for all"


def test_a_projection_stands_where_widths_differ() -> None:
    same = MixedEncoder(inputs_of(), config_of(token_dim=512, image=ResNet18Config()))
    assert isinstance(same.projections[0], nn.Identity)
    other = MixedEncoder(inputs_of(), config_of(image=ResNet18Config()))
    assert isinstance(other.projections[0], nn.Linear)
    frozen = replace(ResNet18Config(), finetune="frozen")
    assert isinstance(
        MixedEncoder(inputs_of(), config_of(token_dim=512, image=frozen)).projections[0], nn.Linear
    )


@pytest.mark.parametrize("image", [FROZEN, TRAINED])
def test_the_kits_accept_it(image: ImageConfig) -> None:
    config = config_of(image=image)
    check_policy(FlowPolicy(inputs_of(), FlowConfig(2, 8, 2, 12, 10), config))
    critic_config = TransformerCriticConfig(dim=8, num_heads=2, num_layers=1, mlp_dim=8)
    critic = CriticEnsemble(inputs_of(), ValueSupport(0.0, 1.0), critic_config, config)
    check_critic(critic, inputs_of())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": ("frnt",)}, r'no "observation.images.frnt", which encoder.cameras names; did'),
        ({"cameras": ("top",)}, "choose among observation.images.front, observation.images.wrist"),
        ({"states": ("observation.stat",)}, r'did you mean "observation\.state"\?'),
    ],
)
def test_what_the_data_lack_is_named(changes: dict[str, Any], message: str) -> None:
    shapes = inputs_of().observation_shapes
    with pytest.raises(ConfigError, match=message):
        config_of(**changes).keys_among(shapes)
    with pytest.raises(ConfigError, match=message):
        MixedEncoder(inputs_of(), config_of(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": (), "cameras": ()}, "are empty; name what it reads"),
        ({"cameras": ("front", FRONT)}, f"names {FRONT} twice"),
        ({"states": (FRONT,)}, "put it into cameras"),
        ({"state_tokens": 0}, "encoder.state_tokens is 0"),
    ],
)
def test_configurations_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**changes)


def test_data_without_cameras_are_told() -> None:
    blind = example_inputs(CHUNK)
    with pytest.raises(ConfigError, match="the data have no camera"):
        MixedEncoder(blind, config_of())
    assert MixedEncoder(blind, config_of(cameras=())).num_tokens == 2


@pytest.mark.parametrize(
    "seen", [torch.zeros(2, 2, 64, 64, 3), torch.zeros(2, 2, 4, dtype=torch.uint8)]
)
def test_frames_of_another_type_are_refused(seen: Tensor) -> None:
    encoder = MixedEncoder(inputs_of(), config_of())
    with pytest.raises(DataError, match=r"front came as .*give uint8 frames"):
        encoder(observation_of() | {FRONT: seen})


@pytest.mark.parametrize(
    "encoder",
    [
        config_of(),
        config_of(cameras=("wrist", "front"), states=()),
        config_of(cameras=(), states=(STATE_KEY, "observation.eef_pos")),
        config_of(image=ResNet18Config(weights="a.pth", resize=(84, 90), norm="group")),
        StateMlpConfig(16, 8, 2),
    ],
)
def test_nested_kinds_are_read_back(encoder: EncoderConfig) -> None:
    critic = TransformerCriticConfig(dim=encoder.token_dim, num_heads=2)
    model = ModelConfig(CHUNK, encoder=encoder, critic=critic)
    assert config_from_json(ModelConfig, config_to_json(model), "here") == model
