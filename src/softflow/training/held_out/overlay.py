"""Chunks that the policy predicts along recorded episodes, for the report to draw over them.

RUN/diagnostics/chunks/STAGE.json holds both, in the data's units: of held-out episodes, or of the
first ones that imitation learns from where none is held out, which it says.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.config import StageName
from softflow.training.held_out.curve import MAX_CANDIDATES
from softflow.training.held_out.measuring import chosen_chunks
from softflow.training.run import Run
from softflow.utils.files import write_json

FOLDER = "chunks"
EPISODES = 2
MAX_STEPS = 400
"""Control steps of an episode that are drawn, from its start."""
MAX_CHUNKS = 30
"""More would be a line of dots."""
DIGITS = 5
WINDOWS_AT_ONCE = 64
MOVES_THE_POLICY: tuple[StageName, ...] = ("imitation", "offline_rl", "online_rl")


def write_overlay(run: Run, label: StageName) -> None:
    """Write the chunks of a stage that changes the policy, unless they are there already."""
    path = run.folder / "diagnostics" / FOLDER / f"{label}.json"
    if label not in MOVES_THE_POLICY or path.exists():
        return
    held_out = run.data.held_out.num_windows > 0
    dataset = run.data.held_out if held_out else run.data.examples
    run.learner.policy.eval()
    numbers = range(min(EPISODES, len(dataset)))
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "held_out": held_out,
        "control_hz": run.spec.control_hz,
        "names": list(run.spec.names.get("action", ())),
        "episodes": [_episode(run, dataset, number) for number in numbers],
    }
    write_json(path, facts)


def _episode(run: Run, dataset: ChunkDataset, number: int) -> dict[str, Any]:
    """One episode: what was recorded [T, A], and chunks [H, A] from some of its steps on."""
    recorded = dataset.episode(number).actions[:MAX_STEPS]
    starts = chunk_starts(dataset, len(recorded))
    first = int(dataset.episode_windows[:number].sum())
    windows = first + window_numbers(dataset, starts)
    parts = [windows[at : at + WINDOWS_AT_ONCE] for at in range(0, len(windows), WINDOWS_AT_ONCE)]
    chunks = np.concatenate([_chunks(run, dataset, part) for part in parts])
    return {
        "episode": dataset.episode_indices[number],
        "actions": _short(recorded),
        "chunks": [
            {"start": int(start), "actions": _short(chunk[: len(recorded) - start])}
            for start, chunk in zip(starts, chunks, strict=True)
        ],
    }


def chunk_starts(dataset: ChunkDataset, length: int) -> np.ndarray:
    """First steps of chunks along an episode: end to end, of a long one every so many.

    With a prefix, the first decision predicts from step 0 on, the next from step P on.
    """
    spec = dataset.chunk_spec
    between = spec.chunk_length * math.ceil(length / (MAX_CHUNKS * spec.chunk_length))
    starts = np.arange(0, length, between)
    return starts[(starts == 0) | (starts >= spec.prefix_length)]


def window_numbers(dataset: ChunkDataset, starts: np.ndarray) -> np.ndarray:
    """Which windows of an episode have their chunk begin there, counted from its first one.

    With a prefix of P actions there is one window more, whose chunk begins at step 0.
    """
    prefix = dataset.chunk_spec.prefix_length
    return np.where(starts == 0, 0, starts - prefix + (prefix > 0))


def _chunks(run: Run, dataset: ChunkDataset, windows: np.ndarray) -> np.ndarray:
    """What the policy chooses by itself at some windows [B, H, A]."""
    config = run.config
    batch = dataset.gather(windows, with_next=False).to(run.learner.device)
    generator = torch.Generator().manual_seed(config.seed)
    candidates = min(MAX_CANDIDATES, config.execution_candidates)
    policy, std = run.learner.policy, config.sampling_std
    return chosen_chunks(policy, batch, candidates, std, generator).cpu().numpy()


def _short(actions: np.ndarray) -> list[list[float]]:
    """Rows of numbers, of so many digits."""
    return [[float(f"{value:.{DIGITS}g}") for value in row] for row in actions]
