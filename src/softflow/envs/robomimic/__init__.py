"""RoboMimic's tasks: a Panda arm in robosuite lifts a cube, bins a can, puts a nut on a peg."""

ROBOMIMIC_FAMILIES = ("lift", "can", "square")
"""Their names, known without gymnasium."""
