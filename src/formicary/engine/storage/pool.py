"""A small pool of reading connections, the same for every SQL store.

Readers are the API's threads: few at a time, each for milliseconds. A free connection is handed out last in, first
out; none free makes a new one, and only `keep` of them stay open when they come back. Not thread-local, so that a
thread that ends leaves no connection behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Generic, TypeVar

Connection = TypeVar("Connection")


class ReaderPool(Generic[Connection]):
    """Free connections, made on demand.

    Args:
        make: opens a connection.
        discard: closes one; must not raise.
        keep: how many stay open while nobody reads.
    """

    def __init__(self, make: Callable[[], Connection], discard: Callable[[Connection], None], keep: int = 4) -> None:
        self._make = make
        self._discard = discard
        self._keep = keep
        self._free: list[Connection] = []
        self._lock = Lock()
        self._generation = 0

    @contextmanager
    def reader(self) -> Iterator[Connection]:
        """A connection for the block; one that saw an error is not used again."""
        with self._lock:
            connection = self._free.pop() if self._free else None
            generation = self._generation
        if connection is None:
            connection = self._make()
        sound = False
        try:
            yield connection
            sound = True
        finally:
            with self._lock:
                kept = sound and generation == self._generation and len(self._free) < self._keep
                if kept:
                    self._free.append(connection)
            if not kept:
                self._discard(connection)

    def clear(self) -> None:
        """Closes the free connections now and those in use when they come back."""
        with self._lock:
            self._generation += 1
            free, self._free = self._free, []
        for connection in free:
            self._discard(connection)
