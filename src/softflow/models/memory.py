"""Whether networks can fit the memory at all, asked before they are built.

A lower bound of what is certainly needed: a size mistyped by three digits is told at once, instead
of after minutes of swapping. What passes may still be too large.
"""

from __future__ import annotations

from softflow.errors import ConfigError
from softflow.models.encoder import EncoderConfig
from softflow.models.kinds import KindConfig
from softflow.utils.machine import memory_bytes

BYTES = 4
"""Of a float32."""
COPIES_IN_TRAINING = 4
"""Of a weight: itself, its gradient and AdamW's two moments."""
_GIB = 2**30


def require_memory(needed_bytes: int, what: str, there: int | None = None) -> None:
    """Raise if something needs more memory than there is.

    Args:
        needed_bytes: at least so much.
        what: needs it, with the numbers to lower; the beginning of the message.
        there: bytes of the device; None: of this machine.

    Raises:
        ConfigError: says how much is needed, and how much there is.
    """
    there = memory_bytes() if there is None else there
    if needed_bytes > there:
        raise ConfigError(
            f"{what} would need more than {needed_bytes // _GIB:,} GiB of memory, and this machine "
            f"has {there // _GIB:,} GiB for them; lower these numbers"
        )


def require_memory_for_networks(
    policy: KindConfig,
    critic: KindConfig,
    encoder: EncoderConfig,
    copies: int = 1,
    there: int | None = None,
) -> None:
    """Raise if a policy, a critic and its target need more memory than there is.

    Raises:
        ConfigError: says how much is needed, and how much there is.
    """
    numbers = encoder.least_tokens * encoder.token_dim

    def least(network: KindConfig) -> int:
        read = numbers * network.weights_a_token_number
        return network.least_parameters + read + encoder.least_parameters

    critics = least(critic)
    networks = least(policy) + critics
    require_memory(
        BYTES * (copies * networks + critics + encoder.frozen_parameters),
        f"networks of {networks:,} weights (model.policy, model.critic, model.encoder)",
        there,
    )
