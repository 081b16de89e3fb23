"""Waiting jobs in order, among which the first that is short enough is found without a look at all before it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from typing import Generic, TypeVar

SIZE = 32
T = TypeVar("T", bound=tuple[object, ...])


class ByLength(Generic[T]):
    """Items that sort, in blocks; of each block the least length is known.

    Args:
        length: How long an item is; it does not change while the item is here.
    """

    __slots__ = ("_blocks", "_firsts", "_least", "_length")

    def __init__(self, length: Callable[[T], float]) -> None:
        self._length = length
        self._blocks: list[list[T]] = []
        self._firsts: list[T] = []
        self._least: list[float] = []

    def __bool__(self) -> bool:
        """True where there is any."""
        return bool(self._blocks)

    def push(self, item: T) -> None:
        """Adds one; no two are equal."""
        if not self._blocks:
            self._blocks.append([])
            self._firsts.append(item)
            self._least.append(self._length(item))
        at = self._block_of(item)
        block = self._blocks[at]
        insort(block, item)
        if len(block) > 2 * SIZE:
            self._blocks[at : at + 1] = [block[:SIZE], block[SIZE:]]
            self._firsts.insert(at + 1, block[SIZE])
            self._least.insert(at + 1, min(map(self._length, block[SIZE:])))
            self._least[at] = min(map(self._length, block[:SIZE]))
        else:
            self._least[at] = min(self._least[at], self._length(item))
        self._firsts[at] = self._blocks[at][0]

    def remove(self, item: T) -> None:
        """Takes one that is here."""
        at = self._block_of(item)
        block = self._blocks[at]
        del block[bisect_left(block, item)]
        if not block:
            del self._blocks[at], self._firsts[at], self._least[at]
            return
        self._firsts[at] = block[0]
        if self._length(item) <= self._least[at]:
            self._least[at] = min(map(self._length, block))

    def first(self, start: T | None, most: float) -> T | None:
        """The first one, not before `start`, whose length is at most this; None where there is none."""
        if not self._blocks:
            return None
        at = 0 if start is None else self._block_of(start)
        begin = 0 if start is None else bisect_left(self._blocks[at], start)
        for block, least in zip(self._blocks[at:], self._least[at:], strict=True):
            if least <= most:
                for item in block[begin:]:
                    if self._length(item) <= most:
                        return item
            begin = 0
        return None

    def _block_of(self, item: T) -> int:
        return max(0, bisect_right(self._firsts, item) - 1)
