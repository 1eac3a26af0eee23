"""The help of `softflow train`, which has too many options to read: first what one needs.

`softflow train --help` shows presets, examples, and what most runs are told; `softflow train PRESET
--help` every number of that preset, in the order in which a run needs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import getdoc

from softflow.cli.help.examples import EXAMPLES
from softflow.cli.help.page import Group, chosen, groups_of, listed, once, page
from softflow.cli.option_types import OPTION_TYPES
from softflow.cli.run_options import Demo, Train
from softflow.presets import PRESETS, summary

USAGE = "softflow train [PRESET] --dataset PATH --run PATH [OPTIONS]"
_WORK = ("dataset", "run", "stages", "from", "from-critic", "env", "seeds", "jobs", "logger")
_DECISIONS = (
    "eval-episodes",
    "round-eval-episodes",
    "robot-eval-episodes",
    "sampling-std",
    "execution-candidates",
    "rl-execution-candidates",
)
_LEARNING = ("seed", "discount", "tau", "weight-decay", "noise-std", "critic-noise-std")
_NETWORKS = ("policy", "critic", "encoder", "image")
_MACHINE = (
    "device",
    "rollout-device",
    "num-workers",
    "precision",
    "compile",
    "checkpoint-interval-s",
    "keep-checkpoints",
)
_STAGES = ("imitation", "critic-warmup", "offline-rl", "online-rl")
_COMMON = {
    "imitation": ("imitation.num-updates", "imitation.learning-rate", "imitation.batch-size"),
    "critic-warmup": ("critic-warmup.num-updates",),
    "offline-rl": ("offline-rl.num-updates", "offline-rl.bc-coef"),
    "online-rl": (
        "online-rl.num-rounds",
        "online-rl.episodes-per-round",
        "online-rl.num-updates",
        "online-rl.bc-coef",
    ),
    "": ("eval-episodes", "seed", "device", "num-workers"),
    "model.chunk": ("model.chunk.chunk-length", "model.chunk.execution-horizon"),
}
_THROUGH_CAMERAS = """\
Through cameras
  {looking} look; any other preset with --encoder mixed and an
  --image: efficientnet_lite0, resnet18, dinov2 or timm, whose numbers are --model.encoder.image.*:
    softflow train {name} --encoder mixed --image resnet18 --help"""


def first_page(default: Train, name: str) -> str:
    """What most runs need, with the numbers of a preset.

    Args:
        default: the command with that preset.
        name: the preset that is taken where none is named.
    """
    groups = groups_of(Train, default=default, registry=OPTION_TYPES)
    common = [chosen(groups[group], "", names).options for group, names in _COMMON.items()]
    parts = (
        chosen(groups[""], "What and where", _WORK),
        Group(f"Numbers that are changed most, those of {name}", sum(common, ())),
    )
    more = f"All numbers, the networks and the machine: softflow train {name} --help"
    return page(USAGE, _what(), EXAMPLES["train"], once(parts), f"{_cameras(name)}\n\n{more}")


def preset_page(default: Train, name: str) -> str:
    """Every option, with the numbers of a preset; arguments as of `first_page`."""
    groups = groups_of(Train, default=default, registry=OPTION_TYPES)
    flat = groups.pop("")
    stages = [groups.pop(stage) for stage in _STAGES]
    data = [groups.pop(group) for group in list(groups) if group.partition(".")[0] == "data"]
    parts = [
        chosen(flat, "What and where", _WORK),
        *stages,
        chosen(flat, "Decisions, and how they are measured", _DECISIONS),
        chosen(flat, "What stages share", _LEARNING),
        *data,
        chosen(flat, "Networks, by name or package.module:Class", _NETWORKS),
        *groups.values(),
        chosen(flat, "The machine", _MACHINE),
        _others(flat, (*_WORK, *_DECISIONS, *_LEARNING, *_NETWORKS, *_MACHINE)),
    ]
    others = ", ".join(other for other in PRESETS if other != name)
    what = f"{summary(name)}.\n\nEvery number, as this preset has it. Other presets: {others}."
    usage = USAGE.replace("[PRESET]", name)
    return page(usage, what, {}, once([part for part in parts if part.options]), _cameras(name))


def demo_page() -> str:
    """The options of `softflow demo` itself; its numbers are those of a preset."""
    own = chosen(
        groups_of(Demo, registry=OPTION_TYPES)[""],
        "Options",
        ("run", "env", "demonstrations", "seed"),
    )
    more = "Any number of the preset `demo` may be given too: softflow train demo --help"
    return page("softflow demo [OPTIONS]", getdoc(Demo) or "", EXAMPLES["demo"], [own], more)


def _what() -> str:
    lines = listed({each: summary(each) for each in PRESETS})
    return f"{' '.join((getdoc(Train) or '').split())}\n\nPresets\n{lines}"


def _cameras(name: str) -> str:
    looking = [each for each in PRESETS if hasattr(PRESETS[each]().model.encoder, "image")]
    return _THROUGH_CAMERAS.format(name=name, looking=", ".join(looking))


def _others(flat: Group, named: Sequence[str]) -> Group:
    """Options that no heading has thought of: a new one is shown all the same."""
    rest = [o.name.removeprefix("--") for o in flat.options]
    return chosen(flat, "More", [name for name in rest if name not in named])
