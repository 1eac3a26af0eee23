"""What `softflow data import FORMAT` reads: how each format's dataset is opened from its options.

Each function imports its own packages, so that one needs only those of the formats one has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from softflow.cli.data.format_options import (
    Import,
    ImportAct,
    ImportD4rl,
    ImportLerobot,
    ImportMinari,
    ImportRobomimic,
    ImportRosbag,
    ImportUmi,
)
from softflow.data.data_spec import STATE_KEY
from softflow.envs.robomimic import ROBOMIMIC_FAMILIES
from softflow.errors import ConfigError
from softflow.formats.source import Source
from softflow.utils.progress import ProgressReporter

if TYPE_CHECKING:
    from softflow.formats.robomimic.reading import RobomimicSource
    from softflow.formats.rosbag.reading import RosbagSource


def _robomimic(options: ImportRobomimic, _: ProgressReporter) -> Source:
    from softflow.formats.robomimic.reading import RobomimicSource

    source = RobomimicSource(
        options.path,
        filter_key=options.filter_key,
        state_keys=options.state_keys,
        cameras=options.cameras,
        action_key=options.action_key,
        control_hz=options.control_hz,
        end_at_success=not options.whole,
        image_size=options.image_size,
    )
    if options.env_id in ROBOMIMIC_FAMILIES:
        _require_fits(source, options)
    return source


def _require_fits(source: RobomimicSource, options: ImportRobomimic) -> None:
    """Refuse actions and observations that the named environment has otherwise, under one name.

    Raises:
        DataError: another task, robot or controller was recorded.
        ConfigError: robosuite has another version there, and `object` other components.
    """
    from softflow.envs.robomimic.recorded_states import require_same_environment

    require_same_environment(source, options.env_id)
    version = source.environment.version
    of_object = any(name.startswith("object.") for name in source.spec.names.get(STATE_KEY, ()))
    if of_object and version and not version.startswith(("1.5", "1.6")):
        raise ConfigError(
            f"{options.path} was recorded with robosuite {version}, whose observation 'object' has "
            f"another order than that of {options.env_id!r} here; `softflow data render "
            f"{options.path} OUT --env-id {options.env_id}` computes it anew from the simulator's "
            "states"
        )


def _lerobot(options: ImportLerobot, progress: ProgressReporter) -> Source:
    from softflow.formats.lerobot.reading import LeRobotSource

    return LeRobotSource(
        options.path,
        cameras=options.cameras,
        action_key=options.action_key,
        state_keys=options.state_keys,
        end_at_success=not options.whole,
        image_size=options.image_size,
        progress=progress,
    )


def _minari(options: ImportMinari, _: ProgressReporter) -> Source:
    from softflow.formats.minari.reading import MinariSource

    return MinariSource(
        options.path,
        control_hz=options.control_hz,
        end_at_success=not options.whole,
        image_size=options.image_size,
    )


def _d4rl(options: ImportD4rl, _: ProgressReporter) -> Source:
    from softflow.formats.d4rl import D4RLSource

    return D4RLSource(
        options.path,
        control_hz=options.control_hz,
        max_episode_steps=options.max_episode_steps,
        end_at_success=not options.whole,
    )


def _act(options: ImportAct, _: ProgressReporter) -> Source:
    from softflow.formats.act.reading import ActSource

    return ActSource(
        options.path,
        control_hz=options.control_hz,
        action_key=options.action_key,
        state_keys=options.state_keys,
        cameras=options.cameras,
        swap_red_blue=options.swap_red_blue,
        image_size=options.image_size,
    )


def _umi(options: ImportUmi, _: ProgressReporter) -> Source:
    from softflow.formats.replay_buffer.reading import ReplayBufferSource

    return ReplayBufferSource(
        options.path,
        control_hz=options.control_hz,
        action_key=options.action_key,
        state_keys=options.state_keys,
        cameras=options.cameras,
        image_size=options.image_size,
    )


def open_rosbag(options: ImportRosbag, progress: ProgressReporter) -> RosbagSource:
    """The bags with their mapping.

    Raises:
        ConfigError: no mapping was given.
        DataError: no bags there, or they do not have what it maps.
    """
    from softflow.formats.rosbag.reading import RosbagSource

    if options.mapping is None:
        raise ConfigError(
            "give --mapping FILE, which says what topics become; --write-mapping FILE writes one "
            "to start from, --report lists the topics"
        )
    return RosbagSource(options.path, options.mapping, progress)


IMPORTS: dict[str, tuple[type[Import], Callable[[Any, ProgressReporter], Source]]] = {
    "robomimic": (ImportRobomimic, _robomimic),
    "lerobot": (ImportLerobot, _lerobot),
    "minari": (ImportMinari, _minari),
    "d4rl": (ImportD4rl, _d4rl),
    "act": (ImportAct, _act),
    "umi": (ImportUmi, _umi),
    "rosbag": (ImportRosbag, open_rosbag),
}
