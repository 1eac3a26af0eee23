"""Benchmarks: what this machine reaches, as ratios measured in one run (`make bench`)."""

import os

# Before torch is loaded: its profiler otherwise reports a missing GPU as an error in the table.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
