"""Values computed when they are first needed, each by one thread while the others wait for it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Cache:
    """Values by key.

    size  number of values that are kept, the most recently used ones; None: all
    """

    def __init__(self, *, size: int | None = None) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Any] = OrderedDict()
        self._turns: dict[Hashable, threading.Lock] = {}  # of keys whose values are being computed

    def __call__(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """The value of `key`, computed where it is not there yet; an error is raised, not kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._values:
                    return self._values[key]
            try:
                value = compute()
                self.put(key, value)
            finally:
                with self._lock:
                    self._turns.pop(key, None)
        return value

    def get(self, key: Hashable) -> Any:
        """The value of `key`, None where it is not there."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while self._size is not None and len(self._values) > self._size:
                self._values.popitem(last=False)
