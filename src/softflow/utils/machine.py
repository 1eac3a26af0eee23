"""What this machine has."""

from __future__ import annotations

import os


def memory_bytes() -> int:
    """Its memory, used or not."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
