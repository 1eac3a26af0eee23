"""The robot's state and its history become a few tokens through a small MLP."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from softflow.data.data_spec import STATE_KEY
from softflow.errors import ConfigError
from softflow.models.encoder import EncoderConfig, KeyEncoder
from softflow.models.inputs import ModelInputs
from softflow.models.normalizers import StateNormalizer


@dataclass(frozen=True)
class StateMlpConfig(EncoderConfig):
    """Sizes of the encoder of states.

    Attributes:
        token_dim: width of the tokens (512 in the paper, equal to the critic's width).
        hidden_dim: hidden width of the MLP.
        state_tokens: tokens made of the state and its history.
    """

    kind = "state_mlp"
    hidden_dim: int = 512
    state_tokens: int = 4

    @property
    def keys(self) -> tuple[str, ...]:
        """The state alone."""
        return (STATE_KEY,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_at_least_one("encoder", "hidden_dim", "state_tokens")

    @property
    def least_tokens(self) -> int:
        """Those of the state."""
        return self.state_tokens

    @property
    def least_parameters(self) -> int:
        """The last layer, which makes all tokens at once."""
        return self.hidden_dim * self.state_tokens * self.token_dim


class StateMlp(KeyEncoder):
    """One low-dimensional key, `observation.state`, and its history -> `state_tokens` tokens.

    Raises:
        ConfigError: the data have no such key.
    """

    Config = StateMlpConfig

    def __init__(self, inputs: ModelInputs, config: StateMlpConfig, key: str = STATE_KEY) -> None:
        super().__init__(inputs, config)
        observations = inputs.statistics.observations
        if key not in observations:
            raise ConfigError(
                f'the dataset has no "{key}" (it has {sorted(observations)}); '
                "record the robot's state under that key"
            )
        self.key, self.num_tokens, self.token_dim = key, config.state_tokens, config.token_dim
        self.normalizer = StateNormalizer(observations[key])
        state_dim = self.normalizer.mean.numel()
        self.mlp = nn.Sequential(
            nn.Linear(state_dim * inputs.chunk.history_length, config.hidden_dim),
            nn.GELU(),
            nn.Linear(config.hidden_dim, config.state_tokens * config.token_dim),
        )

    def forward(
        self, observation: dict[str, Shaped[Tensor, "B history ..."]]
    ) -> Float[Tensor, "B S D"]:
        """The state [B, history, ...] in the robot's units -> tokens [B, S, token_dim]."""
        state = self.normalizer(observation[self.key])
        return self.mlp(state.flatten(1)).unflatten(1, (self.num_tokens, self.token_dim))
