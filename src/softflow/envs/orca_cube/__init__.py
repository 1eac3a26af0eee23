"""A cube turned in a hand whose palm faces down: the hand, its task, many at once (Sec. V-C)."""

CUBE_FAMILY, TWIN_FAMILY = "orca-cube", "orca-cube-twin"
"""The nominal hand, and the "real" one; known without gymnasium."""
