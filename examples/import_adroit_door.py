"""An importer of one's own: 25 human demonstrations of opening a door, from a NumPy archive.

    python examples/import_adroit_door.py door_human.npz data/door

A source says what the data looks like (`spec`), what its episodes are called (`episodes`) and gives
one of them (`read`). `import_into` does the rest: it checks every value, shows progress, and goes
on where it was interrupted. The archive is from aravindr93/hand_dapg; it holds `observations`
[N, 39], `actions` [N, 28] and the `lengths` of the episodes, which lie end to end.
"""

import sys
from pathlib import Path

import numpy as np

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.formats.importing import import_into
from softflow.formats.source import repeated_last
from softflow.utils.progress import ConsoleProgress

DOOR_ANGLE = 28  # component of the observation, rad
OPEN_RAD = 1.35  # AdroitHandDoor's own success


class DoorSource:
    """The demonstrations of one archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with np.load(path) as archive:
            self._states, self._actions = archive["observations"], archive["actions"]
            self._ends = np.cumsum(archive["lengths"])
        low, high = self._actions.min(axis=0), self._actions.max(axis=0)
        self.spec = DataSpec({STATE_KEY: (39,)}, 28, tuple(low), tuple(high), control_hz=100.0)

    def episodes(self) -> list[str]:
        """demo_0 to demo_24."""
        return [f"demo_{i}" for i in range(len(self._ends))]

    def read(self, name: str) -> Episode:
        """One demonstration, up to the first control step at which the door is open."""
        number = int(name.removeprefix("demo_"))
        rows = slice(self._ends[number - 1] if number else 0, self._ends[number])
        states, actions = self._states[rows], self._actions[rows]
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
