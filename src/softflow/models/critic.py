"""The value of action chunks (paper IV-C): Q(o, a[0:E]) by an ensemble, as histogram or number.

It reads the E actions that are executed before the next decision. That decision replaces the rest
of a chunk: in recordings the rest comes from later decisions, which saw more and tell how it ends.

The ensemble owns the encoder, the histogram's support and how members make one value; its members
are networks of one architecture, chosen by configuration.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from softflow.errors import ConfigError
from softflow.models.critics.chunk_editor import ChunkEditor
from softflow.models.encoder import EncoderConfig, ObservationEncoder
from softflow.models.inputs import ModelInputs
from softflow.models.kinds import KindConfig, Kinds
from softflow.models.normalizers import at_least_float32, clamp_to_limit, zero_at
from softflow.models.value_distribution import (
    MIN_BINS,
    HLGauss,
    ScalarValue,
    ValueOutput,
    ValueSupport,
)

PESSIMISTIC_START = 0.05
"""Where in its support an untrained critic starts: five bins up, at the lowest return."""


MAX_CRITICS = 64


@dataclass(frozen=True)
class CriticConfig(KindConfig):
    """What the configuration of every critic has.

    Attributes:
        num_critics: size of the ensemble.
        num_bins: bins of the value histogram.
        learns: values, by "hl_gauss" as histograms (the paper), or by "squared_error" as numbers,
            without `num_bins`.
        combine: a chunk's value is the "minimum" of the members (the paper's) or their "mean",
            which is less afraid of what is rare.
        reads: "executed", the actions before the next decision; "chunk", all of them, as softflow
            0.1 did.
        value_low: lowest return of the histogram; None: what the data and their rewards suggest.
        value_high: highest return of the histogram; None: likewise.
    """

    num_critics: int = 2
    num_bins: int = 101
    learns: Literal["hl_gauss", "squared_error"] = "hl_gauss"
    combine: Literal["minimum", "mean"] = "minimum"
    reads: Literal["executed", "chunk"] = "executed"
    value_low: float | None = None
    value_high: float | None = None

    def __post_init__(self) -> None:
        self._require_at_least_one("critic", "num_critics", most=MAX_CRITICS)
        self._require_num_bins()
        if self.learns not in ("hl_gauss", "squared_error"):
            raise ConfigError(
                f'critic.learns is "{self.learns}"; choose "hl_gauss" or "squared_error"'
            )
        if self.combine not in ("minimum", "mean"):
            raise ConfigError(f'critic.combine is "{self.combine}"; choose "minimum" or "mean"')
        if self.reads not in ("executed", "chunk"):
            raise ConfigError(f'critic.reads is "{self.reads}"; choose "executed" or "chunk"')
        for name in ("value_low", "value_high"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"critic.{name} is {value}; give a finite return, or none")
        low, high = self.value_low, self.value_high
        if low is not None and high is not None and low >= high:
            raise ConfigError(f"critic.value_low {low} must be below critic.value_high {high}")

    @property
    def num_outputs(self) -> int:
        """Numbers that say a value: the logits of the histogram, or the value itself."""
        return self.num_bins if self.learns == "hl_gauss" else 1

    @property
    def largest_edit(self) -> float:
        """How far chunks are changed, as part of half the actions' range; 0: no editor."""
        return 0.0

    @property
    def num_judges(self) -> int:
        """Of so many random members the smallest value counts in the bootstrap; 0: of all."""
        return 0

    def output(self, support: ValueSupport) -> ValueOutput:
        """What these numbers mean, and how they are learned."""
        return HLGauss(support) if self.learns == "hl_gauss" else ScalarValue(support)

    def _require_num_bins(self) -> None:
        if self.num_bins < MIN_BINS:
            raise ConfigError(f"critic.num_bins is {self.num_bins}; it must be at least {MIN_BINS}")
        self._require_at_least_one("critic", "num_bins")

    def require_fit(self, encoder: EncoderConfig) -> None:
        """Raise ConfigError unless the critic can read the encoder's tokens."""


class ChunkCritic(nn.Module, ABC):
    """One member: observation tokens and action chunks -> what says their values.

    A subclass is made from the number of actions that it reads, their components, the width of the
    tokens and its `Config`.

    Attributes:
        head: the last layer, to `num_outputs` numbers; the ensemble decides where it starts.
        is_ensemble: one object is all `num_critics` members: it gets `num_tokens` too, gives
            [num_critics, B, N, num_outputs], or of the members whose numbers are a third argument,
            and has a `start_at` of its own instead of a `head`.
    """

    Config: ClassVar[type[CriticConfig]]
    is_ensemble: ClassVar[bool] = False
    head: nn.Linear

    @abstractmethod
    def __init__(
        self, chunk_length: int, action_dim: int, token_dim: int, config: CriticConfig
    ) -> None:
        super().__init__()

    @abstractmethod
    def forward(
        self, obs_tokens: Float[Tensor, "B S D"], actions: Float[Tensor, "B N H A"]
    ) -> Float[Tensor, "B N outputs"]:
        """obs_tokens [B, S, D], normalised actions [B, N, H, A] -> outputs [B, N, num_outputs]."""

    def start_at(self, outputs: Float[Tensor, " outputs"]) -> None:
        """Make the outputs nearly these, whatever is seen."""
        self.head.weight.mul_(0.1)
        self.head.bias.copy_(outputs)


CRITICS = Kinds[ChunkCritic](
    "critic",
    ChunkCritic,
    {
        "transformer": "softflow.models.critics.transformer_critic:TransformerCritic",
        "mlp": "softflow.models.critics.mlp_critic:MlpCritics",
    },
)
"""A new critic is a file in `critics/` and a line here."""


class CriticEnsemble(nn.Module):
    """`num_critics` critics over one encoder and one histogram support.

    Args:
        inputs: shapes and units.
        support: the values that the histograms span.
        config: which architecture, and its sizes.
        encoder: the critic's own encoder.

    Attributes:
        editor: proposes changes of chunks that raise their value; None unless configured.
        num_judges: of so many random members a value is the smallest; 0: of all, as configured.

    Raises:
        ConfigError: the sizes do not fit together.
    """

    members: nn.ModuleList
    joint: ChunkCritic | None
    editor: ChunkEditor | None
    num_judges: int
    constant: Tensor

    def __init__(
        self,
        inputs: ModelInputs,
        support: ValueSupport,
        config: CriticConfig,
        encoder: EncoderConfig,
    ) -> None:
        super().__init__()
        config.require_fit(encoder)
        self.config = config
        if support.num_bins != config.num_bins:
            raise ConfigError(
                f"the value support has {support.num_bins} bins, critic.num_bins is "
                f"{config.num_bins}; they must be equal"
            )
        self.encoder = ObservationEncoder(inputs, encoder)
        member = CRITICS.find(config.kind)
        chunk = inputs.chunk
        executed = config.reads == "executed"
        self.num_read = chunk.execution_horizon if executed else chunk.chunk_length
        sizes = (self.num_read, inputs.action_dim, encoder.token_dim)
        number = 0 if member.is_ensemble else config.num_critics
        self.members = nn.ModuleList(member(*sizes, config) for _ in range(number))
        self.joint = None
        if member.is_ensemble:
            self.joint = member(*sizes, config, num_tokens=self.encoder.num_tokens)  # type: ignore
        constant = torch.tensor(inputs.statistics.seen_action.constant, dtype=torch.long)
        self.editor = None
        if config.largest_edit > 0:
            self.editor = ChunkEditor(
                self.encoder.num_tokens * encoder.token_dim,
                self.num_read,
                inputs.action_dim,
                support.high - support.low,
                constant,
            )
        self.num_judges = 0
        self.output = config.output(support)
        self.register_buffer("constant", constant, persistent=False)
        self._start_at(support.low + (support.high - support.low) * PESSIMISTIC_START)

    @torch.no_grad()
    def _start_at(self, value: float) -> None:
        """Make every initial value nearly this one.

        A uniform histogram would promise half the best return everywhere, and with a discount
        near 1 it takes thousands of backups until failures are seen for what they are.
        """
        outputs = self.output.outputs_of(torch.tensor(value))
        for critic in self._critics:
            critic.start_at(outputs)

    @property
    def architecture(self) -> type[ChunkCritic]:
        """The class of the members."""
        return type(self._critics[0])

    @property
    def _critics(self) -> list[ChunkCritic]:
        return [self.joint] if self.joint else list(self.members)  # type: ignore

    def forward(
        self,
        obs_tokens: Float[Tensor, "B S D"],
        actions: Float[Tensor, "B N H A"],
        members: Int[Tensor, " M"] | None = None,
    ) -> Float[Tensor, "C B N outputs"]:
        """obs_tokens [B, S, D], actions [B, N, H, A] -> [num_critics, B, N, num_outputs].

        Components that never changed in the data count as 0: their noise means nothing. Where
        members are named, these alone are asked.
        """
        actions = zero_at(actions[:, :, : self.num_read], self.constant)
        if self.joint is not None:
            asked = () if members is None else (members.to(actions.device, non_blocking=True),)
            return at_least_float32(self.joint(obs_tokens, actions, *asked))
        numbers = range(len(self.members)) if members is None else members.tolist()
        logits = torch.stack([self.members[n](obs_tokens, actions) for n in numbers])
        return at_least_float32(logits)  # bfloat16 tells 8 bits of a return apart

    def edited(
        self,
        obs_tokens: Float[Tensor, "B S D"],
        actions: Float[Tensor, "B N H A"],
        limit: float,
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "B N H A"], Float[Tensor, "B N"]]:
        """Chunks as the editor would have them, and the log-densities of its changes in nats.

        What never changed in the data, and actions that the critic does not read, stay.

        Args:
            obs_tokens: [B, S, D]; actions: [B, N, H, A], normalised.
            limit: where the range of the data lies; edited chunks stay inside.
            generator: of the changes, which are random.
        """
        assert self.editor is not None, "this critic has no editor"
        changes, log_prob = self.editor(obs_tokens, actions, generator)
        return clamp_to_limit(actions + self.config.largest_edit * limit * changes, limit), log_prob

    def values(
        self,
        obs_tokens: Float[Tensor, "B S D"],
        actions: Float[Tensor, "B N H A"],
        members: Int[Tensor, " M"] | None = None,
    ) -> Float[Tensor, "C B N"]:
        """Expected returns [num_critics, B, N], or of the members that are named."""
        return self.output.value(self(obs_tokens, actions, members))

    def value(
        self, obs_tokens: Float[Tensor, "B S D"], actions: Float[Tensor, "B N H A"]
    ) -> Float[Tensor, "B N"]:
        """One value [B, N]: by default the pessimistic minimum of all members (Alg. 2).

        Judges are drawn by torch's global generator, anew for every call and the same for all rows.
        """
        if self.num_judges:
            drawn = torch.randperm(self.config.num_critics)[: self.num_judges]
            return self.values(obs_tokens, actions, drawn).amin(dim=0)
        values = self.values(obs_tokens, actions)
        return values.mean(dim=0) if self.config.combine == "mean" else values.amin(dim=0)
