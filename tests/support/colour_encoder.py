"""A second encoder, which looks through a camera: the mean colour of every frame, and the state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softflow.data.data_spec import STATE_KEY
from softflow.models.encoder import EncoderConfig, KeyEncoder
from softflow.models.inputs import ModelInputs

CAMERA = "observation.images.top"


@dataclass(frozen=True)
class ColourConfig(EncoderConfig):
    """Nothing to choose."""

    kind = "colour_encoder:ColourEncoder"

    @property
    def keys(self) -> tuple[str, ...]:
        """A camera and the state."""
        return (CAMERA, STATE_KEY)


class ColourEncoder(KeyEncoder):
    """One token of colours, one of states."""

    Config = ColourConfig
    num_tokens = 2

    def __init__(self, inputs: ModelInputs, config: ColourConfig) -> None:
        super().__init__(inputs, config)
        history = inputs.chunk.history_length
        self.colours = nn.Linear(3 * history, config.token_dim)
        self.states = nn.Linear(inputs.observation_shapes[STATE_KEY][0] * history, config.token_dim)

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        """Frames [B, history, H, W, 3] uint8 and states -> [B, 2, D]."""
        colours = observation[CAMERA].to(self.colours.weight.dtype).mean(dim=(2, 3)) / 255
        tokens = [self.colours(colours.flatten(1)), self.states(observation[STATE_KEY].flatten(1))]
        return torch.stack(tokens, dim=1)
