"""What `softflow data render` goes through: a file of simulator states, or a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from softflow.cli.data.store_options import Render
from softflow.data.episode_store import EpisodeStore
from softflow.data.seen_again import are_others
from softflow.envs.registry import make_env, require_known_env
from softflow.envs.replayed_store import ReplayedStore
from softflow.envs.robomimic import ROBOMIMIC_FAMILIES
from softflow.errors import ConfigError
from softflow.utils.imports import trust

if TYPE_CHECKING:
    from softflow.envs.robomimic.recorded_states import RecordedStates


@contextmanager
def rendered_source(options: Render) -> Iterator[ReplayedStore | RecordedStates]:
    """The source, its environment open.

    Raises:
        ConfigError: no environment is named, or none that can be set to a file's states.
    """
    is_store = (options.source / "store.json").exists()
    env_id = options.env_id
    if is_store and not env_id:
        env_id = EpisodeStore.open(options.source).spec.env_id
    if not env_id:
        raise ConfigError("name the environment that was recorded, such as --env-id lift")
    trust(options.env_id)
    require_known_env(env_id)
    if not is_store and env_id not in ROBOMIMIC_FAMILIES:
        raise ConfigError(
            f"states of a file can be set in {', '.join(ROBOMIMIC_FAMILIES)}, not in {env_id!r}"
        )
    env = make_env(env_id, image_size=options.size)
    try:
        if is_store:
            yield ReplayedStore(options.source, env, env_id, tolerance=options.tolerance)
        else:
            yield _recorded_states(options, env, env_id)
    finally:
        env.close()


def _recorded_states(options: Render, env: Any, env_id: str) -> RecordedStates:
    # It needs h5py, which a store does not.
    from softflow.envs.robomimic.recorded_states import RecordedStates

    return RecordedStates(
        options.source,
        env,
        env_id,
        tolerance=options.tolerance,
        filter_key=options.filter_key,
        end_at_success=not options.whole,
    )


def proof(source: ReplayedStore | RecordedStates) -> str:
    """How well what was recorded fits what was seen, in a line or two."""
    errors = ", ".join(f"{part} {error:.2g}" for part, error in source.largest_errors.items())
    line = "the source recorded no observations to compare with"
    if errors:
        line = f"largest differences to what was recorded: {errors}"
    if isinstance(source, ReplayedStore):
        return line
    missed, moved = source.steps_m
    line += (
        f"\na step from a recorded state ends {1000 * missed:.2g} mm from the next one, "
        f"the gripper having moved {1000 * moved:.2g} mm (means)"
    )
    if are_others(missed, moved):
        line += (
            "\ncareful: these actions were another controller's; do not learn from them here "
            "(the store remembers it, training will say so)"
        )
    return line
