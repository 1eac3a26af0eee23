"""Which features of a LeRobot dataset become which key of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from softflow.data.data_spec import IMAGE_PREFIX, OBSERVATION_PREFIX, STATE_KEY
from softflow.errors import DataError
from softflow.formats.contents import spans
from softflow.formats.lerobot.layout import Feature, Layout, component_names
from softflow.formats.source import component_names as numbered
from softflow.formats.source import require_distinct

ACTION = "action"
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True)
class Selection:
    """What is taken.

    Args:
        actions: features that are the action, side by side.
        states: key of the store -> features that make it up, side by side.
        cameras: feature -> key of the store.
        features: feature -> what meta/info.json says of it.
    """

    actions: tuple[str, ...]
    states: dict[str, tuple[str, ...]]
    cameras: dict[str, str]
    features: Mapping[str, Feature]

    @classmethod
    def of(
        cls,
        layout: Layout,
        action_key: Sequence[str] = (),
        state_keys: Sequence[str] = (),
        cameras: Sequence[str] | None = None,
    ) -> Selection:
        """What was asked for; by default "action" and everything called `observation.*`.

        Raises:
            DataError: a feature is missing or of another kind; says which there are, and how to
                name them.
        """
        features = layout.features
        where = f"{layout.path}/meta/info.json"
        actions = tuple(action_key) or (ACTION,)
        for name in (*actions, *state_keys):
            if name not in features:
                raise DataError(
                    f"{where}: no feature '{name}' (it has {sorted(features)}); {_advice(features)}"
                )
            if not features[name].is_numbers:
                raise DataError(
                    f"{where}: '{name}' is {features[name].dtype}, not numbers; {_advice(features)}"
                )
        if state_keys:
            states = {STATE_KEY: tuple(state_keys)}
        else:
            states = {
                key: (key,)
                for key, feature in features.items()
                if key.startswith(OBSERVATION_PREFIX) and feature.is_numbers and key not in actions
            }
        chosen = _cameras(layout, cameras)
        if not (states or chosen):
            raise DataError(
                f"{where}: no feature is called {OBSERVATION_PREFIX}…, so nothing would be seen; "
                f"{_advice(features)}"
            )
        return cls(actions, states, chosen, features)

    @property
    def numbers(self) -> list[str]:
        """Every feature that is read as numbers, each once."""
        states = [name for names in self.states.values() for name in names]
        return list(dict.fromkeys([*states, *self.actions]))

    @property
    def action_sizes(self) -> dict[str, int]:
        """Feature -> number of its components, in the order of the action."""
        return {name: self.size(name) for name in self.actions}

    def size(self, name: str) -> int:
        """Number of components of a feature."""
        return prod(self.features[name].shape)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a state key: the feature's own, or the components side by side."""
        names = self.states[key]
        if len(names) == 1 and key == names[0]:
            return self.features[key].shape
        return (sum(map(self.size, names)),)

    def names(self) -> dict[str, tuple[str, ...]]:
        """What the components of actions and states are called, where the dataset says it."""
        groups = {**self.states, ACTION: self.actions}
        told = {key: self._names_of(key, names) for key, names in groups.items()}
        return {key: names for key, names in told.items() if names}

    def _names_of(self, key: str, features: tuple[str, ...]) -> tuple[str, ...]:
        shape = self.shape(key) if key in self.states else (sum(map(self.size, features)),)
        alone = len(features) == 1
        names: list[str] = []
        for name in features:
            said = component_names(self.features[name].names)
            if len(said) == self.size(name) and len(self.features[name].shape) == 1:
                names += said if alone else [f"{name}/{one}" for one in said]
            elif alone:
                return ()
            else:
                names += numbered(name, self.size(name))
        return tuple(names) if shape == (len(names),) else ()

    def becomes(self) -> dict[str, str]:
        """Feature -> the place in the store that it is taken to."""
        places: dict[str, str] = dict(self.cameras)
        for key, names in {**self.states, ACTION: self.actions}.items():
            together = spans([(name, self.size(name)) for name in names], key)
            for name, place in together.items():
                mine = key if len(names) == 1 else place
                places[name] = f"{places[name]}, {mine}" if name in places else mine
        return places


def _cameras(layout: Layout, wanted: Sequence[str] | None) -> dict[str, str]:
    """Feature -> key in an episode."""
    there = {key: _camera_key(key) for key in layout.cameras}
    if wanted is None:
        usual = {
            feature: key
            for feature, key in there.items()
            if feature.startswith(OBSERVATION_PREFIX) and not layout.features[feature].is_depth
        }
        require_distinct(usual, f"{layout.path}/meta/info.json")
        return usual
    chosen: dict[str, str] = {}
    for name in wanted:
        fits = [
            feature
            for feature, key in there.items()
            if name in (feature, key, key.removeprefix(IMAGE_PREFIX))
        ]
        if not fits:
            told = sorted(there) or "none"
            raise DataError(f"{layout.path} has no camera '{name}'; it has {told}")
        if layout.features[fits[0]].is_depth:
            raise DataError(
                f"{layout.path}: '{name}' is depth by meta/info.json, which the store's cameras "
                "(8-bit colour) cannot keep; leave it out"
            )
        # A whole name is that feature, whatever others are called in short.
        best = name if name in fits else fits[0]
        if best != name:
            require_distinct({feature: there[feature] for feature in fits}, str(layout.path))
        chosen[best] = there[best]
    require_distinct(chosen, str(layout.path))
    return chosen


def _camera_key(feature: str) -> str:
    """observation.images.<camera>, whatever the feature is called."""
    short = feature.removeprefix(IMAGE_PREFIX).removeprefix(OBSERVATION_PREFIX)
    return IMAGE_PREFIX + short


def _advice(features: Mapping[str, Feature]) -> str:
    """The options that name what there is, as far as the names tell."""
    numbers = [k for k, f in features.items() if f.is_numbers and k not in BOOKKEEPING]
    actions = [key for key in numbers if ACTION in key.lower()]
    states = [key for key in numbers if "state" in key.lower() and key not in actions]
    cameras = [key for key, f in features.items() if f.is_camera and not f.is_depth]
    told = [
        f"{option} {' '.join(names)}"
        for option, names in (
            ("--action-key", actions[:1] or ["NAME"]),
            ("--state-keys", states[:1] or ["NAME"]),
            ("--cameras", cameras),
        )
        if names
    ]
    return f"say what is what: {' '.join(told)}"
