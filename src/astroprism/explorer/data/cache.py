"""Values made when they are first asked for, once, whatever the number of threads that ask."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class Once:
    """Made values by key; those of `recent` are a bounded cache, the least recently used goes first."""

    def __init__(self, *, most: int | None = None) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, Any] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}

    def __call__(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of `key`, made by `make` where it is not there yet; an error is raised, not kept."""
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
            turn = self._making.setdefault(key, threading.Lock())
        with turn:
            with self._lock:
                if key in self._made:
                    return self._made[key]
            try:
                value = make()
                with self._lock:
                    self._made[key] = value
                    while self._most is not None and len(self._made) > self._most:
                        self._made.popitem(last=False)
            finally:
                with self._lock:
                    self._making.pop(key, None)
        return value

    def get(self, key: Hashable) -> Any:
        """The value of `key`, None where it is not there."""
        with self._lock:
            return self._made.get(key)

    def put(self, key: Hashable, value: Any) -> None:
        """Keep a value."""
        with self._lock:
            self._made[key] = value
            self._made.move_to_end(key)
            while self._most is not None and len(self._made) > self._most:
                self._made.popitem(last=False)
