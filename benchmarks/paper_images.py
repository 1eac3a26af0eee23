"""The paper's image policies: a decision against looking alone, an update against its operations.

Sizes of `robomimic-image` (two cameras of 84 × 84, a ResNet-18 each) and `scissors` (three of
224 × 224 through one DINOv2 ViT-L/14).
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.matrix_products import PlainProducts, Product
from benchmarks.measuring import Row, Section, Spread, measure
from benchmarks.synthetic import (
    ACTION_DIM,
    STATE_DIM,
    chunk_batch,
    leave_identity,
    statistics,
)
from benchmarks.update_time import SQUARE
from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.models.inputs import ModelInputs
from softflow.models.value_distribution import ValueSupport
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.config import TrainingConfig
from softflow.training.learner import Learner

CANDIDATES = (24, 64, 128)
"""App. C2: in RL on the robot, after initialisation there, in simulation."""
DECISION_AIM, UPDATE_AIM = "≤ 1.5", "≤ 2"
_FORGET_PEAK = Path("/proc/self/clear_refs")
"""Where Linux is told to measure the peak of a process anew."""


@dataclass(frozen=True)
class Case:
    """A preset and the cameras it is given.

    Attributes:
        name: of the preset.
        config: the preset.
        cameras, pixels: how many, and their width and height.
        batch_size: rows of an update; None takes each stage's own.
    """

    name: str
    config: TrainingConfig
    cameras: int
    pixels: int
    batch_size: int | None

    def batch(self, stage_size: int) -> ChunkBatch:
        """Random windows with frames."""
        size = self.batch_size or stage_size
        plain = chunk_batch(size, self.config.model.chunk)
        seen, following = (
            part | self._frames(size) for part in (plain.observation, plain.next_observation)
        )
        batch = replace(plain, observation=seen, next_observation=following)
        return batch.to(self.config.device)

    def learner(self) -> Learner:
        """Networks with random weights; they cost the same."""
        model = self.config.model
        frame = (self.pixels, self.pixels, 3)
        shapes = {STATE_KEY: (STATE_DIM,)} | dict.fromkeys(self._keys, frame)
        inputs = ModelInputs(model.chunk, statistics(STATE_DIM, ACTION_DIM), shapes)
        learner = Learner(self.config, inputs, ValueSupport(0.0, 1.0))
        leave_identity(learner.policy)
        return learner

    @property
    def _keys(self) -> list[str]:
        return [f"{IMAGE_PREFIX}camera_{number}" for number in range(self.cameras)]

    def _frames(self, size: int) -> dict[str, Tensor]:
        history = self.config.model.chunk.history_length
        shape = (size, history, self.pixels, self.pixels, 3)
        return {key: torch.randint(0, 256, shape, dtype=torch.uint8) for key in self._keys}


def run(case: Case, turns: int, device: str) -> Section:
    """Rows for decisions, then for updates from frames."""
    case = replace(case, config=replace(case.config, device=device))
    learner = case.learner()
    rows = _decisions(case, learner, turns) + _updates(case, learner, turns)
    size = f"{case.cameras} × {case.pixels} × {case.pixels}"
    return Section(f"`{case.name}`: {size}, frames as they come", "this ÷ floor", rows)


def _decisions(case: Case, learner: Learner, turns: int) -> list[Row]:
    """One decision by Alg. 2 for each number of candidates, against the policy's encoder alone."""
    batch, std = replace(case, batch_size=1).batch(1), case.config.sampling_std
    policy, critic = learner.policy.eval(), learner.critic.eval()

    @torch.inference_mode()
    def look() -> object:
        return policy.encoder(batch.observation, batch.prefix_actions)

    def decide(num: int) -> Callable[[], object]:
        selector = ChunkSelector(policy, critic, SelectionConfig(num, std))
        return lambda: selector(batch.observation, batch.prefix_actions)

    deciding = {f"decision, N = {num}": decide(num) for num in CANDIDATES}
    timings = measure({"encoder alone": look} | deciding, turns, case.config.device)
    rows = [Row("encoder alone, one observation", timings.ms("encoder alone"))]
    for name in deciding:
        ratio = timings.ratio(name, "encoder alone")
        rows.append(Row(name, timings.ms(name), ratio, DECISION_AIM, "floor: the encoder alone"))
    return rows


def _updates(case: Case, learner: Learner, turns: int) -> list[Row]:
    """One update of each kind against as many operations in large products; its peak memory."""
    config, rl = case.config, case.config.offline_rl
    device = config.device
    imitation, reinforced = (case.batch(stage.batch_size) for stage in (config.imitation, rl))
    updates = {
        f"imitation, batch {imitation.batch_size}": lambda: learner.imitation_update(
            learner.prepared(imitation)
        ),
        f"critic in RL, batch {reinforced.batch_size}": lambda: learner.critic_update(
            learner.prepared(reinforced), rl
        ),
        f"actor in RL, batch {reinforced.batch_size}": lambda: learner.actor_update(
            learner.prepared(reinforced), rl, rl.bc_coef
        ),
    }
    return [_against_floor(name, update, turns, device) for name, update in updates.items()]


def _against_floor(name: str, update: Callable[[], object], turns: int, device: str) -> Row:
    with FlopCounterMode(display=False) as counter:
        update()
    flops, square = counter.get_total_flops(), Product(1, SQUARE, SQUARE, SQUARE)
    floor = PlainProducts({square: 1}, device)
    timings = measure({"update": update, "floor": floor}, turns, device, loops={"floor": 5})
    times, ratio = flops / square.flops, timings.ratio("update", "floor")
    spread = Spread(ratio.median / times, ratio.low / times, ratio.high / times)
    note = f"{flops / 1e9:,.0f} GFLOP; peak {_peak_mb(update, device):,.0f} MB"
    return Row(name, timings.ms("update"), spread, UPDATE_AIM, note)


def _peak_mb(update: Callable[[], object], device: str) -> float:
    """The most memory while an update runs: of the device, or of the whole process on a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        update()
        return torch.cuda.max_memory_allocated() / 1e6
    if _FORGET_PEAK.exists():
        _FORGET_PEAK.write_text("5")
    update()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
