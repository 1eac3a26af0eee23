"""Which episodes of a dataset are meant: "0-9", "3", "0-9,20-29", "100-"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from softflow.errors import ConfigError

_RANGE = re.compile(r"(\d+)(-(\d*))?")


def chosen(names: Sequence[str], text: str) -> list[str]:
    """The names at the positions that the text tells, in the order of the dataset.

    Args:
        names: of all episodes.
        text: positions and ranges from 0 on, both ends included; "" takes all.

    Raises:
        ConfigError: no such text, or a position behind the last episode.
    """
    if not text:
        return list(names)
    wanted: set[int] = set()
    for piece in text.replace(" ", "").split(","):
        match = _RANGE.fullmatch(piece)
        if match is None:
            raise ConfigError(f"--episodes has {piece!r:.40}; give it like 0-9, 3 or 0-9,20-29")
        first = int(match[1])
        open_end = match[2] is not None and not match[3]
        last = len(names) - 1 if open_end else int(match[3] or first)
        if not first <= last < len(names):
            raise ConfigError(
                f"--episodes {piece:.40}: the dataset has {len(names)} episodes, 0 to "
                f"{len(names) - 1}, and a range goes up"
            )
        wanted |= {*range(first, last + 1)}
    return [name for position, name in enumerate(names) if position in wanted]
