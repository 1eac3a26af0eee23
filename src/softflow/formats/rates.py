"""Control rates of environments whose datasets do not say it."""

from __future__ import annotations

import re

from softflow.errors import DataError

KNOWN_HZ = {
    r"AdroitHand(Door|Hammer|Pen|Relocate)": 100.0,
    r"(D4RL/)?(door|hammer|pen|relocate)[-/](human|cloned|expert)": 100.0,
    r"FrankaKitchen|(D4RL/)?kitchen[-/](complete|partial|mixed)": 12.5,
    r"PointMaze_": 100.0,
    r"AntMaze_": 20.0,
    r"Fetch(Reach|Push|Slide|PickAndPlace)": 25.0,
    r"(?i:HalfCheetah|Ant)-": 20.0,
    r"(?i:Hopper|Walker2d)-": 125.0,
}
"""What an environment's or a dataset's name begins with -> control steps a second: 1 over its `dt`
in gymnasium 1.4 and gymnasium-robotics 1.4."""


def control_rate(given: float | None, environment: str, where: str) -> float:
    """The rate that was given, else the one known of that environment.

    Raises:
        DataError: neither.
    """
    if given is not None:
        return given
    for pattern, rate in KNOWN_HZ.items():
        if re.match(pattern, environment):
            return rate
    raise DataError(
        f"{where} does not say how many control steps a second has, and softflow does not know it "
        f"of '{environment or 'an unnamed environment'}'; give --control-hz"
    )
