"""Which hand a teacher moves: the ORCA hand, or one of the user's own with its grasps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.grasps import DEFAULT_CACHE
from softflow.envs.orca_cube.hand_model import ORCA_RIGHT, HandDescription
from softflow.envs.orca_cube.randomisation import NOTHING, Randomisation
from softflow.envs.orca_cube.settings import CubeSettings
from softflow.errors import ConfigError
from softflow.utils.imports import follow, require_trusted


@dataclass(frozen=True)
class HandChoice:
    """A hand and the grasps in which its cubes begin.

    Args:
        name: "module:name" of the description; empty for the ORCA hand.
        description: of the hand.
        grasps: file of them.
    """

    name: str = ""
    description: HandDescription = ORCA_RIGHT
    grasps: Path = DEFAULT_CACHE

    def make(
        self,
        settings: CubeSettings,
        num: int,
        seed: int,
        randomisation: Randomisation = NOTHING,
        dumps: Path | None = None,
    ) -> BatchedHand:
        """So many of these hands; the arguments are `BatchedHand`'s.

        Raises:
            ConfigError: the grasps are of another hand or cube.
        """
        return BatchedHand(
            settings,
            num,
            seed,
            randomisation=randomisation,
            hand=self.description,
            grasps=self.grasps,
            dumps=dumps,
        )


ORCA_HAND = HandChoice()


def described_hand(name: str) -> HandDescription:
    """The description called "module:name", the ORCA hand's where the name is empty.

    Raises:
        UntrustedImportError: only a file names it.
        ConfigError: there is none.
    """
    if not name:
        return ORCA_RIGHT
    require_trusted(name, "the hand", "--hand")
    try:
        found = follow(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"--hand {name!r} cannot be imported: {error}") from error
    if not isinstance(found, HandDescription):
        raise ConfigError(f"--hand {name!r} is {found!r:.80}; name a HandDescription")
    return found
