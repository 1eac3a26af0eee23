"""What a control step costs beside the robot: the loop, its recorder, and the way to the policy."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from benchmarks import ros2_observing
from benchmarks.measuring import Row, Section, Spread, measure
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.robot.control_loop import LoopParts, run_episode
from softflow.robot.inference.deciding import Answer, PolicyFacts, Question
from softflow.robot.inference.process import InferenceProcess
from softflow.robot.protocol import Outcome, Sensed
from softflow.robot.recorder import Recorder
from softflow.utils.imports import trust

HZ = 20.0
CHUNK = ChunkSpec(chunk_length=10, execution_horizon=5, prefix_length=3, history_length=1)
MAKER = "benchmarks.robot_loop:make_decider"


def camera_spec(pixels: int) -> DataSpec:
    """Three cameras and a state, an action of seven numbers."""
    cameras = {f"observation.images.camera_{n}": (pixels, pixels, 3) for n in range(3)}
    return DataSpec({**cameras, STATE_KEY: (7,)}, 7, (-1.0,) * 7, (1.0,) * 7, HZ)


class StillDecider:
    """Decides to stand still, at once.

    Args:
        path: pixels of the cameras.
    """

    def __init__(self, path: str) -> None:
        self.facts = PolicyFacts(camera_spec(int(path)), CHUNK, "still")

    def begin_episode(self, seed: int) -> None:
        """Nothing is random."""

    def decide(self, observations: dict[str, np.ndarray], prefix: np.ndarray) -> np.ndarray:
        """Zeros."""
        return np.zeros((CHUNK.chunk_length, 7), np.float32)


def make_decider(path: str) -> StillDecider:
    """For the policy's process."""
    return StillDecider(path)


class _Here:
    """A decision source in this process, which answers in the next control step."""

    problem, is_busy = "", False

    def __init__(self, facts: PolicyFacts) -> None:
        self.facts = facts
        self._asked: Question | None = None

    def ask(self, question: Question) -> None:
        self._asked = question

    def poll(self) -> Answer | None:
        asked, self._asked = self._asked, None
        chunk = np.zeros((CHUNK.chunk_length, 7), np.float32)
        return None if asked is None else Answer(asked.episode, asked.step, chunk, 0.0, 0)


class _Robot:
    """Delivers a new observation every control step, as its driver would have it ready."""

    def __init__(self, spec: DataSpec, steps: int) -> None:
        self.spec, self.max_episode_steps = spec, steps
        rng = np.random.default_rng(0)
        self.steps = [
            {
                key: rng.integers(0, 255, shape, np.uint8)
                if key in spec.image_keys
                else rng.normal(size=shape).astype(np.float32)
                for key, shape in spec.observation_shapes.items()
            }
            for _ in range(steps + 1)
        ]
        self.now_s: Callable[[], float] = time.monotonic
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._acts = 0

    def observe(self) -> Sensed:
        return Sensed(self.steps[self._acts], self.now_s())

    def act(self, action: np.ndarray) -> Outcome | None:
        self._acts += 1
        return None

    def hold(self) -> np.ndarray:
        return np.zeros(7, np.float32)

    def stop(self) -> None: ...

    def close(self) -> None: ...


class _NoWaiting:
    """The machine's clock, run ahead to every tick."""

    def __init__(self) -> None:
        self._ahead_s = 0.0

    def now_s(self) -> float:
        return time.monotonic() + self._ahead_s

    def wait_until(self, at_s: float) -> None:
        self._ahead_s += max(at_s - self.now_s(), 0.0)


def run(turns: int, pixels: int = 224, steps: int = 40) -> Section:
    """Rows for the recorder, the whole loop, and a decision's way to the process and back."""
    trust(MAKER)
    robot = _Robot(camera_spec(pixels), steps)
    with ros2_observing.variants() as looking:
        looked = measure(looking, turns)
    with InferenceProcess(str(pixels), MAKER) as process:
        variants = {
            "recording": _recording(robot),
            "the whole loop": _loop(robot, _Here(process.facts)),
            "the way to the policy's process and back": _there_and_back(robot, process),
        }
        timings = measure(variants, turns)
    timings = timings.divided({"recording": steps, "the whole loop": steps})
    rows = [_row(name, looked.ms(name)) for name in looking]
    rows += [_row(name, timings.ms(name)) for name in variants]
    title = f"On the robot: three cameras {pixels} × {pixels}, {HZ:g} Hz, per control step"
    return Section(title, "", rows)


def _row(name: str, spread: Spread) -> Row:
    return Row(name, spread, note=f"{spread.median * HZ / 1000:.1%} of a tick")


def _recording(robot: _Robot) -> Callable[[], object]:
    def record() -> None:
        recorder = Recorder(robot.spec)
        for values in robot.steps[:-1]:
            recorder.observed(values)
            recorder.commanded(robot.hold(), None, by_person=False)
        recorder.observed(robot.steps[-1])
        recorder.episode({})

    return record


def _loop(robot: _Robot, source: _Here) -> Callable[[], object]:
    def play() -> None:
        robot.reset(0)
        clock = _NoWaiting()
        robot.now_s = clock.now_s
        end = run_episode(LoopParts(robot, source, clock=clock), 0, 0)
        assert end.ending == "time limit", end.fault

    return play


def _there_and_back(robot: _Robot, process: InferenceProcess) -> Callable[[], object]:
    seen = {key: value[None] for key, value in robot.steps[0].items()}
    prefix = np.zeros((CHUNK.prefix_length, 7), np.float32)

    def decide() -> None:
        process.ask(Question(0, 0, 0, seen, prefix))
        while process.poll() is None:
            if process.problem:
                raise RuntimeError(process.problem)

    return decide
