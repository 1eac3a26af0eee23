"""Which episodes of a store to keep, and why the others are dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import EpisodeSummary
from softflow.data.labels import outcome_known
from softflow.errors import DataError

_MISSING = object()


@dataclass(frozen=True)
class Rules:
    """What an episode must be to be kept; the empty rules keep everything.

    Args:
        success: True keeps successes, False failures, None both and those of which nobody said.
        operators: keep these values of the metadata "operator"; empty keeps all.
        sources: the same for "source".
        min_length, max_length: control steps; None for no limit.
        where: metadata key, dots between nested ones → the value it must have.

    Raises:
        DataError: no length can fulfil them.
    """

    success: bool | None = None
    operators: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    min_length: int | None = None
    max_length: int | None = None
    where: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        least, most = self.min_length, self.max_length
        if (least or 0) < 0 or (most is not None and most < max(least or 0, 1)):
            raise DataError(f"no episode has {least} to {most} control steps; correct the limits")

    def reasons(self, summary: EpisodeSummary) -> Iterator[str]:
        """Why an episode is dropped, in a few words each; nothing if it is kept."""
        if self.success is not None and not outcome_known(summary.metadata):
            yield "not labelled"
        elif self.success is not None and summary.success != self.success:
            yield "no success" if self.success else "a success"
        for key, wanted in (("operator", self.operators), ("source", self.sources)):
            if wanted and str(summary.metadata.get(key, "")) not in wanted:
                yield f"another {key}" if key in summary.metadata else f"no {key} known"
        if self.min_length is not None and summary.length < self.min_length:
            yield f"shorter than {self.min_length} steps"
        if self.max_length is not None and summary.length > self.max_length:
            yield f"longer than {self.max_length} steps"
        for key, wanted in self.where:
            if not _equals(_looked_up(summary.metadata, key), wanted):
                yield f"{key} is not {wanted}"


def parse_where(text: str) -> tuple[str, str]:
    """`key=value` as a pair.

    Raises:
        DataError: there is no key or no "=".
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise DataError(f"'{text}' is no condition; write KEY=VALUE, as in collection.seed=3")
    return key.strip(), value.strip()


def _looked_up(metadata: Mapping[str, Any], key: str) -> Any:
    """A metadata value by its key; dots lead into nested dictionaries."""
    if key in metadata:
        return metadata[key]
    first, dot, rest = key.partition(".")
    inner = metadata.get(first)
    return _looked_up(inner, rest) if dot and isinstance(inner, Mapping) else _MISSING


def _equals(value: Any, text: str) -> bool:
    """Whether a metadata value is what was written: 3, 3.0 and "3" are all "3"; true is true."""
    if value is _MISSING:
        return False
    if isinstance(value, str):
        return value == text
    try:
        written = json.loads(text)
    except ValueError:
        return False
    # In Python True == 1, which nobody means here.
    return isinstance(value, bool) == isinstance(written, bool) and value == written


def decide(
    store: EpisodeStore, rules: Rules, invalid: Mapping[int, str] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Each episode's index with the reasons to drop it; none: keep it.

    Args:
        store: the episodes, judged as their newest labels have them.
        rules: what to keep.
        invalid: index → why validation rejects an episode; its file need not be readable.

    Raises:
        StoreError: an episode that is not in `invalid` cannot be read.
    """
    for index in range(len(store)):
        if invalid and index in invalid:
            yield index, [invalid[index]]
        else:
            yield index, list(rules.reasons(store.summary(index)))
