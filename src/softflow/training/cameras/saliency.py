"""Where in a picture a network looks: what changes when a place of it is hidden.

A place is hidden behind the average picture of the data; then the policy's chunks move, for the
same latents, or the critic's value of the same chunk does. That shows on which places the decision
depends. It does not show what never changes in the data, such as a table, for that hides nothing;
nor whether it is right to look there; and two places that tell the same cover for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from softflow.models.critic import CriticEnsemble
from softflow.models.encoder import ObservationEncoder
from softflow.models.policy import ChunkPolicy, Observation
from softflow.training.updates.next_chunks import windows_at_once

GRID = 7
"""Places along each side of a picture; each fades into its neighbours."""
_PIXELS_AT_ONCE = 2**22

Respond = Callable[[Observation], Float[Tensor, "n K"]]
"""n observations -> what a network makes of each, in shares of the range that this can have."""


def chunks_of(
    policy: ChunkPolicy, prefix: Float[Tensor, "1 P A"], latents: Float[Tensor, "1 N ..."]
) -> Respond:
    """The policy's chunks for these latents, in shares of the range of the data's actions."""

    def respond(observation: Observation) -> Tensor:
        num = _rows(observation)
        condition = policy.condition(observation, prefix.expand(num, -1, -1))
        chunks = policy.to_chunks(latents.expand(num, *latents.shape[1:]), condition)
        return chunks.flatten(1) / (2 * policy.action_limit)

    return respond


def value_of(
    critic: CriticEnsemble, prefix: Float[Tensor, "1 P A"], actions: Float[Tensor, "1 H A"]
) -> Respond:
    """The critic's value of a normalised chunk, in shares of the range of its values."""
    support = critic.output.support

    def respond(observation: Observation) -> Tensor:
        num = _rows(observation)
        tokens = critic.encoder(observation, prefix.expand(num, -1, -1))
        value = critic.value(tokens, actions.expand(num, -1, -1)[:, None])
        return value / (support.high - support.low)

    return respond


@torch.no_grad()
def saliency(
    networks: Mapping[str, Respond],
    encoder: ObservationEncoder,
    observation: Observation,
    averages: Mapping[str, Float[Tensor, "H W 3"]],
) -> dict[str, dict[str, Float[Tensor, "GRID GRID"]]]:
    """How much every place of every camera matters to some networks in one observation.

    Deterministic. What is hidden is hidden in all frames of the history.

    Args:
        networks: name -> a network's answer.
        encoder: of any of them: what its frozen parts say of frames is computed once for all.
        observation: key -> [1, history, ...], raw: frames, not features.
        averages: camera -> its average frame in the data, 0 to 255.

    Returns:
        Name -> camera -> [GRID, GRID], mean absolute change of the answer, in shares of its range.
    """
    seen = encoder.with_frozen_features(observation)
    answers = {name: respond(seen) for name, respond in networks.items()}
    maps: dict[str, dict[str, Tensor]] = {name: {} for name in networks}
    for camera, average in averages.items():
        changes: dict[str, list[Tensor]] = {name: [] for name in networks}
        for rows in _with_places_hidden(encoder, seen, camera, observation[camera][0], average):
            for name, respond in networks.items():
                changes[name].append((respond(rows) - answers[name]).abs().mean(dim=1))
        for name, found in changes.items():
            maps[name][camera] = torch.cat(found).view(GRID, GRID)
    return maps


def _with_places_hidden(
    encoder: ObservationEncoder, seen: Observation, camera: str, frames: Tensor, average: Tensor
) -> Iterator[Observation]:
    """`seen` once for every place of a camera that is hidden, some rows at a time."""
    pixels = frames[..., 0].numel()
    for masks in place_masks(average).split(windows_at_once(encoder, _PIXELS_AT_ONCE // pixels)):
        rows = {key: value.expand(len(masks), *value.shape[1:]) for key, value in seen.items()}
        yield encoder.with_frozen_features(rows | {camera: hidden(frames, average, masks)})


def place_masks(frame: Float[Tensor, "H W 3"]) -> Float[Tensor, "places H W"]:
    """What belongs to each place, row by row: 1 in its middle, 0 in its neighbours'; all sum to 1.

    Soft borders, because a network would see hard ones.
    """
    height, width, _ = frame.shape
    places = torch.eye(GRID**2, dtype=frame.dtype, device=frame.device).view(-1, 1, GRID, GRID)
    return F.interpolate(places, (height, width), mode="bilinear", align_corners=False)[:, 0]


def hidden(
    frames: UInt8[Tensor, "history H W 3"],
    average: Float[Tensor, "H W 3"],
    masks: Float[Tensor, "n H W"],
) -> UInt8[Tensor, "n history H W 3"]:
    """The frames once for every mask, the average in place of what it covers."""
    cover = masks[:, None, :, :, None]
    mixed = frames + (average - frames) * cover
    return mixed.round().to(torch.uint8)


def _rows(observation: Observation) -> int:
    return len(next(iter(observation.values())))
