"""How a critic says a value: as a histogram over returns (HL-Gauss), or as a number.

HL-Gauss: scalar values as Gaussian-smoothed histograms (paper IV-C, Imani & White 2018).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from softflow.errors import ConfigError

MAX_VALUE = 1e30
"""Beyond it the widths of bins are no float32."""
MARGIN_BINS = 5
"""Bins a side that no return of the data falls into."""
MIN_BINS = 2 * MARGIN_BINS + 2
"""Fewest bins whose margins leave room for two different returns."""


@dataclass(frozen=True)
class ValueSupport:
    """Range and resolution of the value histogram.

    Attributes:
        low, high: values the centres of the outermost bins stand for, in units of return.
        num_bins: 101 in the paper (App. C1); smoothing: sigma in bin widths.
    """

    low: float
    high: float
    num_bins: int = 101
    smoothing: float = 0.75

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"value support [{self.low}, {self.high}] must be finite, low < high")
        if max(-self.low, self.high) > MAX_VALUE:
            raise ConfigError(
                f"value support [{self.low}, {self.high}] leaves the numbers of networks; scale "
                f"the rewards so that returns stay within {MAX_VALUE:g}"
            )
        if self.num_bins < 2 or not 0 < self.smoothing < math.inf:
            raise ConfigError(
                f"value support needs >= 2 bins and smoothing > 0, "
                f"not {self.num_bins} and {self.smoothing}"
            )

    def clipping(self, fraction: float) -> str:
        """What a user should know where this share of the critic's targets lies outside."""
        return (
            f"careful: {100 * fraction:.0f} % of the critic's targets lie outside {self.low:.3g} "
            f"to {self.high:.3g}, the returns that it can tell apart; the policy cannot improve "
            "beyond. Start a run with another --model.critic.value-low or "
            "--model.critic.value-high"
        )


def support_from_returns(lowest: float, highest: float, num_bins: int = 101) -> ValueSupport:
    """A support that holds every target made of returns in [lowest, highest].

    Five bins of margin a side keep the smoothed histogram of an extreme return whole. A range of
    zero (no reward in the data yet) is widened to one unit of reward, so that the first success
    online still fits.

    Raises:
        ConfigError: fewer than MIN_BINS bins.
    """
    if num_bins < MIN_BINS:
        raise ConfigError(
            f"a value support needs at least {MIN_BINS} bins for its margins, not {num_bins}"
        )
    if highest - lowest < 1e-6:
        lowest, highest = min(lowest, 0.0), max(highest, lowest + 1.0)
    margin = MARGIN_BINS * (highest - lowest) / (num_bins - 2 * MARGIN_BINS - 1)
    return ValueSupport(lowest - margin, highest + margin, num_bins)


class ValueOutput(nn.Module, ABC):
    """What the last layer of a critic says, and what it learns from a target.

    Attributes:
        support: the range of returns that is expected.
    """

    support: ValueSupport

    @abstractmethod
    def outputs_of(self, values: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows outputs"]:
        """Outputs [..., num_outputs] that say these values [...]."""

    @abstractmethod
    def value(self, outputs: Float[Tensor, "*rows outputs"]) -> Float[Tensor, "*rows"]:
        """Outputs [..., num_outputs] -> values [...]."""

    @abstractmethod
    def loss(
        self, outputs: Float[Tensor, "*rows outputs"], targets: Float[Tensor, "*rest"]
    ) -> Float[Tensor, "*rows"]:
        """How far outputs [..., num_outputs] are from target values, which are broadcast."""

    @abstractmethod
    def clipped_fraction(self, values: Float[Tensor, "*rows"]) -> Float[Tensor, ""]:
        """Share of the values that it cannot say (logged: it should be 0)."""


class ScalarValue(ValueOutput):
    """A value as one number, learned by squared error, in units of the expected range."""

    def __init__(self, support: ValueSupport) -> None:
        super().__init__()
        self.support = support
        self.span = support.high - support.low

    def outputs_of(self, values: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows 1"]:
        """Values [...] -> [..., 1], 0 at the range's low end and 1 at its high end."""
        return ((values - self.support.low) / self.span)[..., None]

    def value(self, outputs: Float[Tensor, "*rows 1"]) -> Float[Tensor, "*rows"]:
        """The inverse."""
        return self.support.low + self.span * outputs.squeeze(-1)

    def loss(
        self, outputs: Float[Tensor, "*rows 1"], targets: Float[Tensor, "*rest"]
    ) -> Float[Tensor, "*rows"]:
        """Squared error in percent of the range."""
        return (100 * (outputs - self.outputs_of(targets)).squeeze(-1)).square()

    def clipped_fraction(self, values: Float[Tensor, "*rows"]) -> Float[Tensor, ""]:
        """0: it can say any value."""
        return torch.zeros((), dtype=values.dtype, device=values.device)


class HLGauss(ValueOutput):
    """Turns values into target histograms and logits back into values."""

    edges: Tensor
    centers: Tensor

    def __init__(self, support: ValueSupport) -> None:
        super().__init__()
        self.support = support
        width = (support.high - support.low) / (support.num_bins - 1)
        self.sigma = support.smoothing * width
        centers = torch.linspace(support.low, support.high, support.num_bins, dtype=torch.float64)
        edges = torch.cat([centers - width / 2, centers[-1:] + width / 2])
        self.register_buffer("centers", centers.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("edges", edges.to(torch.get_default_dtype()), persistent=False)

    def probabilities(self, values: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows bins"]:
        """Values [...] -> histograms [..., num_bins] that sum to one; values are clipped."""
        values = values.clamp(self.support.low, self.support.high)[..., None]
        cdf = 0.5 * torch.erf((self.edges - values) / (self.sigma * math.sqrt(2)))
        mass = cdf.diff(dim=-1)
        return mass / mass.sum(-1, keepdim=True)

    def outputs_of(self, values: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows bins"]:
        """Values [...] -> logits [..., num_bins] of their histograms, bounded from below."""
        return self.probabilities(values).clamp_min(1e-4).log()

    def value(self, outputs: Float[Tensor, "*rows bins"]) -> Float[Tensor, "*rows"]:
        """Logits [..., num_bins] -> expected values [...]."""
        return (outputs.softmax(-1) * self.centers).sum(-1)

    def loss(
        self, outputs: Float[Tensor, "*rows bins"], targets: Float[Tensor, "*rest"]
    ) -> Float[Tensor, "*rows"]:
        """Cross-entropy to the targets' histograms (Eq. 7, IV-C)."""
        return -(self.probabilities(targets) * F.log_softmax(outputs, dim=-1)).sum(-1)

    def clipped_fraction(self, values: Float[Tensor, "*rows"]) -> Float[Tensor, ""]:
        """Share of the values that lie outside the support (logged: it should be 0)."""
        outside = (values < self.support.low) | (values > self.support.high)
        return outside.to(self.centers.dtype).mean()
