"""Everything that is wrong with an episode, and not only what was found first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softflow.errors import DataError, SeveralFaultsError


class Faults:
    """Collects the faults of an episode while its parts are read, none of which needs the other.

    Each part is read in a block `with faults.of_a_part():`; `raise_any` raises once all were tried.
    """

    def __init__(self) -> None:
        self._found: list[DataError] = []

    @contextmanager
    def of_a_part(self) -> Iterator[None]:
        """A DataError in this block is kept; what follows the block goes on."""
        try:
            yield
        except DataError as error:
            self._found.append(error)

    def raise_any(self) -> None:
        """Raise what was found.

        Raises:
            DataError: the one fault, as it was raised, or several (`SeveralFaultsError`).
        """
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise SeveralFaultsError([*dict.fromkeys(map(str, self._found))]) from self._found[0]
