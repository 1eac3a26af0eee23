"""The action-chunked critic (paper IV-C, App. C1): Q(o, a[0:H]) as a histogram over returns.

A transformer encoder over [observation tokens, H action tokens, readout token]. The forward pass
is written out so that (1) the first layer's keys, values and queries of the observation tokens are
computed once an observation and shared by its candidates, and (2) the last layer is evaluated for
the readout token only, without making keys and values. Both are exact; a test compares with
`nn.TransformerEncoder`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from softflow.errors import ConfigError
from softflow.models.critic import ChunkCritic, CriticConfig
from softflow.models.encoder import EncoderConfig
from softflow.models.kinds import MAX_LAYERS


@dataclass(frozen=True)
class TransformerCriticConfig(CriticConfig):
    """Sizes of one critic; the defaults are the paper's (App. C1).

    Attributes:
        num_critics: size of the ensemble.
        num_bins: bins of the value histogram.
        dim: width of the tokens (equal to the encoder's token_dim).
        num_heads: attention heads.
        num_layers: layers of the transformer encoder.
        mlp_dim: width of its feed-forward part.
        dropout: of its layers, while the critic is trained.
    """

    kind = "transformer"
    dim: int = 512
    num_heads: int = 8
    num_layers: int = 3
    mlp_dim: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_at_least_one("critic", "dim", "num_heads", "mlp_dim")
        self._require_at_least_one("critic", "num_layers", most=MAX_LAYERS)
        if self.dim % self.num_heads:
            raise ConfigError(
                f"critic.dim {self.dim} must be a multiple of critic.num_heads {self.num_heads}"
            )
        self._require_rate("critic", "dropout")

    @property
    def least_parameters(self) -> int:
        """The attention and feed-forward of every layer and critic."""
        layer = 4 * self.dim**2 + 2 * self.dim * self.mlp_dim
        return self.num_critics * (self.num_layers * layer + self.dim * self.num_outputs)

    def require_fit(self, encoder: EncoderConfig) -> None:
        """Raise ConfigError unless the critic's width is that of the encoder's tokens."""
        if encoder.token_dim != self.dim:
            raise ConfigError(
                f"encoder.token_dim {encoder.token_dim} must equal critic.dim {self.dim}: "
                "the critic reads the encoder's tokens"
            )


class EncoderLayer(nn.TransformerEncoderLayer):
    """PyTorch's post-norm encoder layer with shared and query-limited evaluation."""

    def _heads(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """[B, N, L, 3D] -> query, key, value [B * N, heads, L, head_dim]."""
        split = qkv.flatten(0, 1).unflatten(-1, (3, self.self_attn.num_heads, -1))
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def evaluate(self, parts: list[Tensor]) -> Float[Tensor, "B N L D"]:
        """Run the layer on a sequence given in parts.

        Args:
            parts: token groups [B, n_i, L_i, D] with n_i in {1, N}; groups with n_i = 1 are
                projected once an observation.

        Returns:
            [B, N, L, D] with L the total length.
        """
        attention = self.self_attn
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        query, key, value = self._heads(join([F.linear(part, weight, bias) for part in parts]))
        x = join(parts)
        dropout = attention.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self._after_attention(x, attended.transpose(1, 2).flatten(-2).view(x.shape))

    def evaluate_last(self, x: Float[Tensor, "B N L D"]) -> Float[Tensor, "B N D"]:
        """The layer's output for the last token alone, without making keys and values.

        With one query, q.(W_k x + b_k) = (q W_k).x + a constant that softmax ignores, and
        sum p (W_v x + b_v) = W_v (sum p x) + b_v sum p.

        Args:
            x: [B, N, L, D].

        Returns:
            [B, N, D].
        """
        attention, last = self.self_attn, x[:, :, -1]
        by_head = (attention.num_heads, -1)
        to_query, to_key, to_value = attention.in_proj_weight.chunk(3)
        query_bias, _, value_bias = attention.in_proj_bias.chunk(3)
        query = F.linear(last, to_query, query_bias).unflatten(-1, by_head)
        query = query * query.shape[-1] ** -0.5
        probe = torch.einsum("bnhe,hed->bnhd", query, to_key.unflatten(0, by_head))
        share = F.dropout((probe @ x.mT).softmax(dim=-1), attention.dropout, self.training)
        value = torch.einsum("bnhd,hed->bnhe", share @ x, to_value.unflatten(0, by_head))
        value = value + share.sum(dim=-1, keepdim=True) * value_bias.unflatten(0, by_head)
        return self._after_attention(last, value.flatten(-2))

    def _after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout1(self.self_attn.out_proj(attended)))
        return self.norm2(x + self._ff_block(x))


def join(parts: list[Tensor]) -> Tensor:
    """Token groups [B, n_i, L_i, D] with n_i in {1, N} -> [B, N, sum of L_i, D]."""
    candidates = max(part.shape[1] for part in parts)
    return torch.cat([part.expand(-1, candidates, -1, -1) for part in parts], dim=2)


class TransformerCritic(ChunkCritic):
    """A transformer encoder over observation tokens, action tokens and a readout token."""

    Config = TransformerCriticConfig
    gains_by_compiling = True

    def __init__(
        self, chunk_length: int, action_dim: int, token_dim: int, config: TransformerCriticConfig
    ) -> None:
        super().__init__(chunk_length, action_dim, token_dim, config)
        self.action_embed = nn.Sequential(nn.Linear(action_dim, config.dim), nn.ELU())
        self.action_position = nn.Parameter(torch.randn(chunk_length, config.dim) * 0.02)
        self.readout = nn.Parameter(torch.randn(1, config.dim) * 0.02)
        self.layers = nn.ModuleList(
            EncoderLayer(
                config.dim,
                config.num_heads,
                config.mlp_dim,
                config.dropout,
                activation="gelu",
                batch_first=True,
            )
            for _ in range(config.num_layers)
        )
        self.head = nn.Linear(config.dim, config.num_outputs)

    def forward(
        self, obs_tokens: Float[Tensor, "B S D"], actions: Float[Tensor, "B N H A"]
    ) -> Float[Tensor, "B N outputs"]:
        """obs_tokens [B, S, D], normalised actions [B, N, H, A] -> outputs [B, N, num_outputs]."""
        batch, candidates = actions.shape[:2]
        chunk = self.action_embed(actions) + self.action_position
        readout = self.readout.expand(batch, candidates, -1, -1)
        parts = [obs_tokens[:, None], torch.cat([chunk, readout], dim=2)]
        *layers, last = self.layers
        for layer in layers:
            parts = [layer.evaluate(parts)]  # type: ignore[operator]
        return self.head(last.evaluate_last(join(parts)))  # type: ignore[operator]
