"""Fine-tune a visuomotor policy with little robot time (SOFT-FLOW, arXiv:2602.09580).

The public API, page by page in docs/api.md. Each name is imported when it is first used: `import
softflow` needs no torch, and recording episodes beside a robot needs none either.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from softflow.errors import with_extra

if TYPE_CHECKING:
    from softflow.data.data_spec import DataSpec
    from softflow.data.episode import Episode
    from softflow.data.episode_store import EpisodeStore
    from softflow.deployment.deployed_policy import load_policy
    from softflow.envs.check_env import check_env
    from softflow.envs.registry import register_env
    from softflow.jobs.evaluate import evaluate
    from softflow.jobs.train import train

__version__ = "0.1.0"
__all__ = [
    "DataSpec",
    "Episode",
    "EpisodeStore",
    "check_env",
    "evaluate",
    "load_policy",
    "register_env",
    "train",
]
_HOMES = {
    "DataSpec": "softflow.data.data_spec",
    "Episode": "softflow.data.episode",
    "EpisodeStore": "softflow.data.episode_store",
    "check_env": "softflow.envs.check_env",
    "evaluate": "softflow.jobs.evaluate",
    "load_policy": "softflow.deployment.deployed_policy",
    "register_env": "softflow.envs.registry",
    "train": "softflow.jobs.train",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used; says which extra it needs, if it lacks one."""
    if name not in _HOMES:
        raise AttributeError(f"module 'softflow' has no attribute {name!r}")
    try:
        found = getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        raise with_extra(error, f"softflow.{name}") from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Everything that is there, imported yet or not."""
    return sorted({*globals(), *__all__})
