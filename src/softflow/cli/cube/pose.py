"""What `softflow cube-pose` does, and its options: the docstrings are the text of --help."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from softflow.cli.option_types import parsed
from softflow.cli.words import InPath, OutPath, asks_for_help, first_line, overview, require_command
from softflow.errors import ConfigError
from softflow.perception.pose.confidence import SURE
from softflow.utils.console import say
from softflow.utils.progress import ConsoleProgress

if TYPE_CHECKING:
    from softflow.perception.detectors.checkpoints import Detector

PROG = "softflow cube-pose"


@dataclass(frozen=True)
class Render:
    """Render pictures of a cube in a hand from below, with labels, to learn from or to judge by.

    Stopped at any moment, the same command goes on.
    """

    out: OutPath
    """Folder for the pictures."""
    count: int = 4000
    """How many."""
    seed: int = 0
    """Of everything random; take another one for held-out pictures."""
    hand: Literal["auto", "orca", "capsules"] = "auto"
    """What holds the cube: the ORCA hand if orca_sim is installed, else a hand of capsules."""
    backgrounds: Path | None = None
    """Folder of pictures to put behind the hand; by default they are made up."""
    cube: Path | None = None
    """TOML file with side_m and face_colours of a cube of your own; see docs/cube_pose.md."""


@dataclass(frozen=True)
class Film:
    """Render a film of a cube turning in a hand, its camera's calibration and the true poses.

    For trying `softflow cube-pose run` without a camera.
    """

    out: OutPath
    """Folder for film.mp4, camera.toml and truth.csv."""
    seconds: float = 12.0
    """How long."""
    seed: int = 100
    """Of everything random."""
    hand: Literal["auto", "orca", "capsules"] = "auto"
    """What holds the cube."""


@dataclass(frozen=True)
class Train:
    """Train a detector of the cube's corners on rendered pictures.

    Stopped at any moment, the same command goes on from the last checkpoint.
    """

    preset: Annotated[Literal["small", "paper"], tyro.conf.Positional]
    """small: heat maps, for two cores. paper: Mask R-CNN with ResNet-50, for a GPU (App. B2)."""
    renders: Path
    """Folder of `softflow cube-pose render`."""
    run: Path
    """Folder for checkpoints and metrics."""
    updates: int | None = None
    """Gradient steps, by default the preset's; may be changed when a run goes on."""
    batch_size: int | None = None
    """Pictures in each."""
    learning_rate: float | None = None
    """AdamW's at its highest."""
    seed: int = 0
    """Of weights, batches and augmentation."""
    checkpoint_every: int | None = None
    """Updates from one checkpoint to the next."""
    weights: str = ""
    """For `paper`: file of torchvision's weights to start from. Nothing is ever downloaded."""
    backgrounds: Path | None = None
    """Folder of pictures to put behind the hand; by default they are made up."""
    device: str = "auto"
    """Torch device."""
    threads: int | None = None
    """Of PyTorch on the CPU; by default as many as it likes."""


@dataclass(frozen=True)
class Evaluate:
    """Judge a detector on held-out renders: errors by visible corners, speed, what fails.

    Writes evaluation.json and evaluation.html into the run folder, or where --out says.
    """

    checkpoint: InPath
    """Run folder of `softflow cube-pose train`, or one of its checkpoints."""
    renders: Path
    """Folder of `softflow cube-pose render`, of another seed than those learned from."""
    count: int | None = None
    """Pictures to judge; by default all."""
    occlusion: float = 0.5
    """Share of them in which rods and patches hide the cube, beside the hand's fingers."""
    out: Path | None = None
    """Folder for the results; by default that of the checkpoint."""
    min_confidence: float = SURE
    """How sure a pose must be, 0 (all) to 1; those that are less count as not seen."""
    device: str = "cpu"
    """Torch device."""
    threads: int | None = None
    """Of PyTorch on the CPU; by default as many as it likes."""


@dataclass(frozen=True)
class Run:
    """Follow the cube through a film: a file of poses, and the film with the cube drawn into it."""

    checkpoint: InPath
    """Run folder of `softflow cube-pose train`, or one of its checkpoints."""
    film: InPath
    """A video file, or a folder of pictures in the order of their names."""
    out: Path
    """Folder for poses.csv (or .jsonl) and poses.mp4."""
    calibration: Path | None = None
    """TOML file with the camera's width, height, fx, fy, cx, cy and distortion."""
    format: Literal["csv", "jsonl"] = "csv"
    """Of the poses."""
    fps: float | None = None
    """Pictures a second; needed for a folder."""
    min_confidence: float = SURE
    """How sure a pose must be, 0 (all) to 1; those that are less count as not seen."""
    device: str = "cpu"
    """Torch device."""
    threads: int | None = None
    """Of PyTorch on the CPU; by default as many as it likes."""


@dataclass(frozen=True)
class Node:
    """A ROS 2 node: pictures of a camera in, the cube's pose out as PoseStamped, until Ctrl-C."""

    checkpoint: InPath
    """Run folder of `softflow cube-pose train`, or one of its checkpoints."""
    image: str
    """Topic of sensor_msgs/Image, or of CompressedImage with --compressed."""
    pose: str = "/cube/pose"
    """Topic of geometry_msgs/PoseStamped, in the camera's frame, with the picture's stamp."""
    calibration: Path | None = None
    """TOML file with the camera's calibration …"""
    camera_info: str = ""
    """… or topic of sensor_msgs/CameraInfo."""
    compressed: bool = False
    """The topic holds JPEG or PNG pictures."""
    min_confidence: float = SURE
    """How sure a pose must be, 0 (all) to 1; those that are less count as not seen."""
    device: str = "cpu"
    """Torch device."""
    threads: int | None = None
    """Of PyTorch on the CPU; by default as many as it likes."""


COMMANDS: dict[str, type] = {
    "render": Render,
    "film": Film,
    "train": Train,
    "evaluate": Evaluate,
    "run": Run,
    "node": Node,
}


def run(words: list[str]) -> int:
    """Parse the words after `softflow cube-pose` and do what they say; the exit status."""
    if asks_for_help(words):
        lines = {name: first_line(kind) for name, kind in COMMANDS.items()}
        say(overview(PROG, "the pose of a cube in a hand, from a camera", lines))
        return 0
    name = words[0]
    require_command(name, COMMANDS, "cube-pose ")
    given = parsed(COMMANDS[name], f"{PROG} {name}", words[1:])
    does: dict[str, Callable[[Any], None]] = {
        "render": render,
        "film": film,
        "train": train,
        "evaluate": evaluate,
        "run": run_film,
        "node": node,
    }
    does[name](given)
    return 0


def render(given: Render) -> None:
    """Render what the folder lacks."""
    from softflow.perception.cube_model import read_cube
    from softflow.perception.rendering import RenderPlan, render_folder

    plan = RenderPlan(
        given.count, given.seed, given.hand, read_cube(given.cube), backgrounds=given.backgrounds
    )
    with ConsoleProgress() as progress:
        made = render_folder(plan, given.out, progress)
    say(f"{made:,} pictures made now; {given.count:,} are in '{given.out}'")


def film(given: Film) -> None:
    """Render a film with its calibration and the true poses."""
    from softflow.perception.rendered_film import render_film
    from softflow.perception.rendering import RenderPlan

    with ConsoleProgress() as progress:
        render_film(RenderPlan(1, given.seed, given.hand), given.seconds, given.out, progress)
    say(f"film.mp4, camera.toml and truth.csv are in '{given.out}'")


def train(given: Train) -> None:
    """Do the updates that are left."""
    from softflow.perception.detectors.mask_rcnn import MaskRcnnConfig
    from softflow.perception.detectors.presets import preset
    from softflow.perception.detectors.training import DetectorTrainer
    from softflow.perception.renders import Renders
    from softflow.perception.scene.backgrounds import backgrounds
    from softflow.training.hardware.devices import usable_device

    _use_threads(given.threads)
    names = ("updates", "batch_size", "learning_rate", "checkpoint_every")
    told = {name: getattr(given, name) for name in names if getattr(given, name) is not None}
    plan = replace(preset(given.preset), seed=given.seed, **told)
    if given.weights:
        if not isinstance(plan.network, MaskRcnnConfig):
            raise ConfigError(f"--weights is for the preset paper; {given.preset} has none")
        plan = replace(plan, network=replace(plan.network, weights=given.weights))
    behind, device = backgrounds(given.backgrounds), usable_device(given.device)
    trainer = DetectorTrainer(plan, Renders(given.renders), behind, given.run, device)
    with ConsoleProgress() as progress:
        trainer.train(progress)
    say(f"detector: {given.run}")


def evaluate(given: Evaluate) -> None:
    """Judge, print the table, write numbers and page."""
    from softflow.perception.evaluation import HeldOut
    from softflow.perception.evaluation import evaluate as judge
    from softflow.perception.evaluation_page import HEAD, SURE_HEAD, rows_of, write_page
    from softflow.perception.renders import Renders
    from softflow.utils.files import write_json

    detector = _detector(given)
    pictures = HeldOut(Renders(given.renders), given.occlusion)
    with ConsoleProgress() as progress:
        result = judge(detector, pictures, progress, given.count, given.min_confidence)
    out = given.out or given.checkpoint
    out.mkdir(parents=True, exist_ok=True)
    about = {"updates": detector.updates, "occlusion": given.occlusion, **result.to_json()}
    write_json(out / "evaluation.json", about)
    title = f"{given.checkpoint.resolve().name} · softflow cube-pose"
    write_page(out / "evaluation.html", result, detector, pictures, title)
    for name, head, lines in (
        ("all poses", HEAD, result.lines),
        (f"poses that are at least {result.min_confidence:g} sure", SURE_HEAD, result.sure),
    ):
        say(f"{name}:")
        for row in (head, *rows_of(lines)):
            say("  ".join(f"{cell:>12}" for cell in row))
    alarms, sure = result.false_alarms, result.sure_alarms
    said = ""
    if alarms is not None:
        said = f"; without a cube, one is found in {alarms:.1%}, and sure in {sure:.1%}"
    say(
        f"{result.hz:.1f} pictures a second, {result.busy_ms:.0f} ms of processor time each{said}. "
        f"Page: {out / 'evaluation.html'}"
    )


def run_film(given: Run) -> None:
    """Follow the cube through a film."""
    from softflow.perception.camera import read_calibration
    from softflow.perception.running import run_on
    from softflow.perception.tracker import CubeTracker

    camera = read_calibration(given.calibration)
    tracker = CubeTracker(_detector(given), camera, min_confidence=given.min_confidence)
    with ConsoleProgress() as progress:
        did = run_on(given.film, tracker, given.out, progress, given.format, given.fps)
    say(
        f"{did.pictures} pictures: the cube was seen in {did.seen}, its pose known after "
        f"{did.known}. {did.poses}, {did.video}"
    )


def node(given: Node) -> None:
    """Answer every picture with a pose until Ctrl-C."""
    from softflow.perception.camera import read_calibration
    from softflow.perception.ros2_node import CubePoseNode, NodeSettings
    from softflow.robot.person.operator_commands import endings_interrupt

    settings = NodeSettings(
        *(given.image, given.pose, given.compressed, given.camera_info),
        min_confidence=given.min_confidence,
    )
    has_file = given.calibration is not None or not given.camera_info
    camera = read_calibration(given.calibration) if has_file else None
    worker = CubePoseNode(_detector(given), camera, settings)
    say(f"waiting for pictures on {given.image}; poses go to {given.pose}. Ctrl-C ends it")
    try:
        with endings_interrupt():
            worker.run(threading.Event())
    except KeyboardInterrupt:
        say(f"{worker.sent} poses were sent")
    finally:
        worker.close()


def _detector(given: Evaluate | Run | Node) -> Detector:
    """The detector of a command, on its device."""
    from softflow.perception.detectors.checkpoints import load_detector
    from softflow.training.hardware.devices import usable_device

    _use_threads(given.threads)
    return load_detector(given.checkpoint, usable_device(given.device))


def _use_threads(threads: int | None) -> None:
    if threads is None:
        return
    if not 1 <= threads <= 1024:
        raise ConfigError(f"--threads is {threads}; give 1 to 1024")
    import torch

    torch.set_num_threads(threads)
