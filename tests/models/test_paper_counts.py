"""The paper's parameter counts (App. C1), in whole policies and critics that see."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from softflow.models.critic import CriticEnsemble
from softflow.models.encoders.mixed import MixedConfig, MixedEncoder
from softflow.models.images.resnet18 import ResNet18Config
from softflow.models.network_kit import example_inputs
from softflow.models.policies.flow_policy import FlowPolicy
from softflow.models.value_distribution import ValueSupport
from softflow.presets import robomimic_image

RESNET18, FLOW_LAYER, CRITIC = 11_176_512, 3_283_904, 3_999_077


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("action_dim", [7, 24])
def test_of_the_simulated_tasks(action_dim: int) -> None:
    """Two cameras of 84x84, 16 flow layers, two critics; policy and critic own an encoder each."""
    model = robomimic_image().model
    config = MixedConfig(token_dim=512, image=ResNet18Config())
    cameras = {f"observation.images.img{i}": (84, 84, 3) for i in range(2)}
    inputs = example_inputs(model.chunk, action_dim=action_dim, image_shapes=cameras)
    policy = FlowPolicy(inputs, model.policy, config)
    assert count(policy.flow) == 16 * (FLOW_LAYER + 1_282 * action_dim)
    critic = CriticEnsemble(inputs, ValueSupport(0.0, 1.0), model.critic, config)
    of_actions = 512 * (action_dim + model.chunk.chunk_length + 1)
    assert count(critic) - count(critic.encoder) == 2 * (CRITIC + of_actions)
    for encoder in (policy.encoder, critic.encoder):
        assert isinstance(encoder.observation, MixedEncoder)
        images = encoder.observation.backbones
        assert [count(backbone) for backbone in images] == [RESNET18, RESNET18]
        # The rest is the encoder's own: the MLP of the state (6 -> 512 -> 4 tokens), cameras,
        # frames, positions of 4 + 2 * 9 tokens, and the last norm.
        own = 512 * 7 + 513 * 4 * 512 + 512 * (2 + 1 + 22 + 2)
        assert count(encoder) == 2 * RESNET18 + own
    assert count(policy) == count(policy.flow) + count(policy.encoder)


def test_a_frozen_backbone_is_never_trained_and_counts_once() -> None:
    config = MixedConfig(token_dim=512, image=replace(ResNet18Config(), finetune="frozen"))
    cameras = {f"observation.images.img{i}": (84, 84, 3) for i in range(2)}
    encoder = MixedEncoder(example_inputs(image_shapes=cameras), config)
    assert count(encoder.backbones) == RESNET18 == config.frozen_parameters
    assert not any(parameter.requires_grad for parameter in encoder.backbones.parameters())
    assert config.least_parameters == config.state_mlp.least_parameters
