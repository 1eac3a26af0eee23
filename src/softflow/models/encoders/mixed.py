"""Any cameras and low-dimensional keys as tokens (paper App. C1: proprioception beside images).

Each low-dimensional key becomes a few tokens through an MLP; each frame of each camera becomes the
features of an image backbone, projected to tokens, plus what tells its camera and its place in the
history. Where in the image a token lies is told by the positions that all encoders get.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY, is_image_key
from softflow.errors import ConfigError, DataError
from softflow.models.encoder import EncoderConfig, KeyEncoder
from softflow.models.encoders.state_mlp import StateMlp, StateMlpConfig
from softflow.models.images.backbone import BACKBONES, ImageBackbone, ImageConfig
from softflow.models.images.efficientnet_lite0 import EfficientNetLite0Config
from softflow.models.inputs import ModelInputs


@dataclass(frozen=True)
class MixedConfig(EncoderConfig):
    """What is read, and through which image backbone.

    Attributes:
        token_dim: width of the tokens (512 in the paper, equal to the critic's width).
        states: low-dimensional keys, such as observation.state; none is allowed.
        cameras: names of cameras, such as front for observation.images.front; None: all of the
            data.
        image: the image backbone, its kind decided by the class of this configuration.
        hidden_dim: hidden width of the MLP of each low-dimensional key.
        state_tokens: tokens made of each of these keys and its history.
    """

    kind = "mixed"
    states: tuple[str, ...] = (STATE_KEY,)
    cameras: tuple[str, ...] | None = None
    image: ImageConfig = field(default_factory=EfficientNetLite0Config)
    hidden_dim: int = 512
    state_tokens: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_at_least_one("encoder", "hidden_dim", "state_tokens")
        if not self.states and self.cameras == ():
            raise ConfigError("encoder.states and encoder.cameras are empty; name what it reads")
        for name, keys in (("states", self.states), ("cameras", self.camera_keys or ())):
            if twice := sorted({key for key in keys if keys.count(key) > 1}):
                raise ConfigError(f"encoder.{name} names {twice[0]} twice; name it once")
        if cameras := [key for key in self.states if is_image_key(key)]:
            raise ConfigError(f"encoder.states names the camera {cameras[0]}; put it into cameras")

    @property
    def camera_keys(self) -> tuple[str, ...] | None:
        """The keys of the cameras it names; None: all of the data."""
        if self.cameras is None:
            return None
        return tuple(name if is_image_key(name) else IMAGE_PREFIX + name for name in self.cameras)

    def keys_among(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
        """The states, then the cameras.

        Raises:
            ConfigError: the data lack one; names what is near.
        """
        there = [key for key in shapes if is_image_key(key)]
        for key in self.states:
            _require_key(key, [key for key in shapes if not is_image_key(key)], "states")
        if self.camera_keys is None:
            if not there:
                raise ConfigError(
                    "the data have no camera, and encoder.cameras is None, which means all of "
                    "them; name low-dimensional keys alone with --model.encoder.cameras (nothing "
                    "behind it), or choose --encoder state_mlp"
                )
            return (*self.states, *sorted(there))
        for key in self.camera_keys:
            _require_key(key, there, "cameras")
        return (*self.states, *self.camera_keys)

    @property
    def state_mlp(self) -> StateMlpConfig:
        """Of the MLP of a low-dimensional key."""
        return StateMlpConfig(self.token_dim, self.hidden_dim, self.state_tokens)

    @property
    def warning(self) -> str:
        """What the image backbone says."""
        return "" if self.cameras == () else self.image.warning

    @property
    def least_tokens(self) -> int:
        """Those of the states, and one an image."""
        return max(1, len(self.states) * self.state_tokens + self._least_cameras)

    @property
    def least_parameters(self) -> int:
        """The last layer of every state's MLP, and a trained image backbone."""
        states = len(self.states) * self.state_mlp.least_parameters
        return states + (0 if self.image.is_frozen else self._of_backbones)

    @property
    def frozen_parameters(self) -> int:
        """A frozen image backbone."""
        return self._of_backbones if self.image.is_frozen else 0

    @property
    def _least_cameras(self) -> int:
        return 1 if self.cameras is None else len(self.cameras)

    @property
    def _of_backbones(self) -> int:
        return self.image.least_parameters if self._least_cameras else 0


class MixedEncoder(KeyEncoder):
    """Low-dimensional keys and cameras -> tokens: states first, then every camera's frames.

    Cameras look through one backbone each, or all through one if it is frozen or made for that
    (DINOv2). For a camera, `forward` takes uint8 frames [B, history, H, W, 3], or what
    `with_frozen_features` made of them, [B, history, T, F].

    Raises:
        ConfigError: the data lack a key, or a backbone cannot take a camera's frames.
    """

    Config = MixedConfig

    def __init__(self, inputs: ModelInputs, config: MixedConfig) -> None:
        super().__init__(inputs, config)
        shapes, history = inputs.observation_shapes, inputs.chunk.history_length
        keys = config.keys_among(shapes)
        self.cameras = tuple(key for key in keys if is_image_key(key))
        self.states = nn.ModuleList(
            StateMlp(inputs, config.state_mlp, key) for key in config.states
        )
        self.backbones, self.projections = nn.ModuleList(), nn.ModuleList()
        self.camera_type = nn.Parameter(torch.randn(len(self.cameras), config.token_dim) * 0.02)
        self.frame_position = nn.Parameter(torch.randn(history, config.token_dim) * 0.02)
        self.num_tokens = len(config.states) * config.state_tokens
        found = BACKBONES.find(config.image.kind)
        self.is_shared = found.is_shared or config.image.is_frozen
        for number, camera in enumerate(self.cameras):
            if number == 0 or not self.is_shared:
                self._add(found(shapes[camera], config.image), config.token_dim)
            tokens, _ = self.backbone(number).measured(shapes[camera])
            self.num_tokens += history * tokens

    def _add(self, backbone: ImageBackbone, token_dim: int) -> None:
        """A backbone, and the trained layer from its features to tokens where one is needed."""
        as_it_is = backbone.feature_dim == token_dim and not backbone.is_frozen
        self.backbones.append(backbone)
        self.projections.append(
            nn.Identity() if as_it_is else nn.Linear(backbone.feature_dim, token_dim)
        )

    def backbone(self, number: int) -> ImageBackbone:
        """What the camera of this number looks through."""
        return self.backbones[0 if self.is_shared else number]  # type: ignore[return-value]

    def load_pretrained(self) -> None:
        """Every backbone takes the weights that the configuration names."""
        for backbone in self.backbones:
            backbone.load_pretrained()  # type: ignore[operator]

    def with_frozen_features(
        self, observation: dict[str, Shaped[Tensor, "B history ..."]]
    ) -> dict[str, Shaped[Tensor, "B history ..."]]:
        """Features in place of the frames that a frozen backbone reads."""
        return observation | {
            camera: self._features(number, observation[camera])
            for number, camera in enumerate(self.cameras)
            if self.backbone(number).is_frozen
        }

    @property
    def frozen_cameras(self) -> dict[str, ImageBackbone]:
        """All cameras, if the configuration says frozen."""
        eyes = {camera: self.backbone(number) for number, camera in enumerate(self.cameras)}
        return {camera: backbone for camera, backbone in eyes.items() if backbone.is_frozen}

    def forward(
        self, observation: dict[str, Shaped[Tensor, "B history ..."]]
    ) -> Float[Tensor, "B S D"]:
        """States in the robot's units, frames or their features -> tokens [B, S, token_dim]."""
        tokens = [state(observation) for state in self.states]
        for number, camera in enumerate(self.cameras):
            features = self._features(number, observation[camera])
            seen = self.projections[0 if self.is_shared else number](features)
            place = self.camera_type[number] + self.frame_position[:, None]
            tokens.append((seen + place).flatten(1, 2))
        return torch.cat(tokens, dim=1)

    def _features(self, number: int, seen: Tensor) -> Float[Tensor, "B history T F"]:
        """Of frames [B, history, H, W, 3] in uint8; features stay what they are.

        Raises:
            DataError: it is neither.
        """
        backbone = self.backbone(number)
        if seen.dtype == torch.uint8 and seen.dim() == 5:
            return backbone.features(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
        if not seen.is_floating_point() or seen.dim() != 4:
            raise DataError(
                f"{self.cameras[number]} came as {seen.dtype} of shape {tuple(seen.shape)}; give "
                "uint8 frames [B, history, H, W, 3], or their features [B, history, T, "
                f"{backbone.feature_dim}] in floating point"
            )
        return seen


def _require_key(key: str, there: list[str], name: str) -> None:
    if key in there:
        return
    names = {name.rpartition(".")[2]: name for name in there}  # what all begin with is not near
    near = difflib.get_close_matches(key.rpartition(".")[2], names, 1)
    hint = f"choose among {', '.join(there) or 'none'}"
    if near:
        hint = f'did you mean "{names[near[0]]}"?'
    raise ConfigError(f'the data have no "{key}", which encoder.{name} names; {hint}')
