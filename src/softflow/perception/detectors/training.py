"""Trains a detector on a folder of renders: `softflow cube-pose train`.

What an update draws depends on the seed and its number alone: a run that was killed and goes on
ends with the weights of one that was not.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softflow.errors import CheckpointError, DataError, NumericalError
from softflow.models.checkpoint import (
    last_checkpoint,
    load_weights,
    prune_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from softflow.perception.detectors.augmentation import augmented
from softflow.perception.detectors.checkpoints import (
    CHECKPOINTS,
    OPTIMIZER,
    POSITION,
    RAW,
    WEIGHTS,
    detector_parts,
)
from softflow.perception.detectors.detection import HEIGHT, WIDTH, Batch, batch_of
from softflow.perception.detectors.presets import DetectorTraining, make_network, network_name
from softflow.perception.renders import Renders
from softflow.perception.scene.backgrounds import Backgrounds, PooledBackgrounds
from softflow.training.persistence import load_optimizer, optimizer_tensors
from softflow.utils.metrics import MetricLogger
from softflow.utils.progress import ProgressReporter

STAGE = "cube_pose"
WARM_UP = 0.02
LOG_EVERY = 20
KEEP = 2
_MAY_CHANGE = ("checkpoint_every", "updates")


class DetectorTrainer:
    """A training that may be stopped at any moment and goes on from its last checkpoint.

    Args:
        plan: how it is trained.
        renders: pictures to learn from.
        behind: backgrounds put into them.
        run: its folder.
        device: where networks are.

    Raises:
        DataError: renders of another size than networks see.
        CheckpointError: the run was begun with another plan, or on another cube.
    """

    def __init__(
        self,
        plan: DetectorTraining,
        renders: Renders,
        behind: Backgrounds,
        run: Path,
        device: torch.device,
    ) -> None:
        size = (renders.record.height, renders.record.width)
        if size != (HEIGHT, WIDTH):
            raise DataError(f"renders are {size}, detectors see {(HEIGHT, WIDTH)}; render anew")
        self.plan, self.renders, self.run, self.device = plan, renders, run, device
        self._behind = PooledBackgrounds(behind)
        torch.manual_seed(plan.seed)
        # Channels last: a sixth faster on CPUs, the same numbers.
        self.network = make_network(plan.network).to(memory_format=torch.channels_last).to(device)
        self.average = copy.deepcopy(self.network).eval()
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self.done, self._rows = 0, 0
        self._go_on()

    def train(self, progress: ProgressReporter) -> None:
        """Do the updates that are left, with a checkpoint now and then.

        Raises:
            NumericalError: a loss is no number.
            StoreError: the system refuses to write.
        """
        plan = self.plan
        logger = MetricLogger(self.run)
        try:
            logger.rewind(self._rows)
            progress.begin("train the detector", plan.updates, self.done)
            started_s, started_at = time.monotonic(), self.done
            while self.done < plan.updates:
                losses = self._update()
                if self.done % LOG_EVERY == 0 or self.done == plan.updates:
                    pictures = (self.done - started_at) * plan.batch_size
                    rate = pictures / (time.monotonic() - started_s)
                    values = {f"loss/{name}": value for name, value in losses.items()}
                    values["pictures_per_s"] = rate
                    logger.log(values, stage=STAGE, update_step=self.done)
                    progress.advance(self.done, f"loss {sum(losses.values()):.3f}")
                if self.done % plan.checkpoint_every == 0 or self.done == plan.updates:
                    self._save(logger.position())
        finally:
            logger.close()

    def _update(self) -> dict[str, float]:
        """One gradient step; its losses."""
        plan = self.plan
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + self.done)
        for group in self._optimizer.param_groups:
            group["lr"] = plan.learning_rate * schedule(self.done, plan.updates)
        self.network.train()
        losses = self.network.losses(self._batch(), generator)
        total = torch.stack(list(losses.values())).sum()
        if not bool(torch.isfinite(total)):
            raise NumericalError(
                f"update {self.done}: the loss is {float(total)}; take a smaller --learning-rate "
                f"than {plan.learning_rate} in a new run"
            )
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), plan.max_gradient)
        self._optimizer.step()
        self.done += 1
        self._follow()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _batch(self) -> Batch:
        plan = self.plan
        rng = np.random.default_rng([plan.seed, 2, self.done])
        chosen = rng.integers(len(self.renders), size=plan.batch_size)
        pictures = [
            augmented(self.renders[int(i)], rng, plan.augmentation, self._behind) for i in chosen
        ]
        return batch_of(pictures, self.device)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average a part of the way; at the start it follows faster."""
        keep = min(self.plan.averaging, (1 + self.done) / (10 + self.done))
        own = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(own[name], 1 - keep)
            else:
                value.copy_(own[name])

    def _save(self, rows: int) -> None:
        plan, cube = self.plan, self.renders.record.cube
        parts = detector_parts(plan.network, cube, self.done, self.average)
        parts.tensors[RAW] = dict(self.network.state_dict())
        parts.tensors[OPTIMIZER] = optimizer_tensors(self._optimizer)
        parts.documents[POSITION] = {
            "done": self.done,
            "rows": rows,
            "plan": _plan_json(plan),
            "renders": self.renders.record.to_json(),
        }
        root = self.run / CHECKPOINTS
        write_checkpoint(root, f"update_{self.done:08d}", parts)
        prune_checkpoints(root, KEEP)

    def _go_on(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        root = self.run / CHECKPOINTS
        folder = last_checkpoint(root) if root.is_dir() else None
        if folder is None:
            return
        parts = read_checkpoint(folder)
        position = parts.document(POSITION)
        self._require_same(position, folder)
        where = str(folder)
        load_weights(self.network, parts.weights(RAW), where)
        load_weights(self.average, parts.weights(WEIGHTS), where)
        load_optimizer(self._optimizer, parts.weights(OPTIMIZER), where)
        self.done, self._rows = int(position["done"]), int(position["rows"])

    def _require_same(self, position: Mapping[str, Any], folder: Path) -> None:
        """Raise CheckpointError unless the run was begun with these words."""
        there, wanted = position["plan"], _plan_json(self.plan)
        differs = [k for k in wanted if k not in _MAY_CHANGE and there.get(k) != wanted[k]]
        if position["renders"]["cube"] != self.renders.record.cube.to_json():
            differs.append("cube of the renders")
        if differs:
            told = ", ".join(f"{k} ({there.get(k, '…')!s:.80})" for k in differs)
            raise CheckpointError(
                f"{folder} was trained with another {told}; go on with the same, or choose another "
                "folder for the run"
            )


def schedule(update: int, updates: int) -> float:
    """The learning rate of an update as part of its highest: up in a line, down in a cosine."""
    warm = max(round(WARM_UP * updates), 1)
    if update < warm:
        return (update + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (update - warm) / max(updates - warm, 1)))


def _plan_json(plan: DetectorTraining) -> dict[str, Any]:
    """As JSON gives it back."""
    return {"kind": network_name(plan.network), **asdict(plan)}
