"""How the commands of this folder end when something is wrong with what they were given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from softflow.errors import SoftflowError


def run_command(main: Callable[[Sequence[str]], None], name: str) -> None:
    """Call `main` with the words after the command; an error of ours is one line, and status 1."""
    try:
        main(sys.argv[1:])
    except SoftflowError as error:
        sys.exit(f"{name}: {error}")
