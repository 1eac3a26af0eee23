"""A cube turned in a hand whose palm faces down: the hand, its task, many at once (Sec. V-C)."""

CUBE_FAMILIES = CUBE_FAMILY, TWIN_FAMILY, SEEN_FAMILY = (
    "orca-cube",
    "orca-cube-twin",
    "orca-cube-twin-seen",
)
"""The nominal hand, the "real" one, and that rewarded by what is seen; known without gymnasium."""
