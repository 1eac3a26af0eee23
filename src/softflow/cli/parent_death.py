"""A process that ends when the one that started it dies, however that happens."""

from __future__ import annotations

import ctypes
import os
import signal

VARIABLE = "SOFTFLOW_ENDS_WITH"
"""Environment of such a process: the id of the one that it ends with."""
_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Get Ctrl-C when the parent dies, if it wished so by `VARIABLE`; call it first thing.

    Linux tells a process of its parent's death, even by SIGKILL. What a shell has set, deaf to
    Ctrl-C in the background, is undone: stopping must be heard.
    """
    parent = os.environ.pop(VARIABLE, "")
    if not parent:
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if str(os.getppid()) != parent:  # it died before it was watched
        raise KeyboardInterrupt
