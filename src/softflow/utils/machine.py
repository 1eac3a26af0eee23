"""What this machine has."""

from __future__ import annotations

import os
import sys


def memory_bytes() -> int:
    """Its memory, used or not."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def softflow_version() -> str:
    """The version of softflow that runs here, "0.1.0"."""
    # By name it would be imported with everything that the public API names.
    return str(sys.modules["softflow"].__version__)
