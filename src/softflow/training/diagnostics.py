"""What an evaluation does not show: how well the policy fits, and whether the critic is right."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from softflow.data.episode_store import EpisodeStore
from softflow.data.measures import EVENTS_KEY
from softflow.models.policy import Condition
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.cameras.stage_pictures import draw_saliency, film_cameras
from softflow.training.config import StageName
from softflow.training.evaluation import episode_seeds, episode_tasks
from softflow.training.held_out.measuring import log_likelihood
from softflow.training.held_out.overlay import write_overlay
from softflow.training.returns import monte_carlo_returns
from softflow.training.run import Run
from softflow.training.updates.convergence import SPAN_UPDATES
from softflow.training.updates.next_chunks import windows_at_once
from softflow.training.updates.normalised_rows import normalised
from softflow.utils.files import read_object, write_json
from softflow.utils.video import write_video

MAX_WINDOWS = 512
DIVERSITY_CANDIDATES = 32
SETTLED = 0.02
"""Share of its range by which a critic's value may still move when its warm-up ends."""
VIDEO_EVERY = 2
"""Control steps between two frames of a video."""


def diagnose(run: Run, label: StageName) -> None:
    """Write diagnostics/LABEL.json, its pictures and films, unless they are there already.

    Of several processes the first does.
    """
    if not run.ranks.is_first:
        return
    path = run.folder / "diagnostics" / f"{label}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(run.config.seed)
        numbers = {"update_step": run.position.update_step, **measure(run, label)}
        if looks := draw_saliency(run, label):
            numbers["saliency"] = looks
        write_json(path, numbers)
    write_overlay(run, label)
    numbers = read_object(path)
    bits = numbers.get("held_out_bits_per_dim")
    if isinstance(bits, float):
        run.progress.say(f"{label}: {bits:.3f} bits per dimension on held-out demonstrations")
    drift = numbers.get("value_drift")
    if isinstance(drift, float):
        run.progress.say(_convergence_in_words(run, drift))
    run.record({name: value for name, value in numbers.items() if isinstance(value, float)})
    if run.config.eval_episodes and not run.pool.is_robot:  # a film is another episode
        _film(run, label)
    film_cameras(run, label)


def _convergence_in_words(run: Run, drift: float) -> str:
    """What became of the critic's warm-up."""
    moved = (
        f"the value of the data moved by {100 * drift:.1f} % of the critic's range in the last "
        f"{SPAN_UPDATES} of {run.position.update_step} updates"
    )
    if drift < SETTLED:
        return f"critic warm-up: {moved}"
    return (
        f"careful: {moved}: the critic has not settled yet, and the next stage trusts it. More "
        "--critic-warmup.num-updates help"
    )


@torch.no_grad()
def measure(run: Run, label: StageName) -> dict[str, Any]:
    """The numbers of diagnostics/LABEL.json."""
    run.learner.policy.eval()
    run.learner.critic.eval()
    windows = _windows(run, run.data.examples)
    actions, prefix = normalised(run.learner.policy, windows)
    condition = run.learner.policy.condition(windows.observation, prefix)
    result: dict[str, Any] = {}
    policy = run.learner.policy
    if label == "critic_warmup" and (drift := run.convergence.drift) is not None:
        result["value_drift"] = drift
    if policy.has_likelihood and _is_whole(windows):
        result["data_log_prob"] = _log_prob(run, windows)
    result |= policy.diagnostics(condition, actions)
    result["candidate_diversity"] = _candidate_diversity(run, condition, len(actions))
    held_out = _windows(run, run.data.held_out) if run.data.held_out.num_windows else None
    if policy.has_likelihood and held_out is not None and _is_whole(held_out):
        nats = -_log_prob(run, held_out)
        dims = run.config.model.chunk.chunk_length * run.spec.action_dim
        result["held_out_bits_per_dim"] = nats / math.log(2) / dims
    evaluated = run.folder / "evaluations" / label
    if label != "imitation" and evaluated.exists():
        result |= _values_against_returns(run, EpisodeStore.open(evaluated))
    return result


def _windows(run: Run, dataset: ChunkDataset) -> ChunkBatch:
    """Whole chunks if there are any, so that likelihoods compare; the same at every stage."""
    rng = np.random.default_rng(run.config.seed)
    count = min(windows_at_once(run.learner.policy.encoder, MAX_WINDOWS), dataset.num_windows)
    chosen = rng.choice(dataset.num_windows, count, replace=False)
    whole = dataset.gather(chosen).step_valid.all(dim=1).numpy()
    return dataset.gather(chosen[whole] if whole.any() else chosen).to(run.learner.device)


def _is_whole(batch: ChunkBatch) -> bool:
    """Whether no chunk runs past its episode's end: padding has no likelihood."""
    return bool(batch.step_valid.all())


def _log_prob(run: Run, batch: ChunkBatch) -> float:
    """Mean log pi of noisy data: the density the policy was fitted to."""
    return log_likelihood(run.learner.policy, batch, run.config.noise_std).mean().item()


def _candidate_diversity(run: Run, condition: Condition, batch_size: int) -> float:
    """Mean distance of candidates from their mean, per action component, normalised units."""
    candidates = run.learner.policy.sample(
        DIVERSITY_CANDIDATES, run.config.sampling_std, condition, batch_size
    )
    return candidates.std(dim=1).mean().item()


def _values_against_returns(run: Run, store: EpisodeStore) -> dict[str, list[float]]:
    """Q at every decision of the evaluation episodes, and the discounted return that followed.

    Only of episodes that the task itself ended: what the time limit cut off is not known, and its
    absence is no mistake of Q.
    """
    chunk = run.config.model.chunk
    ended = [index for index in range(len(store)) if store.summary(index).terminated]
    if not ended:
        return {"q_values": [], "realised_returns": []}
    dataset = ChunkDataset(
        store, chunk, episodes=ended, offline=False, image_keys=run.data.image_keys
    )
    ends = np.cumsum(dataset.episode_windows)
    starts = np.concatenate([[0], ends[:-1]])
    decisions = [
        np.arange(a, b, chunk.execution_horizon) for a, b in zip(starts, ends, strict=True)
    ]
    returns = [
        monte_carlo_returns(dataset.episode(index).rewards, run.config.discount)
        for index in range(len(dataset))
    ]
    windows = np.concatenate(decisions)
    realised = np.concatenate(returns)[windows]
    if len(windows) > (most := windows_at_once(run.learner.policy.encoder, MAX_WINDOWS)):
        chosen = np.random.default_rng(0).choice(len(windows), most, replace=False)
        windows, realised = windows[chosen], realised[chosen]
    batch = dataset.gather(windows).to(run.learner.device)
    actions, prefix = normalised(run.learner.policy, batch)
    critic = run.learner.critic
    values = critic.value(critic.encoder(batch.observation, prefix), actions[:, None])
    return {"q_values": values.flatten().tolist(), "realised_returns": realised.tolist()}


def _film(run: Run, label: StageName) -> None:
    """Videos of the first evaluation episode, LABEL.mp4, and of the first that ended otherwise.

    That one is LABEL.failure.mp4 or LABEL.success.mp4; there is none where all ended alike.
    """
    outcomes, films = _outcomes(run, label), {str(label): 0}
    if len(set(outcomes)) == 2:
        other = "failure" if outcomes[0] else "success"
        films[f"{label}.{other}"] = outcomes.index(not outcomes[0])
    for name, index in films.items():
        if not (run.folder / "videos" / f"{name}.mp4").exists():
            _film_episode(run, label, name, index)


def _outcomes(run: Run, label: StageName) -> list[bool]:
    """Whether each evaluation episode succeeded, in the order of their seeds."""
    path = run.folder / "evaluations" / f"{label}.json"
    episodes = read_object(path)["episodes"] if path.exists() else []
    found = {episode["seed"]: bool(episode["success"]) for episode in episodes}
    seeds = episode_seeds(run.config.seed, "evaluation", len(found))
    return [found[seed] for seed in seeds if seed in found]


def _film_episode(run: Run, label: StageName, name: str, index: int) -> None:
    seeds = episode_seeds(run.config.seed, "evaluation", index + 1)[index:]
    facts = {"source": "evaluation", "label": label}
    how = (run.save(), run.selection(label), run.spec)
    [task] = episode_tasks(*how, seeds, facts, run.rollout_device)
    [result] = run.pool.run([replace(task, render_every=VIDEO_EVERY)])
    if result.frames is not None:
        path = run.folder / "videos" / f"{name}.mp4"
        write_video(path, result.frames, run.spec.control_hz / VIDEO_EVERY)
        episode = result.episode
        shown = {"success": episode.success, "seed": task.seed, "length": episode.length}
        if EVENTS_KEY in episode.metadata:
            shown[EVENTS_KEY] = episode.metadata[EVENTS_KEY]
        write_json(path.with_name(f"{name}.json"), shown)
