"""Actions of a batch as the networks see them: each row in the place it comes from.

What a policy did online it did with its correction, which its networks never see; offline data have
none.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from softflow.models.policy import ChunkPolicy
from softflow.sampling.chunk_batch import ChunkBatch


def normalised(
    policy: ChunkPolicy, batch: ChunkBatch
) -> tuple[Float[Tensor, "B H A"], Float[Tensor, "B P A"]]:
    """Actions [B, H, A] and prefix [B, P, A]; the batch is on the policy's device."""
    normalize, added = policy.normalize_actions, correction_of(policy, batch)
    actions = normalize(batch.actions, batch.observation)
    return actions - added, normalize(batch.prefix_actions, batch.observation) - added


def normalised_next_prefix(policy: ChunkPolicy, batch: ChunkBatch) -> Float[Tensor, "B P A"]:
    """The prefix [B, P, A] of the next decision."""
    prefix = policy.normalize_actions(batch.next_prefix_actions, batch.next_observation)
    return prefix - correction_of(policy, batch)


def correction_of(policy: ChunkPolicy, batch: ChunkBatch) -> Float[Tensor, "B 1 A"]:
    """What the policy has added to the rows' actions: nothing to offline ones."""
    online = ~batch.is_offline.to(policy.correction.device, non_blocking=True)
    return online[:, None, None] * policy.correction
