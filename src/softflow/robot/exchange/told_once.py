"""What is wrong with a shared folder is told once, not at every look into it."""

from __future__ import annotations

from collections.abc import Callable

MAX_SUBJECTS = 10_000
"""Whoever fills a folder with faults shall not fill the memory."""


class ToldOnce:
    """Says a line about a subject unless it was the last one said about it.

    Args:
        say: where lines go.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: dict[str, str] = {}

    def __call__(self, subject: str, line: str) -> None:
        """Say a line, if it is news."""
        if self._said.get(subject) == line:
            return
        if len(self._said) >= MAX_SUBJECTS:
            self._said.clear()
        self._said[subject] = line
        self._say(line)

    def over(self, subject: str, line: str = "") -> None:
        """What was said of a subject no longer holds; say so, if there was something."""
        if self._said.pop(subject, "") and line:
            self._say(line)
