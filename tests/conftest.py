"""Settings shared by all tests."""

import os

from hypothesis import settings

# Tests run in several processes; more threads than cores only slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run, and no failure because a machine was busy.
settings.register_profile("softflow", derandomize=True, deadline=None, database=None)
settings.load_profile("softflow")
