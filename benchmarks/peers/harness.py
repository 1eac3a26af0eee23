"""One harness for every measuring stick: offline updates, then episodes with updates after each.

Demonstrations, environment, time limit, seeds of episodes and evaluations are softflow's own, and
its rollout plays the episodes. State is kept at every evaluation, and every update has its own
randomness: a run that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers.clock import CpuClock
from benchmarks.peers.job import Job, Progress, in_words, record
from benchmarks.peers.method import Method, MethodConfig, Sizes
from benchmarks.peers.replay import Batch, Replay, Windows
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.envs.registry import make_env
from softflow.errors import ConfigError
from softflow.models.action_selection import Selector
from softflow.models.policy import Observation
from softflow.training.evaluation import episode_seed
from softflow.training.rollouts import run_episode
from softflow.utils.files import written_whole
from softflow.utils.progress import ProgressReporter


class PeerRun:
    """One seed of one method, from its last evaluation on.

    Args:
        job: what is asked for.
        config: the method and its settings.
        reporter: told how it goes.
    """

    def __init__(self, job: Job, config: MethodConfig, reporter: ProgressReporter) -> None:
        self.job, self.config, self.reporter = job, config, reporter
        store = EpisodeStore.open(job.store)
        demonstrations = [store.episode(i, with_images=False) for i in range(len(store))]
        self.windows = Windows.of(
            store.spec, config.chunk_length, config.discount, config.reward_offset
        )
        self.replay = Replay(self.windows, demonstrations)
        self.env = make_env(job.task)
        observation_dim = self.replay.offline.observations.shape[1]
        torch.manual_seed(job.seed)
        self.method: Method = config.make(
            Sizes(observation_dim, store.spec.action_dim, config.chunk_length)
        )
        self.progress, self.clock = Progress(), CpuClock()
        self._restore()

    @property
    def _state_file(self) -> Path:
        return self.job.folder / "state.pt"

    def _restore(self) -> None:
        if not self._state_file.exists():
            return
        state = torch.load(self._state_file, weights_only=True)
        progress = Progress(**state["progress"])
        if progress.online_episodes > min(self.job.missing):
            self.reporter.say("a row before where this run has come is missing: it starts anew")
            return
        if state["demonstrations"] != self.job.name.demonstrations:
            raise ConfigError(
                f"{self.job.folder} has learned from {state['demonstrations']} demonstrations, not "
                f"{self.job.name.demonstrations}; choose another --runs folder"
            )
        self.method.load_state_dict(state["method"])
        self.progress = progress
        self.clock = CpuClock(state["spent_s"])
        if state["online"]:
            self.replay.online = Batch(**state["online"])
        self.reporter.say(f"continuing after {self.progress.online_episodes} online episodes")

    def _save(self) -> None:
        online = self.replay.online
        state: dict[str, Any] = {
            "demonstrations": self.job.name.demonstrations,
            "method": self.method.state_dict(),
            "progress": vars(self.progress),
            "spent_s": self.clock.spent_s,
            "online": vars(online) if online else {},
        }
        self.job.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(self._state_file) as temp:
            torch.save(state, temp)

    def run(self) -> None:
        """Everything up to the last evaluation asked for."""
        missing = self.job.missing
        for count in self.job.counts:
            if count < self.progress.online_episodes or count > max(missing):
                continue
            self._learn_offline()
            self._learn_online(count)
            with self.clock.apart():
                if count in missing:
                    row = record(self.job, self.progress, self.clock, self._evaluate())
                    self.reporter.say(in_words(row))
                self._save()

    def _learn_offline(self) -> None:
        wanted, progress = self.config.offline_updates, self.progress
        if progress.offline_updates < wanted:
            self.reporter.begin(f"{self.job.method} offline", wanted, progress.offline_updates)
        while progress.offline_updates < wanted:
            self._update("offline", progress.offline_updates)
            progress.offline_updates += 1
            if progress.offline_updates % 100 == 0:
                self.reporter.advance(progress.offline_updates)

    def _learn_online(self, num_episodes: int) -> None:
        progress = self.progress
        if progress.online_episodes < num_episodes:
            self.reporter.begin(f"{self.job.method} online", num_episodes, progress.online_episodes)
        while progress.online_episodes < num_episodes:
            episode = self._play("online", progress.online_episodes, explore=True)
            self.replay.add(episode)
            progress.online_episodes += 1
            progress.robot_steps += episode.length
            progress.collected_successes += int(episode.success)
            while progress.online_updates < self.config.update_ratio * progress.robot_steps:
                self._update("online", progress.online_updates)
                progress.online_updates += 1
            self.reporter.advance(
                progress.online_episodes, f"{progress.collected_successes} succeeded"
            )

    def _update(self, phase: str, number: int) -> None:
        with self.clock.timed("update"):
            torch.manual_seed(_update_seed(self.job.seed, phase, number))
            ratio = self.config.offline_ratio
            self.method.update(self.replay.draw(self.config.batch_size, ratio))

    def _evaluate(self) -> list[tuple[bool, int]]:
        """Successes and lengths, from the same initial states at every evaluation."""
        count = self.job.eval_episodes
        self.clock.mean_ms("decision")  # those of collecting are not this evaluation's
        self.reporter.begin(f"{self.job.method} evaluate", count)
        outcomes = []
        for index in range(count):
            episode = self._play("evaluation", index, explore=False)
            outcomes.append((episode.success, episode.length))
            self.reporter.advance(index + 1, f"{sum(s for s, _ in outcomes)} succeeded")
        return outcomes

    def _play(self, purpose: str, index: int, explore: bool) -> Episode:
        """An episode that softflow would start in the same state."""
        length = self.config.chunk_length
        seed = episode_seed(self.job.seed, purpose, index)
        chunk = ChunkSpec(chunk_length=length, execution_horizon=length)
        return run_episode(self.env, self._selector(explore), chunk, seed, {}).episode

    def _selector(self, explore: bool) -> Selector:
        """The method as softflow's rollouts ask for decisions."""

        def select(
            observation: Observation, _: torch.Tensor, generator: torch.Generator
        ) -> torch.Tensor:
            with self.clock.timed("decision"):
                state = self.windows.flat({key: o[0].numpy() for key, o in observation.items()})
                chunks = self.method.act(torch.from_numpy(state), generator, explore)
                actions = self.windows.unscaled(chunks.numpy())
                return torch.from_numpy(np.asarray(actions, np.float32))

        return select


def run_peer(job: Job, config: MethodConfig, reporter: ProgressReporter) -> None:
    """Fill in the rows of a job that are missing."""
    if job.missing:
        PeerRun(job, config, reporter).run()


def _update_seed(seed: int, phase: str, update: int) -> int:
    sequence = np.random.SeedSequence([seed, zlib.crc32(phase.encode()), update])
    return int(sequence.generate_state(1)[0])
