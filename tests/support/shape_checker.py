"""What the import hook of the tests checks: every call, but not how configurations are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype

VALIDATED = ("Config", "Spec", "Representation", "Support", "Weights")
"""Endings of classes that check themselves: tests give them wrong values on purpose."""


def check_types(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, refusing arguments and results that are not what their annotations say."""
    owner, _, name = function.__qualname__.rpartition(".")
    if name == "__init__" and owner.endswith(VALIDATED):
        return function
    return beartype(function)
