"""Networks that no memory holds are refused before they are built, whatever makes them large."""

from __future__ import annotations

from dataclasses import replace

import pytest

from softflow.errors import ConfigError
from softflow.models.critic import CriticConfig
from softflow.models.critics.mlp_critic import MlpCriticConfig
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoder import EncoderConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
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


def test_what_fits_passes() -> None:
    for policy in (MlpFlowConfig(), replace(MlpFlowConfig(), depth=1), FlowConfig(dim=64)):
        require_memory_for_networks(policy, MlpCriticConfig(), StateMlpConfig())
