"""Options of demo, collect, train, evaluate and report: the docstrings are the text of --help."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from softflow.cli.frame_options import FrameOptions
from softflow.cli.option_types import require_image_size
from softflow.deployment.decision_rule import Rule
from softflow.errors import ConfigError
from softflow.presets import demo as demo_preset
from softflow.presets import softflow_plus
from softflow.training.config import STAGES, StageName, TrainingConfig
from softflow.training.config.limits import MAX_EPISODES, MAX_WORKERS
from softflow.utils.documents import MAX_INTEGER

MAX_SEEDS = 1000


def _require_within(options: Any, name: str, least: int, most: int) -> None:
    """Raise ConfigError unless an option lies in [least, most]."""
    value, option = getattr(options, name), f"--{name.replace('_', '-')}"
    if value < least:
        raise ConfigError(f"{option} is {value}; it must be >= {least}")
    if value > most:
        raise ConfigError(f"{option} is {value:,}; it must be <= {most:,}")


@dataclass(frozen=True)
class Demo:
    """The main job on a simulated task: demonstrations, four stages, evaluation, report.

    Interrupted at any moment, the same command goes on from there.
    """

    run: Path = Path("runs/demo")
    """Folder of the run: data, checkpoints, metrics, report."""
    env: str = "cube-single"
    """Task: cube-single, cube-double, scene or puzzle-3x3, optionally with -task1 to -task5; or
    lift, can or square."""
    demonstrations: int = 120
    """Demonstrations to collect from the scripted operators."""
    config: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=demo_preset)
    """The `demo` preset; override any number of it."""

    def __post_init__(self) -> None:
        _require_within(self, "demonstrations", 1, MAX_EPISODES)


@dataclass(frozen=True)
class Collect(FrameOptions):
    """Collect demonstrations from scripted operators of different skill (some episodes fail)."""

    out: Path
    """Episode store to fill; episodes already there are kept."""
    env: str = "cube-single"
    """Task: cube-single, cube-double, scene or puzzle-3x3, optionally with -task1 to -task5; or
    lift, can or square."""
    episodes: int = 120
    """Demonstrations to have in the store at the end."""
    operator: str = ""
    """Who demonstrates alone, instead of all at random; swift (lift, can, square: expert) does it
    only if asked to. A name that there is not is answered with all that there are."""
    seed: int = 0
    """Episode i is the same for the same seed, whatever the number of workers."""
    workers: int = 2
    """Simulator processes."""
    image_size: tuple[int, int] | None = None
    """Height and width of the cameras to record, such as 84 84; None records the state alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_within(self, "episodes", 1, MAX_EPISODES)
        _require_within(self, "workers", 1, MAX_WORKERS)
        _require_within(self, "seed", 0, MAX_INTEGER)
        require_image_size(self.image_size)


@dataclass(frozen=True)
class Train:
    """Train on an episode store; any subset of the stages, continued where it was stopped."""

    dataset: Path
    """Episode store with the demonstrations (failures included)."""
    run: Path
    """Folder of the run; if it holds a run already, that run continues, also with more updates or
    other numbers for what is still to come; history.json there keeps what changed."""
    start: Annotated[str, tyro.conf.arg(name="from")] = ""
    """Another run, or a checkpoint of one (RUN/checkpoints/NAME), whose networks a new run starts
    from; sizes and keys must be the same, and its normalisation is kept."""
    from_critic: bool = True
    """Take its critic along too, where that has learned: then it chooses chunks from the start, in
    evaluations of imitation, too. --no-from-critic leaves its critic behind."""
    stages: tuple[StageName, ...] = STAGES
    """Stages to run, in the paper's order."""
    seeds: int = 1
    """Train so many seeds, from --seed on, each in a folder of its own: RUN/seed0, RUN/seed1, …
    The same command goes on with what is missing. RUN/comparison.html shows them together."""
    jobs: int = 0
    """How many of these seeds train at a time, each in a process of one thread; 0: as many as this
    machine gives it cores."""
    logger: Literal["tensorboard", "wandb"] = "tensorboard"
    """Where curves go beside metrics.csv: TensorBoard always, Weights & Biases too if asked (extra
    wandb; its own variables say where to: WANDB_PROJECT, WANDB_MODE=offline)."""
    policy: str = ""
    """Another policy than the preset's: its name, or package.module:Class; its own numbers are then
    --model.policy.*."""
    critic: str = ""
    """Another critic, in the same way."""
    encoder: str = ""
    """Another encoder of observations, in the same way: mixed reads cameras."""
    image: str = ""
    """Another image backbone of that encoder, in the same way: resnet18, timm, dinov2,
    efficientnet_lite0; its own numbers are then --model.encoder.image.*."""
    env: str = ""
    """The environment that the data names, if that is an import path (module:function): it runs
    code, so it is imported only if you name it here."""
    robot_eval_episodes: int = 5
    """Most episodes of an evaluation where the environment is a robot (docs/environments.md)."""
    config: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=softflow_plus)
    """The preset; override any number of it, as in --offline-rl.bc-coef 0.03."""

    def __post_init__(self) -> None:
        _require_within(self, "seeds", 1, MAX_SEEDS)
        _require_within(self, "jobs", 0, MAX_WORKERS)
        _require_within(self, "robot_eval_episodes", 1, MAX_EPISODES)


@dataclass(frozen=True)
class Evaluate:
    """Success rate of a checkpoint, or what its task declares, with 95 % intervals.

    Every episode is kept.
    """

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Checkpoint folder, for example RUN/checkpoints/last; or a run, for its newest one. A
    pretrained_model/ alone does, too, by likelihood."""
    episodes: int | None = None
    """Episodes to run; None: 100, and 5 of a robot."""
    seed: int = 0
    """Same seed, same episodes, same result."""
    rule: Rule = "auto"
    """How a chunk is chosen: by critic, by likelihood, or as the policy is deployed: by critic once
    it has learned."""
    candidates: int = 0
    """Chunks sampled a decision; 0 takes the configuration's number for its stage."""
    workers: int = 2
    """Simulator processes."""
    latency_ms: tuple[float, ...] = (0.0,)
    """How long after its observation a decision arrives, in milliseconds: one number, or the two
    ends of a range that is drawn from for every decision. The world goes on meanwhile, as around a
    robot; a decision is used from the next control step on."""
    stop_to_think: bool = False
    """With a latency: the robot stands still while a decision is taken, instead of going on with
    what is left of the one before. For a policy without prefix actions."""
    device: str = "auto"
    """Where the policy decides: auto is the CPU for one that reads states alone, and a GPU, if
    there is one, for one that looks through cameras."""
    out: Path | None = None
    """Folder for the result; by default RUN/evaluations/extra."""
    env: str = ""
    """The environment that the checkpoint names, if that is an import path (module:function): it
    runs code, so it is imported only if you name it here. One that gives the same observations,
    where the checkpoint names none."""
    replace_env: bool = False
    """Measure in --env although the checkpoint names another environment: one that was renamed, or
    another one that gives the same observations."""
    policy: str = ""
    """The checkpoint's policy, if it is one of your own (package.module:Class), in the same way."""
    critic: str = ""
    """Its critic, in the same way."""
    encoder: str = ""
    """Its encoder, in the same way."""
    image: str = ""
    """The image backbone of that encoder, in the same way."""


@dataclass(frozen=True)
class Report:
    """Write the self-contained HTML report of a run, also of one still running.

    Of several runs: one page that compares them. Runs that differ in their seed only are pooled.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]")]
    """The run folder; several of them, or a folder of runs (those of --seeds), are compared."""
    out: Path | None = None
    """The page that compares runs; by default comparison.html beside them."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("name a run folder, or several to compare them")
