"""Presets: complete configurations by name.

`robomimic-image`, `robomimic-state` and `scissors` are the paper's settings, each number with its
section. `small` is the same method in a size that trains on two CPU cores. `softflow-plus`, from
state, is the default, and goes beyond the paper; `small-image` is `softflow-plus` through cameras,
`demo` is `softflow-plus` for `make demo`. `cube` is the paper's cube in the hand, `cube-small` the
same on two CPU cores.
"""

from __future__ import annotations

from softflow.errors import ConfigError
from softflow.presets.cube import cube, cube_small
from softflow.presets.ours import demo, small, small_image, softflow_plus
from softflow.presets.paper import robomimic_image, robomimic_state, scissors
from softflow.training.config import TrainingConfig

PRESETS = {
    "softflow-plus": softflow_plus,
    "small-image": small_image,
    "small": small,
    "demo": demo,
    "robomimic-image": robomimic_image,
    "robomimic-state": robomimic_state,
    "scissors": scissors,
    "cube": cube,
    "cube-small": cube_small,
}

_EARLIER = {
    "paper": "robomimic-state or scissors",
    "paper-sim": "robomimic-state",
    "paper-real": "scissors (from state alone: --encoder state_mlp)",
}
"""Names of softflow 0.1 and what they are called now."""


def preset(name: str) -> TrainingConfig:
    """A preset by name.

    Raises:
        ConfigError: no such preset; lists the ones there are.
    """
    if name in _EARLIER:
        raise ConfigError(f'preset "{name}" is now {_EARLIER[name]}')
    if name not in PRESETS:
        raise ConfigError(f'no preset "{name}"; choose one of {", ".join(PRESETS)}')
    return PRESETS[name]()


def summary(name: str) -> str:
    """What a preset is, in one line."""
    return (PRESETS[name].__doc__ or "").splitlines()[0].rstrip(".:")
