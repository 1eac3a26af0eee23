"""Chunks of a policy that stands still, drawn ahead (Alg. 3, stage II).

The warm-up needs a' ~ pi_theta0(o') in every update, which is half its cost. The policy does not
change meanwhile and windows come up many times, so a few chunks for each are drawn once.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softflow.models.encoder import ObservationEncoder
from softflow.models.normalizers import clamp_to_limit
from softflow.models.policy import ChunkPolicy
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.utils.progress import ProgressReporter

CHUNKS_A_WINDOW = 4
MAX_BYTES = 256 * 1024**2
WINDOWS_AT_ONCE = 1024
TOKENS_AT_ONCE = 32_768
"""Of the observations of so many windows: each costs a network memory in every layer."""
_SEED = 0x6E657874


def windows_at_once(encoder: ObservationEncoder, most: int) -> int:
    """Up to `most` windows; fewer where observations are many tokens."""
    return max(1, min(most, TOKENS_AT_ONCE // encoder.num_tokens))


class NextChunks:
    """A few next chunks for every window of a dataset, drawn at once.

    They are a function of the policy, the windows and the seed alone, so a run that is killed goes
    on with the same ones.

    Args:
        policy: in the state in which it stays.
        dataset: the windows.
        num_draws: windows that will be asked for in all; it is not worth drawing more than these.
        sampling_std: of the latents.
        seed: of the run.
        progress: where to tell how far it is.
    """

    def __init__(
        self,
        policy: ChunkPolicy,
        dataset: ChunkDataset,
        num_draws: int,
        sampling_std: float,
        seed: int,
        progress: ProgressReporter,
    ) -> None:
        self._policy, self._dataset, self._progress = policy, dataset, progress
        self._std, self._seed = sampling_std, seed
        inputs = policy.inputs
        chunk_bytes = 4 * inputs.chunk.chunk_length * inputs.action_dim
        windows = max(1, dataset.num_windows)
        most = MAX_BYTES // (windows * chunk_bytes)
        # Each must come up twice or so, or drawing ahead costs more than it saves.
        self.num = min(CHUNKS_A_WINDOW, most, num_draws // (2 * windows))
        self._chunks = self._drawn() if self.num else None

    def of(self, windows: Int[Tensor, " B"]) -> Float[Tensor, "B H A"] | None:
        """A next chunk [B, H, A] of each window, normalised and within the limit.

        One of a few at random, by torch's global generator. None where nothing is drawn ahead.
        """
        if self._chunks is None:
            return None
        chosen = torch.randint(self.num, windows.shape, device=windows.device)
        return self._chunks[windows, chosen]

    @torch.no_grad()
    def _drawn(self) -> Tensor:
        """[num_windows, num, H, A] on the policy's device."""
        policy, total = self._policy.eval(), self._dataset.num_windows
        device = policy.action_minimum.device
        generator = torch.Generator(device).manual_seed(self._seed ^ _SEED)
        self._progress.begin("next chunks", total, 0)
        parts = []
        at_once = windows_at_once(policy.encoder, WINDOWS_AT_ONCE)
        for start in range(0, total, at_once):
            rows = torch.arange(start, min(start + at_once, total))
            parts.append(self._of_windows(rows, device, generator))
            self._progress.advance(int(rows[-1]) + 1)
        return torch.cat(parts)

    def _of_windows(
        self, windows: Tensor, device: torch.device, generator: torch.Generator
    ) -> Tensor:
        policy = self._policy
        batch = self._dataset.gather(windows.numpy()).to(device)
        prefix = policy.normalize_actions(batch.next_prefix_actions, batch.next_observation)
        condition = policy.condition(batch.next_observation, prefix)
        chunks = policy.sample(self.num, self._std, condition, len(windows), generator)
        return clamp_to_limit(chunks, policy.action_limit)
