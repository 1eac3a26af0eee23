"""Values by name within a bound; the least recently used are dropped."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Name = TypeVar("Name")
Value = TypeVar("Value")


class LeastRecentlyUsed(Generic[Name, Value]):
    """Values by name; the least recently used are dropped beyond `max_size`, the last one never.

    Safe to use from several threads.

    Attributes:
        size: of all values held at the moment, in whatever they are measured in.

    Args:
        max_size: the bound.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._values: OrderedDict[Name, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.size = 0

    def get(self, name: Name) -> Value | None:
        """The value of a name, which becomes the most recently used; None if it is not held."""
        with self._lock:
            if name not in self._values:
                return None
            self._values.move_to_end(name)
            return self._values[name][0]

    def put(self, name: Name, value: Value, size: int = 1) -> None:
        """Hold a value of this size; one that is there already stays."""
        with self._lock:
            # Two threads may have come for the same one.
            if name in self._values:
                return
            self._values[name] = (value, size)
            self.size += size
            while self.size > self._max_size and len(self._values) > 1:
                self.size -= self._values.popitem(last=False)[1][1]
