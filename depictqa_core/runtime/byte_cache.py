"""A thread-safe LRU cache with a limit in bytes."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class ByteCache:
    """A thread-safe LRU cache of at most ``budget`` bytes.

    A value larger than the whole budget is not stored.

    Args:
        budget: bytes, 0 or more; 0 stores nothing.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    @property
    def bytes(self) -> int:
        """Total size of the stored values."""
        return self._bytes

    def get(self, key: Hashable) -> Any:
        """Return the value of a key, which becomes the most recently used one, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: object, size: int) -> None:
        """Store a value of ``size`` bytes under a key, replacing the old one."""
        with self._lock:
            self._bytes -= self._values.pop(key, (None, 0))[1]
            if size > self.budget:
                return
            self._values[key] = value, size
            self._bytes += size
            self._evict()

    def limit(self, budget: int) -> None:
        """Lower the budget to ``budget`` bytes; a lower one stays."""
        with self._lock:
            self.budget = min(self.budget, budget)
            self._evict()

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._values.clear()
            self._bytes = 0

    def _evict(self) -> None:
        while self._bytes > self.budget:
            self._bytes -= self._values.popitem(last=False)[1][1]
