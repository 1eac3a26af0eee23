"""Pictures of a stage: what cameras saw in evaluation, and where policy and critic looked.

RUN/videos/cameras/LABEL.json       of which episodes and cameras there are films, MP4 beside it
RUN/diagnostics/LABEL.policy.0.png  the first camera's frames, and where the policy looked
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.cameras.drawing import sheet, shrunk
from softflow.training.cameras.saliency import Respond, chunks_of, saliency, value_of
from softflow.training.config import StageName
from softflow.training.run import Run
from softflow.training.updates.normalised_rows import normalised
from softflow.utils.files import write_bytes, write_json
from softflow.utils.png import png_bytes
from softflow.utils.video import write_video

MAX_CAMERAS = 4
FRAMES_SHOWN = 3
SHEET_SIDE = 128
"""Longest side of a frame on a sheet: a sheet has at most 0.3 MB."""
FILM_SIDE, FILM_FRAMES = 224, 150
AVERAGED_WINDOWS = 64
LATENTS = 4
"""Chunks a place is tried on."""
LEAST_CHANGE = 1e-3
"""Where nothing changes by more, nothing is drawn: a tenth of a percent of the range."""
_NETWORKS: dict[StageName, tuple[str, ...]] = {
    "imitation": ("policy",),
    "critic_warmup": ("critic",),  # the policy stands still
    "offline_rl": ("policy", "critic"),
    "online_rl": ("policy", "critic"),
}


def cameras_of(run: Run) -> list[str]:
    """The cameras that pictures are made of: the first few that the encoder reads."""
    return list(run.data.image_keys[:MAX_CAMERAS])


# ---- where it looks ------------------------------------------------------------------------------


@torch.no_grad()
def draw_saliency(run: Run, label: StageName) -> list[dict[str, Any]]:
    """Write a sheet for every network of the stage and every camera, and tell what is on it.

    The frames are the same at every stage: of a held-out demonstration, if there is one. All sheets
    of a network share one scale, so that cameras compare.

    Returns:
        What diagnostics/LABEL.json says of each: network, camera, file, and largest_change, the
        share of the range by which hiding the brightest place moves the answer.
    """
    cameras = cameras_of(run)
    if not cameras:
        return []
    run.learner.policy.eval()
    run.learner.critic.eval()
    told: list[dict[str, Any]] = []
    windows, averages = _shown(run), _averages(run, cameras)
    for network, maps in _maps(run, _NETWORKS[label], windows, averages).items():
        brightest = max(LEAST_CHANGE, *(float(found.max()) for found in maps.values()))
        for number, camera in enumerate(cameras):
            frames = shrunk(windows.observation[camera][:, -1].cpu(), SHEET_SIDE)
            name = f"{label}.{network}.{number}.png"
            picture = sheet(frames, maps[camera], brightest)
            write_bytes(run.folder / "diagnostics" / name, png_bytes(picture))
            largest = float(maps[camera].max())
            told.append(
                {"network": network, "camera": camera, "file": name, "largest_change": largest}
            )
    return told


def _maps(
    run: Run, networks: Sequence[str], windows: ChunkBatch, averages: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """Network -> camera -> [K, GRID, GRID] of K windows."""
    policy = run.learner.policy
    latents = policy.draw_latents(1, LATENTS, run.config.sampling_std)
    found: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
    run.progress.begin("where it looks", windows.batch_size)
    for row in range(windows.batch_size):
        observation = {key: value[row : row + 1] for key, value in windows.observation.items()}
        known = _responses(run, windows, slice(row, row + 1), latents)
        asked = {network: known[network] for network in networks}
        for network, maps in saliency(asked, policy.encoder, observation, averages).items():
            for camera, places in maps.items():
                found[network, camera].append(places.cpu())
        run.progress.advance(row + 1)
    return {
        network: {camera: torch.stack(found[network, camera]) for camera in averages}
        for network in networks
    }


def _responses(run: Run, windows: ChunkBatch, one: slice, latents: Tensor) -> dict[str, Respond]:
    """How each network answers to what may be seen in a window."""
    policy, critic = run.learner.policy, run.learner.critic
    actions, prefix = (part[one] for part in normalised(policy, windows))
    return {
        "policy": chunks_of(policy, prefix, latents),
        "critic": value_of(critic, prefix, actions),
    }


def _shown(run: Run) -> ChunkBatch:
    """Early, in the middle and late in an episode, as frames."""
    data = run.data
    dataset = data.held_out if data.held_out.num_windows else data.examples
    places = (2 * np.arange(FRAMES_SHOWN) + 1) * dataset.episode_windows[0] // (2 * FRAMES_SHOWN)
    return _frames(dataset, places).to(run.learner.device)


def _averages(run: Run, cameras: list[str]) -> dict[str, Tensor]:
    """Camera -> its average frame [H, W, 3], 0 to 255, of evenly chosen windows."""
    dataset = run.data.offline
    count = min(AVERAGED_WINDOWS, dataset.num_windows)
    chosen = np.linspace(0, dataset.num_windows - 1, count).astype(np.int64)
    seen = _frames(dataset, chosen).observation
    newest = {camera: seen[camera][:, -1].to(run.learner.device) for camera in cameras}
    return {camera: frames.mean(dim=0, dtype=torch.float32) for camera, frames in newest.items()}


def _frames(dataset: ChunkDataset, windows: np.ndarray) -> ChunkBatch:
    """What is hidden is hidden in frames, also where training reads features of them."""
    return dataset.showing_frames().gather(windows, with_next=False)


# ---- what cameras saw ----------------------------------------------------------------------------


def film_cameras(run: Run, label: StageName) -> None:
    """Films of the first successful and the first failed evaluation episode, one a camera.

    They play in real time; of a long episode every so many frames are left out.
    """
    cameras, played = cameras_of(run), run.folder / "evaluations" / label
    list_path = run.folder / "videos" / "cameras" / f"{label}.json"
    if not cameras or list_path.exists() or not played.exists():
        return
    store = EpisodeStore.open(played)
    outcomes = [summary.success for summary in store.summaries()]
    told: list[dict[str, Any]] = []
    for success in (True, False):
        if success in outcomes:
            index = outcomes.index(success)
            told += _film_episode(store, index, cameras, list_path.with_suffix(""))
    write_json(list_path, {"films": told})


def _film_episode(
    store: EpisodeStore, index: int, cameras: list[str], path: Path
) -> list[dict[str, Any]]:
    episode = store.episode(index)
    every = -(-len(episode.observations[cameras[0]]) // FILM_FRAMES)
    outcome = "success" if episode.success else "failure"
    told: list[dict[str, Any]] = []
    for number, camera in enumerate(cameras):
        frames = torch.from_numpy(episode.observations[camera][::every].copy())
        file = path.with_name(f"{path.name}.{outcome}.{number}.mp4")
        write_video(file, shrunk(frames, FILM_SIDE).numpy(), store.spec.control_hz / every)
        facts = {"success": episode.success, "length": episode.length}
        seed = episode.metadata.get("seed")
        told.append({"camera": camera, "file": file.name, "seed": seed} | facts)
    return told
