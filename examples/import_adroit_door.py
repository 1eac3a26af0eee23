"""An importer of one's own: 25 human demonstrations of opening a door, from a NumPy archive.

    python examples/import_adroit_door.py door_human.npz data/door

A source says what the data looks like (`spec`), what its episodes are called (`episodes`) and gives
one of them (`read`). `import_into` does the rest: it checks every value, shows progress, and goes
on where it was interrupted. The archive is from aravindr93/hand_dapg; it holds `observations`
[N, 39], `actions` [N, 28] and the `lengths` of the episodes, which lie end to end. They fit the
environment adroit-door, whose spec is taken: `softflow train … --dataset data/door` may go online.
"""

import sys
from pathlib import Path

import numpy as np

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode import Episode
from softflow.envs.contract import data_spec
from softflow.envs.registry import make_env
from softflow.formats.importing import import_into
from softflow.formats.source import repeated_last
from softflow.utils.progress import ConsoleProgress

ENV_ID = "adroit-door"
DOOR_ANGLE = 28  # component of the observation, rad
OPEN_RAD = 1.35  # success in that environment


class DoorSource:
    """The demonstrations of one archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with np.load(path) as archive:
            self._states, self._actions = archive["observations"], archive["actions"]
            self._ends = np.cumsum(archive["lengths"])
        self.spec = data_spec(make_env(ENV_ID), ENV_ID)

    def episodes(self) -> list[str]:
        """demo_0 to demo_24."""
        return [f"demo_{i}" for i in range(len(self._ends))]

    def read(self, name: str) -> Episode:
        """One demonstration, up to the first control step at which the door is open."""
        number = int(name.removeprefix("demo_"))
        rows = slice(self._ends[number - 1] if number else 0, self._ends[number])
        # The simulator that they were recorded in cut actions to [-1, 1], and stored them uncut.
        states, actions = self._states[rows], self._actions[rows].clip(-1, 1)
        opened = np.flatnonzero(states[1:, DOOR_ANGLE] >= OPEN_RAD)
        success = len(opened) > 0
        length = int(opened[0]) + 1 if success else len(actions)
        rewards = np.zeros(length, np.float32)
        rewards[-1] = success
        observations = {STATE_KEY: repeated_last(states)[: length + 1]}
        metadata = {"source": self.path.name, "operator": "human"}
        return Episode(
            observations, actions[:length], rewards, success, not success, success, metadata
        )


if __name__ == "__main__":
    with ConsoleProgress() as progress:
        import_into(DoorSource(Path(sys.argv[1])), Path(sys.argv[2]), progress)
