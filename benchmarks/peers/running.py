"""Jobs one after the other, or some at a time in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.peers.harness import run_peer
from benchmarks.peers.job import Job
from benchmarks.peers.method import MethodConfig
from benchmarks.peers.softflow_run import run_softflow
from softflow.training.config import TrainingConfig
from softflow.utils.imports import do_trusting, with_my_trust
from softflow.utils.progress import ConsoleProgress
from softflow.utils.worker_pool import WorkerPool

Config = MethodConfig | TrainingConfig


def run_job(task: tuple[Job, Config]) -> None:
    """One seed, in this process, with one thread."""
    job, config = task
    torch.set_num_threads(1)
    with ConsoleProgress() as progress:
        if isinstance(config, MethodConfig):
            run_peer(job, config, progress)
        else:
            run_softflow(job, config, progress)


def run_jobs(jobs: Sequence[Job], config: Config, at_a_time: int) -> None:
    """All jobs with these settings; what one of them raises ends the others."""
    tasks = [(job, config) for job in jobs]
    if at_a_time == 1 or len(jobs) == 1:
        for task in tasks:
            run_job(task)
        return
    with WorkerPool(min(at_a_time, len(jobs))) as pool:
        for _ in pool.map(do_trusting, with_my_trust(run_job, tasks)):
            pass
