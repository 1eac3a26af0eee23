"""An encoder that looks at one place of one camera, and at nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from filmed_world import CAMERA
from torch import Tensor, nn

from softflow.data.data_spec import is_image_key
from softflow.models.encoder import EncoderConfig, KeyEncoder
from softflow.models.inputs import ModelInputs

PLACE = (2, 5)
"""Row and column among 7 x 7 places of a frame of 32 x 32 pixels: the middle of its pixels."""
ROWS, COLUMNS = slice(10, 13), slice(24, 27)


@dataclass(frozen=True)
class PlaceConfig(EncoderConfig):
    """Nothing to choose."""

    kind = "place_encoder:PlaceEncoder"

    @property
    def keys(self) -> tuple[str, ...]:
        """A camera."""
        return (CAMERA,)

    def keys_among(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
        """All cameras, though it looks at one."""
        return tuple(sorted(key for key in shapes if is_image_key(key)))


class PlaceEncoder(KeyEncoder):
    """One token of the mean colour of nine pixels."""

    Config = PlaceConfig
    num_tokens = 1

    def __init__(self, inputs: ModelInputs, config: PlaceConfig) -> None:
        super().__init__(inputs, config)
        self.colour = nn.Linear(3 * inputs.chunk.history_length, config.token_dim)

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        """Frames [B, history, H, W, 3] uint8 -> [B, 1, D]."""
        place = observation[CAMERA][:, :, ROWS, COLUMNS].to(self.colour.weight.dtype) / 255
        return self.colour(place.mean(dim=(2, 3)).flatten(1))[:, None]
