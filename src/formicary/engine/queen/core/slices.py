"""Work of one event that is too much for one turn of the loop: it goes on in slices.

Theory of operation. A job that forks thousands of others, or is cancelled with them, would hold the loop for as long
as its commit is large. So at most `SLICE` jobs and elements begin or are withdrawn in one batch; who has more to do
says how it goes on, and is called again by the scheduling round of a later batch. What only looks at thousands of
them, and changes nothing until it is through, is a generator that stops after each `LOOKS` steps. Beats, results and
other jobs come in between. Nothing of it is stored: what is left follows from the rows, so that a queen that is killed
between two slices goes on where the last commit was.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, MutableMapping
from functools import partial
from typing import Any

SLICE = 128
"""Jobs and elements; each costs up to 20 µs of loop time, in the event and in the cut of its batch."""
LOOKS = 128
"""Steps of up to 30 µs."""


class Slices:
    """The room of the open batch, and who waits for that of the next, or for another turn."""

    def __init__(self) -> None:
        self._left = SLICE
        self._looks = LOOKS
        self._for_room: dict[Hashable, Callable[[], None]] = {}
        self._for_time: dict[Hashable, Callable[[], None]] = {}

    def take(self) -> bool:
        """Whether one more may begin or be withdrawn in this batch."""
        self._left -= 1
        return self._left >= 0

    def later(self, key: Hashable, go_on: Callable[[], None]) -> None:
        """Has `go_on` called once there is room; what else has waited under the key does not go on."""
        self.drop(key)
        self._for_room[key] = go_on

    def drive(self, key: Hashable, steps: Iterator[None]) -> None:
        """Takes steps, now and in later turns, until there are no more; else as `later`."""
        self.drop(key)
        for _ in steps:
            self._looks -= 1
            if self._looks < 0:
                self._for_time[key] = partial(self.drive, key, steps)
                return

    @property
    def has_begun(self) -> bool:
        """Somebody looks at what another turn is needed for."""
        return bool(self._for_time)

    def drop(self, key: Hashable) -> None:
        """Nothing goes on under this key."""
        self._for_room.pop(key, None)
        self._for_time.pop(key, None)

    def go_on(self) -> bool:
        """Calls who waits, each once, as long as there is room and time; whether more can be done at once."""
        self._looks = LOOKS
        for key in list(self._for_room):
            if self._left > 0 and (go_on := self._for_room.pop(key, None)) is not None:
                go_on()
        for key in list(self._for_time):
            if self._looks > 0 and (go_on := self._for_time.pop(key, None)) is not None:
                go_on()
        return bool(self._for_time) or (self._left > 0 and bool(self._for_room))

    def cut(self) -> None:
        """The batch is closed: the next one has room."""
        self._left = SLICE


def freed(elements: MutableMapping[int, Any]) -> Iterator[None]:
    """Lets go of what an ended job has left, a step each: ten thousand at once hold the loop for 20 ms."""
    while elements:
        elements.popitem()
        yield
