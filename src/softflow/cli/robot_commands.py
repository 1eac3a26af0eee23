"""What `softflow robot` does. No torch in here: the policy has a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from softflow.cli.option_types import parsed
from softflow.cli.robot_options import SERVERS, Robot
from softflow.data.action_space import is_only_narrower
from softflow.data.data_spec import DataSpec, require_same_spec
from softflow.data.episode_store import EpisodeStore
from softflow.envs.registry import is_robot, make_env, require_known_env
from softflow.errors import ConfigError, RobotStoppedError
from softflow.robot import protocol
from softflow.robot.control_loop import LoopParts
from softflow.robot.death_watch import DeathWatch
from softflow.robot.environment_robot import EnvironmentRobot
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.robot_side import RobotSide
from softflow.robot.exchange.stop_listening import StopListener
from softflow.robot.inference.process import InferenceProcess
from softflow.robot.learner_rounds import LearnerRounds
from softflow.robot.person.operator_commands import (
    Commands,
    endings_interrupt,
    first_of,
    keys,
    signals,
)
from softflow.robot.person.take_over import KeyPilot, TakeOver, nobody
from softflow.robot.person.watched_files import HeartbeatFile, StopFile
from softflow.robot.robot_lock import RobotLock
from softflow.robot.ros2.rclpy_modules import ros
from softflow.robot.ros2.settings import read_settings
from softflow.robot.safety.limits import Limits
from softflow.robot.safety.limits_file import read_limits
from softflow.robot.safety.safety_layer import SafetyLayer
from softflow.robot.session import Listening, SessionPlan, run_session
from softflow.robot.token_file import read_token
from softflow.utils.console import say
from softflow.utils.imports import follow, trust

KEYS = "keys"
SERVED = "softflow.robot.inference.served_decider:connect_decider"


def run(words: list[str]) -> None:
    """Parse the words after `softflow robot` and do it."""
    options: Robot = parsed(Robot, "softflow robot", words)
    try:
        with endings_interrupt():
            run_robot(options)
    except KeyboardInterrupt as error:
        raise RobotStoppedError(
            f"interrupted; the robot was told to stop and given back. Episodes that ended are in "
            f"'{options.out}'"
        ) from error


def run_robot(options: Robot) -> None:
    """Load everything, then run the episodes; whatever was opened is closed at every end."""
    named = (options.robot, options.env_id, options.take_over, options.on_death)
    trust(*filter(_is_path, named), *options.networks)
    limits = read_limits(options.limits) if options.limits else Limits()
    make = _robot_maker(options)
    _take_over(options, lambda: "")  # mistakes are told before a policy is loaded
    with ExitStack() as stack:
        for name in _lock_names(options):
            stack.enter_context(RobotLock(name))
        if options.on_death:
            stack.enter_context(DeathWatch(options.on_death))
        unclosed = stack.enter_context(ExitStack())
        source, robot = _policy_and_robot(options, make, stack, unclosed)
        _require_made_for(source.facts.spec, robot.spec, options)
        if options.explore:
            _say_exploring(source.facts.exploration_std, options)
        SafetyLayer(limits, robot.spec)  # limits of another robot are told before it is reset
        store = stack.enter_context(
            EpisodeStore.open_or_create(options.out, robot.spec, options.frame_storage)
        )
        parts = LoopParts(robot, source, limits)
        listening = _listening(parts, options, stack)
        rounds = _rounds(options, source, store, stack)
        unclosed.pop_all()  # the session closes the robot
        run_session(parts, store, _plan(options), listening, before_episode=rounds)
    say(f"episodes: {options.out}")


def _say_exploring(std: float, options: Robot) -> None:
    if std == 0:
        say("exploring: it decides as the run's online episodes do, not as it is deployed")
        return
    learner = "the learner corrects the policy by what they earn"
    nobody = "nobody learns from it without --exchange"
    say(
        f"exploring: each episode shifts its actions by an offset of its own (standard deviation "
        f"{std:g}, normalised); {learner if options.exchange else nobody}"
    )


def _policy_and_robot(
    options: Robot, make: MakeRobot, stack: ExitStack, unclosed: ExitStack
) -> tuple[InferenceProcess, protocol.Robot]:
    """The policy in its process, and the robot: whichever must know the other comes second."""
    say("loading the policy in a process of its own")
    if not options.policy.startswith(SERVERS):
        how = {"device": options.device, "explore": "yes" if options.explore else ""}
        source = stack.enter_context(InferenceProcess(options.policy, **how))
        robot = make(source.facts.spec.image_size)
        unclosed.callback(robot.close)
        return source, robot
    token = read_token(options.token_file) if options.token_file else ""
    robot = make(None)
    unclosed.callback(robot.close)
    asked = _unnamed(robot.spec) if options.replace_env else robot.spec
    spec = json.dumps(asked.to_json())
    served = InferenceProcess(options.policy, SERVED, spec=spec, token=token)
    return stack.enter_context(served), robot


def _rounds(
    options: Robot, source: InferenceProcess, store: EpisodeStore, stack: ExitStack
) -> LearnerRounds | None:
    """What is done between episodes where a learner shares a folder."""
    if options.exchange is None:
        return None
    side = RobotSide(options.exchange, store, options.name, source.facts.chunk, say)
    stack.callback(side.send)  # the last episodes
    return LearnerRounds(side, source, say)


def _require_made_for(spec: DataSpec, robot: DataSpec, options: Robot) -> None:
    """Raise unless the policy's data are the robot's, which may allow wider actions.

    Raises:
        DataError: names each differing field.
        ConfigError: nothing but the name of the environment differs.
    """
    if options.replace_env:
        robot = _unnamed(robot)
    elif options.env_id and _fits(spec, _unnamed(robot)) and not _fits(spec, robot):
        raise ConfigError(
            f"--env-id is {options.env_id!r}, but the policy '{options.policy}' learned from data "
            f"of {spec.env_id!r}; to let it act there all the same (it was renamed, or gives the "
            "same observations), add --replace-env"
        )
    if not is_only_narrower(spec, robot):
        require_same_spec(spec, robot, f"the policy '{options.policy}'", "the robot")


def _unnamed(spec: DataSpec) -> DataSpec:
    """The same, of an environment that may have any name."""
    return replace(spec, env_id="")


def _fits(spec: DataSpec, robot: DataSpec) -> bool:
    return is_only_narrower(spec, robot) or not spec.differences(robot)


def _is_path(word: str) -> bool:
    return ":" in word


MakeRobot = Callable[[tuple[int, int] | None], protocol.Robot]
"""Makes the robot, or the environment in its place with cameras of this height and width."""


def _robot_maker(options: Robot) -> MakeRobot:
    """What makes the robot, or the environment in its place with the cameras of a policy's data."""
    if options.robot:
        make = protocol.robot_maker(options.robot)
        return lambda _: make()
    if options.ros2:
        return _ros2_maker(options.ros2)
    env_id = options.env_id
    require_known_env(env_id)
    return lambda size: EnvironmentRobot(make_env(env_id, image_size=size), env_id)


def _ros2_maker(path: Path) -> MakeRobot:
    """What makes a robot behind ROS 2; mistakes and missing packages are told now."""
    settings = read_settings(path)
    ros()
    from softflow.robot.ros2.robot import Ros2Robot  # needs Pillow, which others do not

    return lambda _: Ros2Robot(settings)


def _lock_names(options: Robot) -> list[str]:
    """Of what nobody else may hold meanwhile: the robot, or each topic that it is commanded by."""
    if options.ros2:
        domain = os.environ.get("ROS_DOMAIN_ID", "0")
        commands = read_settings(options.ros2).command
        return [f"ros2 {domain}{command.topic}" for command in commands]
    if options.robot:
        return [options.robot]
    return [options.env_id] if is_robot(options.env_id) else []


def _plan(options: Robot) -> SessionPlan:
    at_terminal = not options.env_id and sys.stdin.isatty()
    return SessionPlan(
        options.episodes,
        options.seed,
        options.pause_every,
        asks_verdict=options.verdict == "always" or (options.verdict == "auto" and at_terminal),
        annotator=options.annotator,
    )


def _listening(parts: LoopParts, options: Robot, stack: ExitStack) -> Listening:
    """What the loop hears while an episode runs: signals and keys then, files all the time."""
    files: list[Commands] = []
    if options.stop_file:
        if options.stop_file.exists():
            raise ConfigError(f"--stop-file '{options.stop_file}' is there already; remove it")
        stop_file = StopFile(options.stop_file)
        stack.callback(stop_file.close)
        files.append(stop_file)
    if options.exchange:
        listener = StopListener(ExchangeFolder(options.exchange), say)
        stack.enter_context(listener)
        files.append(lambda: "stop" if listener.stopped else None)
    if options.heartbeat_file:
        heartbeat = HeartbeatFile(options.heartbeat_file)
        stack.callback(heartbeat.close)
        parts = replace(parts, heartbeat=heartbeat)

    @contextmanager
    def listening() -> Iterator[LoopParts]:
        with signals() as told, keys() as pressed:
            sources = [told, *files, *([pressed] if pressed else [])]
            hook = _take_over(options, pressed.others if pressed else lambda: "")
            yield replace(parts, commands=first_of(sources), take_over=hook)

    return listening


def _take_over(options: Robot, pressed: Callable[[], str]) -> TakeOver:
    """Who acts in place of the policy.

    Raises:
        ConfigError: there is no such function.
    """
    if not options.take_over:
        return nobody
    if options.take_over == KEYS:
        return KeyPilot(pressed)
    try:
        return follow(options.take_over)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"--take-over is {options.take_over!r}, which cannot be imported ({error}); give keys, "
            "or module:function"
        ) from error
