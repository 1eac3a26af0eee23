"""How the commands are written that make a store of others: the new one has a place, no option."""

from __future__ import annotations

from collections.abc import Sequence

from softflow.errors import ConfigError

_WRITTEN = {"merge": "OUT STORE STORE", "filter": "STORE OUT", "render": "SOURCE OUT"}


def require_new_store_named(name: str, words: Sequence[str]) -> None:
    """Raise where the new store is named as an option, or is all that is named.

    Raises:
        ConfigError: says how the command is written.
    """
    named = [word for word in words if word == "--out" or word.startswith("--out=")]
    usage = _WRITTEN.get(name)
    if usage and named:
        raise ConfigError(
            f"softflow data {name} has no --out; the new store has a place of its own: softflow "
            f"data {name} {usage}"
        )
    if name == "merge" and len(words) == 1 and not words[0].startswith("-"):
        raise ConfigError(
            f"softflow data merge would make the store {words[0]} of nothing; name those to copy "
            f"behind it: softflow data merge {words[0]} STORE STORE"
        )
