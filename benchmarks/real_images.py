"""Imitation of a real robot's recordings from pixels and from state alone, on held-out episodes.

    softflow data import lerobot PATH --out data/real --unlabelled success
    python -m benchmarks.real_images --store data/real

Every episode is held out once; the networks learn from the others and never see its statistics. A
frozen image backbone's features are computed once, for all folds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from torch import Tensor

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import compute_statistics
from softflow.models.encoders.mixed import MixedConfig, MixedEncoder
from softflow.models.images.efficientnet_lite0 import EfficientNetLite0Config
from softflow.models.value_distribution import ValueSupport
from softflow.presets import preset
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.training.config import TrainingConfig
from softflow.training.held_out.measuring import MOST, action_errors, log_likelihood
from softflow.training.learner import Learner
from softflow.training.persistence import model_inputs
from softflow.utils.files import write_json

FRAMES_AT_ONCE = 64


@dataclass(frozen=True)
class Options:
    """What is compared, and how long it learns."""

    store: Annotated[Path, tyro.conf.arg(metavar="STORE")]
    """Episode store with cameras."""
    counts: tuple[int, ...] = (50, 100, 200, 400)
    """Imitation updates after which every fold is measured, ascending."""
    chunk_length: int = 15
    """Actions of a chunk; a longer one tells more of what is meant."""
    dropout: float = 0.3
    """Of the policy's heads: recordings are few."""
    noise_std: float = 0.05
    """Of the noise on training actions, normalised."""
    token_dim: int = 64
    """Width of the tokens of state and pixels."""
    resize: tuple[int, int] = (224, 224)
    """Height and width that frames are brought to."""
    candidates: int = 64
    """The likeliest of so many chunks is compared with what was done."""
    seed: int = 0
    """Of weights and batches."""
    json: Path | None = None
    """File for the numbers of every fold."""


@dataclass(frozen=True)
class Held:
    """One fold after so many updates.

    Attributes:
        bits: held-out log-likelihood in bits a number of the chunk, of normalised actions.
        median, most: median and 95 % quantile of |a - â| over steps and components, in the data's
            units.
    """

    bits: float
    median: float
    most: float


def main(options: Options) -> None:
    """All folds of both, their means and how many folds agree."""
    store = EpisodeStore.open(options.store)
    pixels = pixels_config(options)
    encoder = pixels.model.encoder
    assert isinstance(encoder, MixedConfig)
    blind = replace(encoder, cameras=())
    settings = {
        "pixels and state": pixels,
        "state": replace(pixels, model=replace(pixels.model, encoder=blind)),
    }
    features = features_of(store, pixels)
    results: dict[str, list[list[Held]]] = {name: [] for name in settings}
    for fold in range(len(store)):
        for name, config in settings.items():
            results[name] += fold_of(store, config, fold, features, options, [features])
            print(f"episode {fold} held out, {name}: {results[name][-1]}", flush=True)
    _report(results, options.counts)
    if options.json:
        folds = {n: [[vars(held) for held in fold] for fold in r] for n, r in results.items()}
        write_json(options.json, {"updates": list(options.counts), **folds})


def pixels_config(options: Options) -> TrainingConfig:
    """The preset `small-image`, as the options have it."""
    pixels = preset("small-image")
    image = EfficientNetLite0Config(resize=options.resize)
    chunk = ChunkSpec(options.chunk_length, options.chunk_length)
    encoder = replace(pixels.model.encoder, image=image, token_dim=options.token_dim)
    pixels = replace(pixels, model=replace(pixels.model, encoder=encoder, chunk=chunk))
    return replace(pixels, seed=options.seed, noise_std=options.noise_std)


def _report(results: dict[str, list[list[Held]]], counts: Sequence[int]) -> None:
    """Means over folds, and in how many of them pixels help."""
    print("\n| updates | from | bits a number | median error | 95 % error |\n|---|---|---|---|---|")
    pixels, state = results.values()
    for at, count in enumerate(counts):
        for name, folds in results.items():
            held = [fold[at] for fold in folds]
            means = [float(np.mean([getattr(h, key) for h in held])) for key in vars(held[0])]
            print(f"| {count} | {name} | {means[0]:.3f} | {means[1]:.4f} | {means[2]:.4f} |")
        better = [
            sum(
                sign * (getattr(p[at], key) - getattr(s[at], key)) > 0
                for p, s in zip(pixels, state, strict=True)
            )
            for key, sign in (("bits", 1), ("median", -1), ("most", -1))
        ]
        print(
            f"| {count} | better from pixels, of {len(pixels)} | {' | '.join(map(str, better))} |"
        )


@torch.no_grad()
def features_of(store: EpisodeStore, config: TrainingConfig) -> list[dict[str, Tensor]]:
    """Of every episode: camera -> features [T+1, tokens, F]."""
    inputs = model_inputs(config.model, store.spec, compute_statistics(store))
    assert isinstance(config.model.encoder, MixedConfig)
    encoder = MixedEncoder(inputs, config.model.encoder)
    encoder.load_pretrained()
    found = []
    for index in range(len(store)):
        seen = store.episode(index).observations
        found.append(
            {
                camera: torch.cat(
                    [
                        encoder.backbone(number).features(torch.from_numpy(np.array(part)))
                        for part in _parts(seen[camera])
                    ]
                )
                for number, camera in enumerate(encoder.cameras)
            }
        )
        print(f"features of episode {index}", flush=True)
    return found


def _parts(frames: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        yield frames[start : start + FRAMES_AT_ONCE]


def fold_of(
    store: EpisodeStore,
    config: TrainingConfig,
    held_out: int,
    features: list[dict[str, Tensor]],
    options: Options,
    tested: Sequence[list[dict[str, Tensor]]],
) -> list[list[Held]]:
    """Learn from all episodes but one, and measure on that one, after each number of updates.

    Args:
        store: the episodes.
        config: of networks and training.
        held_out: the episode.
        features: of `features_of`, for every episode.
        options: how long, and what is measured.
        tested: features of the same episodes for the measurement: a list of results for each.
    """
    chunk = config.model.chunk
    others = [index for index in range(len(store)) if index != held_out]
    data = ChunkDataset(store, chunk, episodes=others, with_images=False)
    inputs = model_inputs(config.model, store.spec, compute_statistics(data))
    learner = Learner(config, inputs, ValueSupport(0.0, 1.0))
    sampler = ChunkSampler(data, config.imitation.batch_size, config.seed, "imitation", None)
    stage = replace(config.imitation, learning_rate_decay=0.0, dropout=options.dropout)
    seen = _by_window(features, others)
    test = ChunkDataset(store, chunk, episodes=[held_out], with_images=False)
    whole = np.flatnonzero(test.gather(np.arange(test.num_windows)).step_valid.all(1).numpy())
    windows = [_with_features(test.gather(whole), _by_window(t, [held_out])) for t in tested]
    found: list[list[Held]] = [[] for _ in tested]
    for update in range(max(options.counts)):
        learner.set_up(stage, update)
        torch.manual_seed(config.seed + 7919 * update)
        learner.imitation_update(_with_features(sampler.batch(update), seen))
        if update + 1 in options.counts:
            for held, batch in zip(found, windows, strict=True):
                held.append(_measured(learner, batch, options))
    return found


def _by_window(features: list[dict[str, Tensor]], episodes: list[int]) -> dict[str, Tensor]:
    """Camera -> features of the first T frames of these episodes, one for each window."""
    return {
        camera: torch.cat([features[index][camera][:-1] for index in episodes])
        for camera in features[0]
    }


def _with_features(batch: ChunkBatch, seen: dict[str, Tensor]) -> ChunkBatch:
    """The batch as a camera's features see it; history is 1 and the prefix empty."""
    extra: dict[str, Any] = {camera: rows[batch.window][:, None] for camera, rows in seen.items()}
    return replace(batch, observation={STATE_KEY: batch.observation[STATE_KEY], **extra})


@torch.no_grad()
def _measured(learner: Learner, batch: ChunkBatch, options: Options) -> Held:
    policy = learner.policy.eval()
    seen, back = policy.normalize_actions, policy.denormalize_actions
    # An episode that was held out leaves the range of the others: likelihood is asked inside of it.
    inside = back(seen(batch.actions, batch.observation), batch.observation)
    bounded = replace(batch, actions=inside)
    log_prob = log_likelihood(policy, bounded, noise_std=0.0).mean().item()
    generator = torch.Generator().manual_seed(options.seed)
    std = learner.config.sampling_std
    errors = action_errors(policy, batch, options.candidates, std, generator)
    numbers = batch.actions[0].numel() * np.log(2)
    return Held(
        bits=float(log_prob / numbers),
        median=errors.median().item(),
        most=float(np.quantile(errors.numpy(), MOST)),
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
