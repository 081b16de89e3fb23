"""A token bucket: so many calls at once, and so many a second in the long run.

Source: J. Turner, New directions in communications, IEEE Communications Magazine 24(10), 1986 (the bucket as a meter).
"""

from __future__ import annotations


class TokenBucket:
    """One caller's bucket.

    Args:
        rate_per_s: Calls a second that refill it, > 0.
        burst: Calls that it holds, >= 1.
        now: Present time in seconds, of any clock that never goes back.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate_per_s: float, burst: float, now: float) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._left = burst
        self._at = now

    def take(self, now: float) -> float:
        """Takes one call.

        Returns:
            0 where it is allowed, else the seconds until it would be.
        """
        self._refill(now)
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) / self._rate

    @property
    def left(self) -> int:
        """Calls that would be allowed at once."""
        return int(self._left)

    def is_full(self, now: float) -> bool:
        """Whether it has been idle long enough to be forgotten."""
        self._refill(now)
        return self._left >= self._burst

    def _refill(self, now: float) -> None:
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
