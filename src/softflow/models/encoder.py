"""Turns observations and prefix actions into the tokens that policies and critics attend to.

A small module, chosen by configuration, makes tokens of the observation keys it reads; every prefix
action becomes one token more. Statistics of the data are buffers, so the weights file alone
reproduces the encoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from softflow.data.data_spec import is_image_key
from softflow.models.images.backbone import ImageBackbone
from softflow.models.inputs import ModelInputs
from softflow.models.kinds import KindConfig, Kinds


@dataclass(frozen=True)
class EncoderConfig(KindConfig):
    """What the configuration of every encoder has.

    Attributes:
        token_dim: width of the tokens (512 in the paper, equal to the critic's width).
    """

    token_dim: int = 512

    @property
    def keys(self) -> tuple[str, ...]:
        """The observation keys it reads, such as "observation.state", whatever the data."""
        raise NotImplementedError(f"{type(self).__name__} does not say which keys it reads")

    def keys_among(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
        """The keys it reads of data that have these (key -> shape); batches hold no other cameras.

        Raises:
            ConfigError: the data lack one, where the configuration can tell.
        """
        return self.keys

    def cameras_among(self, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """The cameras among the keys it reads of such data.

        Raises:
            ConfigError: as `keys_among`.
        """
        return [key for key in self.keys_among(shapes) if is_image_key(key)]

    @property
    def warning(self) -> str:
        """What a user should know before a run begins; "" for nothing."""
        return ""

    @property
    def frozen_parameters(self) -> int:
        """How many weights, at least, are never trained; policy, critic and target share them."""
        return 0

    @property
    def least_tokens(self) -> int:
        """Tokens of an observation, at least."""
        return 1

    def __post_init__(self) -> None:
        self._require_at_least_one("encoder", "token_dim")


class KeyEncoder(nn.Module, ABC):
    """Some keys of an observation -> tokens.

    A subclass is made from `ModelInputs` and its `Config`, which says what it reads; it raises
    ConfigError if the data lack one of these keys.

    Attributes:
        num_tokens: tokens it makes.
    """

    Config: ClassVar[type[EncoderConfig]]
    num_tokens: int

    @abstractmethod
    def __init__(self, inputs: ModelInputs, config: EncoderConfig) -> None:
        super().__init__()

    @abstractmethod
    def forward(
        self, observation: dict[str, Shaped[Tensor, "B history ..."]]
    ) -> Float[Tensor, "B S D"]:
        """Raw observation, key -> `[B, history, ...]`, in the robot's units -> `[B, S, D]`."""

    def with_frozen_features(
        self, observation: dict[str, Shaped[Tensor, "B history ..."]]
    ) -> dict[str, Shaped[Tensor, "B history ..."]]:
        """The observation with what its frozen parts say of it in place of what they read.

        `forward` makes the same tokens of either, so several networks can share the work.
        """
        return observation

    @property
    def frozen_cameras(self) -> dict[str, ImageBackbone]:
        """Cameras that a frozen backbone reads, and that backbone.

        In place of such a camera's frames `forward` takes the backbone's features of them,
        [B, history, T, F].
        """
        return {}

    def load_pretrained(self) -> None:
        """Take the weights of elsewhere that the configuration names, before a run begins.

        Raises:
            ConfigError: they cannot be read, or do not fit.
        """


ENCODERS = Kinds[KeyEncoder](
    "encoder",
    KeyEncoder,
    {
        "state_mlp": "softflow.models.encoders.state_mlp:StateMlp",
        "mixed": "softflow.models.encoders.mixed:MixedEncoder",
    },
)
"""A new encoder is a file in `encoders/` and a line here."""


class ObservationEncoder(nn.Module):
    """Observation history and prefix actions -> obs_tokens [B, S, token_dim].

    Args:
        inputs: shapes and units.
        config: which encoder reads the observation, and its sizes.

    Raises:
        ConfigError: the data lack a key that the encoder reads.
    """

    def __init__(self, inputs: ModelInputs, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.observation = ENCODERS.find(config.kind)(inputs, config)
        prefix_length, width = inputs.chunk.prefix_length, config.token_dim
        self.token_position = nn.Parameter(
            torch.randn(self.observation.num_tokens + prefix_length, width) * 0.02
        )
        self.prefix_embed = nn.Linear(inputs.action_dim, width) if prefix_length else None
        self.norm = nn.LayerNorm(width)

    @property
    def num_tokens(self) -> int:
        """Tokens of an observation, those of the prefix included."""
        return len(self.token_position)

    def with_frozen_features(
        self, observation: dict[str, Shaped[Tensor, "B history ..."]]
    ) -> dict[str, Shaped[Tensor, "B history ..."]]:
        """See `KeyEncoder.with_frozen_features`."""
        return self.observation.with_frozen_features(observation)

    def forward(
        self,
        observation: dict[str, Shaped[Tensor, "B history ..."]],
        prefix_actions: Float[Tensor, "B P A"],
    ) -> Float[Tensor, "B tokens D"]:
        """Encode raw observations.

        Args:
            observation: key -> [B, history, ...], in the robot's units.
            prefix_actions: [B, P, A] normalised actions.

        Returns:
            obs_tokens [B, S + P, token_dim].
        """
        tokens = self.observation(observation)
        if self.prefix_embed is not None:
            tokens = torch.cat([tokens, self.prefix_embed(prefix_actions)], dim=1)
        return self.norm(tokens + self.token_position)
