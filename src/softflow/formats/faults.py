"""Everything that is wrong with an episode, and not only what was found first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode, require_finite
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
        told = [*dict.fromkeys(text for found in self._found for text in _texts(found))]
        if len(told) == 1:
            raise self._found[0]
        if told:
            raise SeveralFaultsError(told) from self._found[0]


def require_valid(episode: Episode, spec: DataSpec, where: str) -> None:
    """`Episode.validate`, with everything that is no number, and not the first array of such alone.

    Raises:
        DataError: as it does; several, where there are several.
    """
    faults = Faults()
    with faults.of_a_part():
        episode.validate(spec, where)
        return
    arrays = {**episode.observations, "action": episode.actions, "next.reward": episode.rewards}
    for key, values in arrays.items():
        if values.dtype.kind == "f":
            with faults.of_a_part():
                require_finite(key, values, where)
    faults.raise_any()


def _texts(error: DataError) -> tuple[str, ...]:
    return error.faults if isinstance(error, SeveralFaultsError) else (str(error),)
