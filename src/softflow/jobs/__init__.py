"""Whole pieces of work as one call each: what `softflow train` and `softflow evaluate` do."""
