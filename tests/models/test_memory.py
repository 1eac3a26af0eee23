"""Networks that no memory holds are refused before they are built, whatever makes them large."""

from __future__ import annotations

from dataclasses import replace

import pytest

from softflow.errors import ConfigError
from softflow.models import memory
from softflow.models.critic import CriticConfig
from softflow.models.critics.mlp_critic import MlpCriticConfig
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoder import EncoderConfig
from softflow.models.encoders.mixed import MixedConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.images.dinov2 import DinoV2Config
from softflow.models.kinds import MAX_WIDTH
from softflow.models.memory import require_memory_for_networks
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policies.mlp_flow import MlpFlowConfig
from softflow.models.policy import PolicyConfig

WIDE = StateMlpConfig(token_dim=MAX_WIDTH, hidden_dim=1, state_tokens=64)


@pytest.mark.parametrize(
    ("policy", "critic", "encoder"),
    [
        (FlowConfig(num_layers=256, dim=MAX_WIDTH), MlpCriticConfig(), StateMlpConfig()),
        (MlpFlowConfig(num_layers=256, hidden_dim=MAX_WIDTH), MlpCriticConfig(), StateMlpConfig()),
        # One hidden layer: all its weights are those of the tokens.
        (MlpFlowConfig(hidden_dim=MAX_WIDTH, depth=1), MlpCriticConfig(), WIDE),
        (MlpFlowConfig(), MlpCriticConfig(num_critics=64, hidden_dim=4096, depth=1), WIDE),
        (FlowConfig(), TransformerCriticConfig(num_critics=64, dim=MAX_WIDTH), StateMlpConfig()),
    ],
)
def test_too_large_is_told(
    policy: PolicyConfig, critic: CriticConfig, encoder: EncoderConfig
) -> None:
    with pytest.raises(ConfigError, match=r"networks of [\d,]+ weights .* GiB"):
        require_memory_for_networks(policy, critic, encoder)


def test_image_backbones_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen one once; a trained one with its gradients and moments, for policy and critic."""
    gib = 2**30
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2 * gib)
    frozen = MixedConfig(64, image=DinoV2Config())
    require_memory_for_networks(MlpFlowConfig(), MlpCriticConfig(), frozen, copies=4)
    trained = replace(frozen, image=DinoV2Config(finetune="full"))
    with pytest.raises(ConfigError, match="would need more than 10 GiB of memory"):
        require_memory_for_networks(MlpFlowConfig(), MlpCriticConfig(), trained, copies=4)
    blind = replace(trained, cameras=())
    require_memory_for_networks(MlpFlowConfig(), MlpCriticConfig(), blind, copies=4)


def test_what_fits_passes() -> None:
    for policy in (MlpFlowConfig(), replace(MlpFlowConfig(), depth=1), FlowConfig(dim=64)):
        require_memory_for_networks(policy, MlpCriticConfig(), StateMlpConfig())
