"""Job ids: 48 bits of milliseconds and 80 random bits as 26 characters of lower-case Crockford base 32.

Ids sort by the time they were made. Those of one maker in one millisecond count up from a random start, which makes an
id cost a fraction of a microsecond and keeps the order of one caller's calls.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import product

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = ["".join(pair) for pair in product(_ALPHABET, repeat=2)]
LENGTH = 26
_LOW_BITS = 30
_LOW_END = 1 << _LOW_BITS


def encode(value: int, length: int = LENGTH) -> str:
    """The number in base 32, padded to `length` characters."""
    return "".join([_ALPHABET[value >> shift & 31] for shift in range(5 * (length - 1), -1, -5)])


class IdMaker:
    """Makes ids for one caller; not for use by several threads.

    Args:
        clock: seconds since the epoch, UTC.
        entropy: returns so many random bytes.
    """

    __slots__ = ("_clock", "_entropy", "_head", "_low", "_millis")

    def __init__(self, clock: Callable[[], float] = time.time, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._entropy = entropy
        self._millis = -1
        self._head = ""
        self._low = 0

    def __call__(self) -> str:
        """The next id; larger than every earlier one, also when the clock was set back."""
        millis = int(self._clock() * 1000)
        low = self._low + 1
        if millis > self._millis or low >= _LOW_END:
            self._millis = millis = max(millis, self._millis + 1)
            drawn = int.from_bytes(self._entropy(10))
            # The counter starts in the lower half of its range: a thousand million ids fit into a millisecond.
            low = drawn & (_LOW_END >> 1) - 1
            self._head = encode(millis << 50 | drawn >> _LOW_BITS, 20)
        self._low = low
        return self._head + _PAIRS[low >> 20] + _PAIRS[low >> 10 & 1023] + _PAIRS[low & 1023]


def is_id(text: str) -> bool:
    """Whether the text has the form of a job id."""
    return len(text) == LENGTH and not text.strip(_ALPHABET)
