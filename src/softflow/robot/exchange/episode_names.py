"""The name of an episode in an exchange says who recorded it, and what its bytes must hash to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from softflow.errors import ConfigError

ENDING = ".zarr.zip"
_ROBOT = r"[a-z0-9_]{1,40}"
_KEY = re.compile(rf"({_ROBOT})-(\d{{6,9}})-([0-9a-f]{{32}})")
DIGEST_LETTERS = 32


@dataclass(frozen=True)
class EpisodeName:
    """Which episode of which robot.

    Attributes:
        robot: its name.
        number: of the episode in the robot's own store.
        digest: the first 32 digits of the SHA-256 of the file.
    """

    robot: str
    number: int
    digest: str

    @property
    def key(self) -> str:
        """How commands and metadata call it: "arm-000012-…"."""
        return f"{self.robot}-{self.number:06d}-{self.digest}"

    @property
    def file(self) -> str:
        """Its file in the exchange."""
        return f"{self.key}{ENDING}"


def parse_file_name(name: str) -> EpisodeName | None:
    """The episode that a file is called after; None for other files, temporary ones included."""
    return parse_key(name.removesuffix(ENDING)) if name.endswith(ENDING) else None


def parse_key(key: str) -> EpisodeName | None:
    """The inverse of `EpisodeName.key`; None for other texts."""
    match = _KEY.fullmatch(key)
    return EpisodeName(match.group(1), int(match.group(2)), match.group(3)) if match else None


def require_robot_name(name: str) -> None:
    """Raise unless a robot may be called so.

    Raises:
        ConfigError: it has other letters, none, or too many.
    """
    if not re.fullmatch(_ROBOT, name):
        raise ConfigError(
            f"the robot's name is {name!r:.60}; give 1 to 40 small letters, digits and _, such as "
            "arm_left"
        )
