"""Weights & Biases beside TensorBoard: a view of metrics.csv, sent while a run writes it.

Training does not wait for it and does not fail with it. Rows are sent once, by their number: what a
run writes again after a crash is what W&B has already. Where it goes, and whether at once, is said
by wandb's own variables: WANDB_PROJECT (softflow unless told), WANDB_ENTITY, WANDB_MODE=offline.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import threading
import warnings
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from softflow.errors import ConfigError, StoreError, brief
from softflow.utils.files import is_there, read_object, write_json
from softflow.utils.metrics import MetricRow, read_rows

INTERVAL_S = 5.0
STATE = "wandb.json"
"""In the run folder: the run's id at W&B, and how many rows it has been sent."""


def require_wandb() -> None:
    """Raise unless the package is there.

    Raises:
        ConfigError: it is not; says how to install it.
    """
    found = importlib.util.find_spec("wandb")
    # A mere folder called wandb, such as wandb makes for offline runs, has no origin.
    if found is None or found.origin is None:
        raise ConfigError(
            "--logger wandb needs the package 'wandb'; install it with pip install "
            "'softflow[wandb]', or leave --logger out (TensorBoard is always written)"
        )


class WandbMirror:
    """Sends the rows of a run's metrics.csv to W&B from a thread, until it is closed.

    W&B is asked for a run with the first row that it has not got, so a command that is refused
    makes none. One that goes on with a run goes on with its run there.

    Args:
        run: the run folder, there or not.
        interval_s: between two looks into metrics.csv.

    Raises:
        ConfigError: the package wandb is not installed.
    """

    def __init__(self, run: Path, interval_s: float = INTERVAL_S) -> None:
        require_wandb()
        self._run, self._interval_s = run, interval_s
        self._there: Any = None
        self._id, self._sent = "", 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="wandb", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        """Send what is new, now and then and once more in the end."""
        try:
            self._remember()
            while not self._ended.wait(self._interval_s):
                self._send()
            self._send()
            if self._there is not None:
                self._there.finish()
        except Exception as error:  # whatever a service does, training goes on
            warnings.warn(
                f"Weights & Biases gets no more of {self._run}: {brief(error)}. Training goes on; "
                "metrics.csv has everything, and the same command sends what is missing",
                stacklevel=2,
            )

    def _remember(self) -> None:
        """What was sent before."""
        if is_there(self._run / STATE):
            state = read_object(self._run / STATE)
            self._id, self._sent = str(state.get("id", "")), int(state.get("rows", 0))

    def _send(self) -> None:
        try:
            rows = read_rows(self._run / "metrics.csv", self._sent)
        except StoreError:  # the run itself says what is wrong with it
            return
        if not rows:
            return
        there = self._opened()
        number = self._sent
        for place, group in groupby(rows, _place):
            values = list(group)
            number += len(values)
            there.log(_values(place, values), step=number)
        self._sent = number
        write_json(self._run / STATE, {"id": self._id, "rows": number})

    def _opened(self) -> Any:
        """The run at W&B."""
        if self._there is None:
            import wandb  # pyright: ignore[reportMissingImports]

            self._id = self._id or secrets.token_hex(4)
            config = self._run / "config.json"
            self._there = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "softflow"),
                id=self._id,
                resume="allow",
                name=self._run.resolve().name,
                group=self._run.resolve().parent.name,
                dir=str(self._run),
                config=read_object(config) if is_there(config) else {},
                settings=wandb.Settings(console="off", silent=True),
            )
        return self._there


def _place(row: MetricRow) -> tuple[str, int, int]:
    return row.stage, row.update_step, row.robot_steps


def _values(place: tuple[str, int, int], rows: list[MetricRow]) -> dict[str, float]:
    """The numbers of one moment: stage/name, as TensorBoard has them, and when that was."""
    stage, update_step, robot_steps = place
    numbers = {f"{stage}/{row.name}": row.value for row in rows}
    moment = {"update_step": update_step, "robot_steps": robot_steps, "time_s": rows[0].time_s}
    return numbers | moment
