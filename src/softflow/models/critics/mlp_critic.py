"""Critics for states and short chunks: LayerNorm MLPs, all members in one product."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from softflow.errors import ConfigError
from softflow.models.critic import ChunkCritic, CriticConfig
from softflow.models.kinds import MAX_LAYERS


@dataclass(frozen=True)
class MlpCriticConfig(CriticConfig):
    """Sizes of one critic.

    Attributes:
        num_critics: size of the ensemble.
        num_bins: bins of the value histogram.
        hidden_dim: width of the MLP.
        depth: its hidden layers.
        dropout: of its hidden layers, while the critic is trained.
        target_members: of so many members, drawn at random for every update, the smallest value
            counts in the bootstrap, as in RLPD and EXPO; 0: `combine` of all.
        edit_scale: how far online RL may change chunks to raise their value, as part of half the
            actions' range; 0: not at all.
    """

    kind = "mlp"
    hidden_dim: int = 256
    depth: int = 3
    dropout: float = 0.0
    target_members: int = 0
    edit_scale: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.target_members <= self.num_critics:
            raise ConfigError(
                f"critic.target_members is {self.target_members}; give 0 (all) to num_critics, "
                f"{self.num_critics}"
            )
        if not 0 <= self.edit_scale <= 1:
            raise ConfigError(f"critic.edit_scale is {self.edit_scale}; give 0 (no edits) to 1")
        self._require_at_least_one("critic", "hidden_dim")
        self._require_at_least_one("critic", "depth", most=MAX_LAYERS)
        self._require_rate("critic", "dropout")

    @property
    def largest_edit(self) -> float:
        """See `CriticConfig`."""
        return self.edit_scale

    @property
    def num_judges(self) -> int:
        """See `CriticConfig`."""
        return self.target_members

    @property
    def least_parameters(self) -> int:
        """The hidden layers and heads of all members."""
        layers = (self.depth - 1) * self.hidden_dim**2
        return self.num_critics * (layers + self.hidden_dim * self.num_outputs)

    @property
    def weights_a_token_number(self) -> int:
        """The first layer of every member."""
        return self.num_critics * self.hidden_dim


class StackedLinear(nn.Module):
    """A linear layer for each of C members: [M, in] or [C, M, in] -> [C, M, out]."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """Each member's own product, or that of the members that are named."""
        weight, bias = _of(self.weight, members), _of(self.bias, members)
        if x.dim() == 2:
            x = x.expand(len(weight), -1, -1)
        return torch.baddbmm(bias, x, weight)


class StackedNorm(nn.Module):
    """LayerNorm with a gain and an offset for each of C members: [C, M, width]."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(members, 1, width))
        self.offset = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """Normalised over the last axis."""
        gain, offset = _of(self.gain, members), _of(self.offset, members)
        return torch.addcmul(offset, F.layer_norm(x, x.shape[-1:]), gain)


def _of(weight: Tensor, members: Tensor | None) -> Tensor:
    """What members have of a weight [C, ...] of all."""
    return weight if members is None else weight[members]


class MlpCritics(ChunkCritic):
    """All members at once: flattened tokens and actions through LayerNorm MLPs.

    The observation's part of the first layer is computed once for all candidates.
    """

    Config = MlpCriticConfig
    is_ensemble = True

    def __init__(
        self,
        chunk_length: int,
        action_dim: int,
        token_dim: int,
        config: MlpCriticConfig,
        num_tokens: int = 1,
    ) -> None:
        super().__init__(chunk_length, action_dim, token_dim, config)
        members, width = config.num_critics, config.hidden_dim
        self.from_tokens = StackedLinear(members, num_tokens * token_dim, width)
        self.from_actions = StackedLinear(members, chunk_length * action_dim, width)
        self.norms = nn.ModuleList(StackedNorm(members, width) for _ in range(config.depth))
        self.hidden = nn.ModuleList(
            StackedLinear(members, width, width) for _ in range(config.depth - 1)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.stacked_head = StackedLinear(members, width, config.num_outputs)

    def start_at(self, outputs: Float[Tensor, " outputs"]) -> None:
        """Make the outputs of every member nearly these."""
        self.stacked_head.weight.mul_(0.1)
        self.stacked_head.bias.copy_(outputs.expand_as(self.stacked_head.bias))

    def forward(
        self,
        obs_tokens: Float[Tensor, "B S D"],
        actions: Float[Tensor, "B N H A"],
        members: Tensor | None = None,
    ) -> Float[Tensor, "C B N outputs"]:
        """obs_tokens [B, S, D], normalised actions [B, N, H, A] -> outputs of every member, or of
        those that are named."""
        batch, candidates = actions.shape[:2]
        acts = self.from_actions(actions.flatten(2).flatten(0, 1), members)
        seen = self.from_tokens(obs_tokens.flatten(1), members)[:, :, None]
        x = (acts.unflatten(1, (batch, candidates)) + seen).flatten(1, 2)
        first, *others = self.norms
        x = F.silu(first(x, members))
        for norm, layer in zip(others, self.hidden, strict=True):
            x = F.silu(norm(layer(self.dropout(x), members), members))
        return self.stacked_head(x, members).unflatten(1, (batch, candidates))
