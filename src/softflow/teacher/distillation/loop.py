"""Distillation: teacher and student take turns in acting, the student learns the teacher's actions.

STUDENT/episodes/       what was executed, with the task's rewards: for critic and online RL
STUDENT/checkpoints/    the student; `softflow train … --from STUDENT` goes on from it
STUDENT/metrics.csv
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.statistics import compute_statistics
from softflow.envs.contract import data_spec
from softflow.envs.orca_cube.tasks import OrcaCube
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.models.value_distribution import support_from_returns
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.teacher.acting import Teacher
from softflow.teacher.distillation.buffer import DistillationBuffer
from softflow.teacher.distillation.config import DistillConfig
from softflow.teacher.distillation.recording import HandRecorder
from softflow.teacher.distillation.student import BatchedStudent
from softflow.teacher.evaluating import Scorekeeper, TurningScore
from softflow.teacher.hand_choice import HandChoice
from softflow.teacher.residual import ResidualHands
from softflow.training.config import TrainingConfig
from softflow.training.learner import Learner
from softflow.training.persistence import model_inputs
from softflow.training.returns import value_range
from softflow.training.run_folder import RunFolder
from softflow.utils.progress import ProgressReporter

EPISODES = "episodes"
SOURCE = "distillation"


class Distillation:
    """One distillation in a folder; begun there before, it goes on.

    Args:
        run: the student's folder.
        teacher: who is imitated.
        config: of the distillation; training: of the student (its networks, `imitation`, noise).
        env_id: environment that the student is for; goes into the store.
        seed: of everything random.
        progress: hears how it goes.

    Raises:
        StoreError: the folder is another's, or damaged.
    """

    def __init__(
        self,
        run: Path,
        teacher: Teacher,
        config: DistillConfig,
        training: TrainingConfig,
        env_id: str,
        seed: int,
        progress: ProgressReporter,
    ) -> None:
        self._run, self._teacher, self._config = run, teacher, config
        self._training, self._seed, self._progress = training, seed, progress
        self._spec, self._neutral = _spec_of(env_id, teacher.which)
        self._chunk = training.model.chunk
        self._hands = self._make_hands(config.num_envs, seed)

    def run(self) -> None:
        """Do what is left."""
        with EpisodeStore.open_or_create(self._run / EPISODES, self._spec) as store:
            self._first_episodes(store)
            learner = self._learner(store)
            folder = RunFolder(self._run)
            try:
                self._iterate(learner, folder, store)
            finally:
                folder.close()

    def _make_hands(self, num: int, seed: int, seconds: float | None = None) -> ResidualHands:
        """Hands seen through noise, randomised as the teacher's were."""
        theirs = self._teacher.facts.config
        settings = replace(theirs.cube, gap=self._config.noise, platform_s=self._config.platform_s)
        if seconds is not None:
            settings = replace(settings, episode_s=max(seconds + 1, settings.platform_s + 1))
        hand = self._teacher.which.make(settings, num, seed, theirs.randomisation)
        return self._teacher.hands(hand)

    def _first_episodes(self, store: EpisodeStore) -> None:
        """The teacher's own episodes, in the student's eyes."""
        wanted = self._config.first_episodes
        if len(store) >= wanted:
            return
        self._progress.begin("the teacher's episodes", wanted, len(store))
        recorder = HandRecorder(store, self._config.num_envs, SOURCE)
        states = self._restart()
        while len(store) < wanted:
            states = self._control_step(states, 1.0, None, recorder, None)
            self._progress.advance(min(len(store), wanted))

    def _learner(self, store: EpisodeStore) -> Learner:
        """The student, with statistics and value range of the first episodes."""
        first = range(self._config.first_episodes)
        statistics = compute_statistics(store, first)
        rewards = [store.episode(i, with_images=False).rewards for i in first]
        low, high = value_range(rewards, self._training.discount)
        support = support_from_returns(low, max(high, 1.0), self._training.model.critic.num_bins)
        inputs = model_inputs(self._training.model, self._spec, statistics)
        learner = Learner(self._training, inputs, support)
        learner.set_up(self._training.imitation)
        return learner

    def _iterate(self, learner: Learner, folder: RunFolder, store: EpisodeStore) -> None:
        config = self._config
        folder.restore(learner)
        begun = folder.position.update_step // config.updates
        if begun:
            self._progress.say(f"goes on after iteration {begun} of {config.iterations}")
        self._progress.begin("distillation", config.iterations, begun)
        buffers: deque[DistillationBuffer] = deque(maxlen=config.kept_buffers)
        recorder = HandRecorder(store, config.num_envs, SOURCE)
        self._hands.hand.reseed(self._seed + 1 + begun)
        student = self._student(learner, config.num_envs)
        states = self._restart()
        for iteration in range(begun, config.iterations):
            share = config.teacher_share(iteration)
            buffer = self._empty_buffer()
            while len(buffer) < config.steps:
                states = self._control_step(states, share, student, recorder, buffer)
            buffers.append(buffer)
            told = self._learn(learner, buffers, iteration)
            folder.position.update_step = (iteration + 1) * config.updates
            told |= {"teacher_share": share, "episodes": float(len(store))}
            if (iteration + 1) % config.evaluate_every == 0 or iteration + 1 == config.iterations:
                told |= self._measured(learner)
            folder.log(told, 0)
            status = f"cost {told[learner.policy.cost_name]:.3f}, teacher acts {share:.2f}"
            self._progress.advance(iteration + 1, status)
            if "student/turns" in told:
                folder.save(learner, self._spec, {})

    def _restart(self) -> np.ndarray:
        self._hands.reset(np.arange(self._hands.hand.num))
        return self._hands.hand.state()

    def _control_step(
        self,
        states: np.ndarray,
        share: float,
        student: BatchedStudent | None,
        recorder: HandRecorder,
        buffer: DistillationBuffer | None,
    ) -> np.ndarray:
        """One control step of all hands; their states after it."""
        hands = self._hands
        corrections = self._teacher.corrections(hands.observation())
        wanted = hands.actions(corrections)
        executed = wanted
        if student is not None:
            own = student.act(states)
            by_teacher = hands.hand.rng.random(len(states)) < share
            executed = np.where(by_teacher[:, None], wanted, own)
        done, _ = hands.execute(executed, corrections)
        recorder.add(states, executed, done, share)
        ended = np.flatnonzero(done.done)
        if buffer is not None:
            buffer.add(states, executed, wanted, done.done)
        if len(ended):
            hands.reset(ended)
            if student is not None:
                student.begin(ended)
        return hands.hand.state()

    def _learn(
        self, learner: Learner, buffers: deque[DistillationBuffer], iteration: int
    ) -> dict[str, float]:
        """The gradient steps of an iteration; the mean of what they tell."""
        rng = np.random.default_rng([self._seed, iteration])
        windows = [buffer.windows(self._chunk) for buffer in buffers]
        sizes = np.array([len(w) for w in windows])
        sums: dict[str, float] = {}
        for update in range(self._config.updates):
            _seed_torch(self._seed, iteration, update)
            counts = rng.multinomial(self._training.imitation.batch_size, sizes / sizes.sum())
            parts = [
                buffer.batch(mine[rng.integers(len(mine), size=count)], self._chunk)
                for buffer, mine, count in zip(buffers, windows, counts, strict=True)
                if count
            ]
            told = learner.imitation_update(ChunkBatch.concatenate(parts))
            for name, value in told.items():
                sums[name] = sums.get(name, 0.0) + float(value) / self._config.updates
        return sums

    def _empty_buffer(self) -> DistillationBuffer:
        (state_dim,) = next(iter(self._spec.observation_shapes.values()))
        return DistillationBuffer(
            self._config.steps, self._config.num_envs, state_dim, self._spec.action_dim
        )

    def _student(self, learner: Learner, num: int) -> BatchedStudent:
        learner.policy.eval()
        return BatchedStudent(_selector(learner), self._chunk, num, self._neutral, self._seed)

    def _measured(self, learner: Learner) -> dict[str, float]:
        """How well student and teacher turn cubes in the same hands."""
        scores = {
            "student": self._score(learner),
            "teacher": self._score(None),
        }
        self._progress.say(f"student: {scores['student']}; teacher: {scores['teacher']}")
        return {
            f"{who}/{name}": value
            for who, score in scores.items()
            for name, value in score.numbers().items()
        }

    def _score(self, learner: Learner | None) -> TurningScore:
        config, num = self._config, min(self._config.num_envs, 32)
        hands = self._make_hands(num, self._seed + 20_000, config.evaluated_s)
        student = None if learner is None else self._student(learner, num)
        keeper = Scorekeeper(hands, config.evaluated_s)
        states = hands.hand.state()
        while not keeper.is_over:
            corrections = self._teacher.corrections(hands.observation())
            actions = hands.actions(corrections) if student is None else student.act(states)
            done = keeper.execute(actions, corrections)
            states = done.state
        return keeper.score()


def _selector(learner: Learner) -> ChunkSelector:
    config = learner.config
    rule = SelectionConfig(min(config.execution_candidates, 4), config.sampling_std, "likelihood")
    return ChunkSelector(learner.policy, None, rule)


def _spec_of(env_id: str, which: HandChoice) -> tuple[DataSpec, np.ndarray]:
    """What the store says of its episodes, and the hand's neutral action."""
    env: Any = OrcaCube(hand=which.description, grasps=which.grasps)
    try:
        return data_spec(env, env_id), env.neutral_action
    finally:
        env.close()


def _seed_torch(*numbers: int) -> None:
    import torch

    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1)[0]))
