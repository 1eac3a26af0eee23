"""Which networks of what sizes, and the shapes of the decision process."""

from __future__ import annotations

from dataclasses import dataclass, field

from softflow.data.chunk_spec import ChunkSpec
from softflow.models.action_representation import ActionRepresentation
from softflow.models.critic import CriticConfig
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoder import EncoderConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policy import PolicyConfig


@dataclass(frozen=True)
class ModelConfig:
    """Shapes of the decision process, and which networks of what sizes.

    Attributes:
        chunk: lengths of a decision.
        policy: the policy, its kind decided by the class of this configuration.
        encoder: what turns observations into tokens; policy and critic own one each.
        critic: the critic.
        actions: which actions are relative to the observation.
    """

    chunk: ChunkSpec
    policy: PolicyConfig = field(default_factory=FlowConfig)
    encoder: EncoderConfig = field(default_factory=StateMlpConfig)
    critic: CriticConfig = field(default_factory=TransformerCriticConfig)
    actions: ActionRepresentation = field(default_factory=ActionRepresentation)

    def __post_init__(self) -> None:
        self.critic.require_fit(self.encoder)
