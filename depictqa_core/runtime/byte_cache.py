"""A cache that is bounded in bytes, forgets what was used least recently, and may be shared by threads."""

import threading
from collections import OrderedDict
from collections.abc import Hashable


class ByteCache:
    """Keeps values by key until they take more than ``budget`` bytes together; the least recently used go first.

    A value that is larger than the whole budget is not kept. Every method is safe to call from several threads.

    Args:
        budget: bytes, 0 or more; 0 keeps nothing.
    """

    def __init__(self, budget: int):
        self.budget = budget
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    @property
    def bytes(self) -> int:
        """What the kept values take together."""
        return self._bytes

    def get(self, key: Hashable):
        """The value of a key, which becomes the most recently used one, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value, size: int) -> None:
        """Keep a value of ``size`` bytes, in place of what the key stood for before."""
        with self._lock:
            self._bytes -= self._values.pop(key, (None, 0))[1]
            if size > self.budget:
                return
            self._values[key] = value, size
            self._bytes += size
            while self._bytes > self.budget:
                self._bytes -= self._values.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._bytes = 0
