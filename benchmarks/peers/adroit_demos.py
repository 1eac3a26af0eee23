"""`python -m benchmarks.peers.adroit_demos`: imperfect demonstrations of the Adroit hand.

An expert policy demonstrates with a hand that shakes: Gaussian noise on every action component,
correlated over about 0.1 s, whose size was chosen so that about half of the episodes fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
import tyro

from benchmarks.peers.command import run_command
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.metadata import metadata_value
from softflow.envs.contract import RobotEnv, data_spec
from softflow.envs.registry import make_env
from softflow.errors import ConfigError, DataError
from softflow.models.policy import Observation
from softflow.training.evaluation import episode_seed
from softflow.training.rollouts import run_episode
from softflow.utils.progress import ConsoleProgress, ProgressReporter

NOISE_STD = {"adroit-door": 0.13, "adroit-hammer": 0.15, "adroit-pen": 0.6, "adroit-relocate": 0.1}
"""Standard deviation of the shaking, in action units (the space is [-1, 1])."""
NOISE_MEMORY = 0.9
"""Correlation of the shaking between two control steps."""
RECORDED = "adroit_demos"
"""Metadata key: which demonstration of which expert an episode is."""


@dataclass(frozen=True)
class Options:
    """Demonstrations of one task, a store a seed: DATA/TASK/seedN.

    Episode i follows from task, seed, noise and i alone; a store that was interrupted is filled up.
    """

    experts: Path
    """Folder of TASK_expert_policy.npz (door, hammer, pen, relocate): tanh networks of
    aravindr93/hand_dapg as arrays W0, b0, W1, b1, W2, b2, in_shift, in_scale, out_shift and
    out_scale."""
    task: Literal["adroit-door", "adroit-hammer", "adroit-pen", "adroit-relocate"] = "adroit-pen"
    """What is demonstrated."""
    seed: tuple[int, ...] = (0,)
    """One store each."""
    data: Path = Path("data/peers")
    """Where the stores are, as in `python -m benchmarks.peers`."""
    episodes: int = 120
    """How many demonstrations a store gets."""
    noise_std: float | None = None
    """Standard deviation of the shaking, in action units; by default 0.13 for the door, 0.15 for
    the hammer, 0.6 for the pen, 0.1 to relocate the ball: about half succeed."""

    def __post_init__(self) -> None:
        if self.episodes < 1 or min(self.seed, default=0) < 0 or (self.noise_std or 0.0) < 0:
            raise ConfigError(
                f"--episodes {self.episodes} must be >= 1, --seed {self.seed} and --noise-std "
                f"{self.noise_std} >= 0"
            )

    @property
    def noise(self) -> float:
        """The size of the shaking that counts."""
        return NOISE_STD[self.task] if self.noise_std is None else self.noise_std


class Expert:
    """A trained policy: state [D] -> action [A], not yet clipped to [-1, 1].

    Raises:
        ConfigError: the file cannot be read, or lacks an array.
    """

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path) as archive:
                self._arrays = {name: archive[name] for name in archive}
            self(np.zeros(len(self._arrays["in_shift"])))
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(
                f"{path} is no expert policy ({error}); give the folder with --experts"
            ) from error

    def __call__(self, state: np.ndarray) -> np.ndarray:
        """The action that the expert takes on average."""
        w = self._arrays
        hidden = (state - w["in_shift"]) / w["in_scale"]
        for layer in (0, 1):
            hidden = np.tanh(w[f"W{layer}"] @ hidden + w[f"b{layer}"])
        return (w["W2"] @ hidden + w["b2"]) * w["out_scale"] + w["out_shift"]


def shaking(
    expert: Expert, noise_std: float, rng: np.random.Generator
) -> Callable[[Observation, torch.Tensor, torch.Generator], torch.Tensor]:
    """The expert as a rollout asks for decisions, one action a time; its hand shakes."""
    shake: float | np.ndarray = 0.0

    def select(observation: Observation, _: torch.Tensor, __: torch.Generator) -> torch.Tensor:
        nonlocal shake
        action = expert(observation[STATE_KEY][0, 0].numpy())
        fresh = rng.normal(size=action.shape) * np.sqrt(1 - NOISE_MEMORY**2)
        shake = NOISE_MEMORY * shake + fresh
        return torch.from_numpy((action + noise_std * shake).astype(np.float32))[None, None]

    return select


def demonstrate(env: RobotEnv, expert: Expert, options: Options, seed: int, index: int) -> Episode:
    """Demonstration number `index` of a seed."""
    rng = np.random.default_rng([seed, index])
    origin = {"seed": seed, "index": index, "noise_std": options.noise}
    selector = shaking(expert, options.noise, rng)
    at = episode_seed(seed, "demonstration", index)
    return run_episode(env, selector, ChunkSpec(1, 1), at, {RECORDED: origin}).episode


def fill(options: Options, seed: int, progress: ProgressReporter) -> EpisodeStore:
    """Record what is missing in the store of a seed; the store, to be read.

    Raises:
        DataError: it holds other episodes.
        ConfigError: no expert, or no simulator.
    """
    name = options.task.removeprefix("adroit-")
    expert = Expert(options.experts / f"{name}_expert_policy.npz")
    path = options.data / options.task / f"seed{seed}"
    env = make_env(options.task)
    with EpisodeStore.open_or_create(path, data_spec(env, options.task)) as store:
        missing = _missing(store, options, seed)
        first = options.episodes - len(missing)
        successes = sum(bool(summary.success) for summary in store.summaries())
        progress.begin(f"{options.task} seed {seed}", options.episodes, first)
        for done, index in enumerate(missing, first + 1):
            episode = demonstrate(env, expert, options, seed, index)
            store.append(episode)
            successes += episode.success
            progress.advance(done, f"{successes} successful")
    env.close()
    return EpisodeStore.open(path)


def _missing(store: EpisodeStore, options: Options, seed: int) -> list[int]:
    there = set()
    for summary in store.summaries():
        where = f"episode {summary.index} of '{store.path}'"
        found = metadata_value(summary.metadata, RECORDED, dict[str, Any], {}, where)
        wanted = {"seed": seed, "index": found.get("index"), "noise_std": options.noise}
        if found != wanted:
            raise DataError(
                f"{where} is not one of these demonstrations ({found or 'recorded otherwise'}, not "
                f"{wanted}); choose another --data folder"
            )
        there.add(found["index"])
    return [index for index in range(options.episodes) if index not in there]


def in_words(store: EpisodeStore) -> str:
    """How many succeed, and how long they and all together last."""
    summaries = store.summaries()
    lengths = [summary.length for summary in summaries if summary.success]
    took = (
        f" in {min(lengths)} to {max(lengths)}, median {median(lengths):g} steps" if lengths else ""
    )
    steps = sum(summary.length for summary in summaries)
    return f"{store.path}: {len(lengths)} of {len(summaries)} succeed{took}; {steps:,} steps in all"


def main(words: Sequence[str]) -> None:
    """Run the command.

    Raises:
        SoftflowError: says what is wrong with the options, or with a file.
    """
    options = tyro.cli(
        Options,
        args=list(words),
        prog="python -m benchmarks.peers.adroit_demos",
        description=__doc__,
    )
    for seed in options.seed:
        with ConsoleProgress() as progress:
            store = fill(options, seed, progress)
        print(in_words(store))


if __name__ == "__main__":
    run_command(main, "benchmarks.peers.adroit_demos")
