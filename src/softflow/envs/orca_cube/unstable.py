"""Physics that blew up: kept so that it can be looked at and played again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from softflow.envs.mujoco_loading import load_mujoco
from softflow.errors import StoreError, brief
from softflow.utils.files import require_regular, written_whole


def dump_unstable(
    folder: Path | None, model: Any, state: np.ndarray, targets: np.ndarray, number: int
) -> Path | None:
    """Write the control step that broke a hand: its model, where it began, what it was told.

    Args:
        folder: where; made if need be. None writes nothing.
        model: MuJoCo's, as it was randomised.
        state: [S], full physics, before the step.
        targets: [T, J] of its physics steps.
        number: how many broke so far, for the name.

    Raises:
        StoreError: the system refused.
    """
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"unstable_{number:05d}.npz"
    content = np.zeros(load_mujoco().mj_sizeModel(model), dtype=np.uint8)
    load_mujoco().mj_saveModel(model, None, content)
    with written_whole(path) as temp, temp.open("wb") as file:
        np.savez_compressed(file, model=content, state=state, targets=targets)
    return path


def replay_unstable(path: Path) -> np.ndarray:
    """The states [T, S] of a dumped control step, computed again; not finite where it broke.

    Raises:
        StoreError: it is no such dump.
    """
    mujoco = load_mujoco()
    from mujoco import rollout

    require_regular(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content, state, targets = (arrays[n] for n in ("model", "state", "targets"))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise StoreError(f"'{path}' is no dump of a control step ({brief(error)})") from error
    model = mujoco.MjModel.from_binary_path("dump.mjb", {"dump.mjb": content.tobytes()})
    states, _ = rollout.rollout(model, mujoco.MjData(model), state[None], targets[None])
    return np.asarray(states)[0]
