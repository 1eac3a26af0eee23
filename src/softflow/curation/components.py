"""How a person names one component of the data: `observation.state[3]`, `action[gripper]`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from softflow.data.data_spec import DataSpec, is_image_key
from softflow.data.episode import Episode
from softflow.errors import DataError

ACTION, REWARD = "action", "next.reward"
_REFERENCE = re.compile(r"(?P<key>[^\[\]\s]+)(?:\[(?P<component>[^\[\]]+)\])?")


def component_sizes(spec: DataSpec) -> dict[str, int]:
    """Components of one row of every array of numbers: states sorted by key, then the action."""
    shapes = {key: spec.observation_shapes[key] for key in spec.state_keys}
    return {key: int(np.prod(shape)) for key, shape in shapes.items()} | {ACTION: spec.action_dim}


def component_name(spec: DataSpec, key: str, component: int) -> str:
    """What a component is called; empty if the data has no name for it."""
    names = spec.names.get(key, ())
    return names[component] if component < len(names) else ""


def parse_component(text: str, spec: DataSpec) -> tuple[str, list[int]]:
    """`key`, `key[number]` or `key[name]` as the key and the components meant.

    Returns:
        The key and flat component indices; all of them where none is given.

    Raises:
        DataError: no such key or component; says which there are.
    """
    sizes = component_sizes(spec) | {REWARD: 1}
    match = _REFERENCE.fullmatch(text.strip())
    key = match["key"] if match else text
    if match is None or key not in sizes:
        kind = " (a camera has no numbers)" if is_image_key(key) else ""
        raise DataError(
            f"'{text}' names nothing in this data{kind}; write KEY, KEY[NUMBER] or KEY[NAME] with "
            f"KEY one of {', '.join(sizes)}"
        )
    if match["component"] is None:
        return key, list(range(sizes[key]))
    return key, [_component(match["component"].strip(), spec.names.get(key, ()), sizes[key], text)]


def _component(word: str, names: Sequence[str], size: int, text: str) -> int:
    if word in names:
        return names.index(word)
    if word.isdigit() and int(word) < size:
        return int(word)
    known = f" or one of {', '.join(names)}" if names else ""
    raise DataError(f"'{text}': no component {word!r}; give 0 to {size - 1}{known}")


def rows_of(episode: Episode, key: str) -> np.ndarray:
    """An array of an episode as `[T or T+1, components]`."""
    array = {ACTION: episode.actions, REWARD: episode.rewards}.get(key)
    array = episode.observations[key] if array is None else array
    return array.reshape(len(array), -1)


def fits(episode: Episode, key: str, spec: DataSpec) -> bool:
    """Whether an array of an episode has the type and shape that the spec gives it."""
    return misfit(episode, key, spec) == ""


def misfit(episode: Episode, key: str, spec: DataSpec) -> str:
    """What is wrong with the type or shape of an array; empty if nothing is."""
    own = {ACTION: episode.actions, REWARD: episode.rewards}
    array = own.get(key, episode.observations.get(key))
    if not isinstance(array, np.ndarray):
        return "missing" if array is None else f"a {type(array).__name__}, not a numpy array"
    rows = {ACTION: (spec.action_dim,), REWARD: ()}
    steps = len(episode.actions)
    expected = (steps, *rows[key]) if key in rows else (steps + 1, *spec.observation_shapes[key])
    if array.shape != expected:
        return f"shape {array.shape}, expected {expected}"
    dtype = np.dtype(np.uint8 if is_image_key(key) else np.float32)
    return "" if array.dtype == dtype else f"{array.dtype}, expected {dtype}"
