"""When a client tries again and how long it waits before: the rules of every client, without any I/O.

Waits grow by doubling and are drawn with full jitter, so that clients that failed together do not come back together.
Three things end the tries of a call: their number, its time, and the budget that all calls share, which keeps retries
from multiplying the load of a service that is down.

Source: M. Brooker, "Exponential Backoff And Jitter" (2015), "full jitter"; the retry budget is that of gRPC's
``retryThrottling`` (gRFC A6) and of Google's SRE book, chapter 22.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from formicary.problems import problem

AGAIN: Final = frozenset({"IDEMPOTENT_REQUEST_IN_PROGRESS", "LEASE_LOST"})
"""Codes of a 409 or ABORTED that is about this attempt: the same request with the same key gets an answer later."""
NEVER: Final = frozenset({501, 505})
"""Statuses of 500 and above that no retry changes."""
_OF_THE_ATTEMPT: Final = frozenset({408, 425, 429})
_MOST_DOUBLINGS: Final = 60


@dataclass(frozen=True, slots=True)
class Retry:
    """How long and how often one logical call is tried. All durations are seconds.

    Attributes:
        tries: Most attempts, the first one too; 1 = no retries.
        total_s: From the beginning of the first attempt, no attempt begins later than this, and none is given a longer
            time-out than what is left of it. Keep it well below the time for which the server keeps answers.
        first_s: Upper bound of the first wait; each further bound is twice the one before.
        most_s: Highest bound of a wait. A longer Retry-After is waited for nevertheless, if `total_s` allows it.
    """

    tries: int = 6
    total_s: float = 60.0
    first_s: float = 0.1
    most_s: float = 10.0

    def __post_init__(self) -> None:
        wrong = [name for name in ("total_s", "first_s", "most_s") if not getattr(self, name) > 0]
        if self.tries < 1:
            wrong.append("tries")
        if wrong:
            raise problem("VALIDATION_FAILED", f"The retry rules have values out of range: {', '.join(wrong)}.")

    def bound_s(self, failures: int) -> float:
        """The longest wait after so many failed attempts (from 1)."""
        return min(self.most_s, self.first_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))


class RetryBudget:
    """What all calls of a client (or of several) may spend on retries together. Safe to share among threads.

    Args:
        ratio: Retries that each call earns: 0.2 = one retry for five calls in the long run.
        reserve: Retries that are there at the beginning, and the most that can be saved up.
    """

    def __init__(self, ratio: float = 0.2, reserve: float = 20.0) -> None:
        if ratio < 0 or reserve < 0:
            raise problem("VALIDATION_FAILED", "The ratio and the reserve of a retry budget are 0 or more.")
        self._ratio = ratio
        self._reserve = reserve
        self._saved = reserve
        self._lock = threading.Lock()

    @property
    def left(self) -> float:
        """Retries that could be made now."""
        return self._saved

    def earn(self) -> None:
        """A call begins."""
        with self._lock:
            self._saved = min(self._reserve, self._saved + self._ratio)

    def spend(self) -> bool:
        """Whether a retry may be made now; it is then spent."""
        with self._lock:
            if self._saved < 1.0:
                return False
            self._saved -= 1.0
            return True


class Attempts:
    """The attempts of one logical call.

    Args:
        retry: The rules.
        budget: What all calls share.
        now: Seconds on a clock that only goes forward.
        draw: Gives numbers from 0 to 1.

    Attributes:
        number: The attempt that is made now, from 1.
    """

    __slots__ = ("_budget", "_draw", "_retry", "_until", "number")

    def __init__(
        self, retry: Retry, budget: RetryBudget, now: float, draw: Callable[[], float] = random.random
    ) -> None:
        self._retry = retry
        self._budget = budget
        self._until = now + retry.total_s
        self._draw = draw
        self.number = 1
        budget.earn()

    def left_s(self, now: float) -> float:
        """What is left of the call's time."""
        return max(0.0, self._until - now)

    def next_wait_s(self, now: float, asked_s: float | None = None) -> float | None:
        """The present attempt has failed.

        Args:
            now: Seconds on the clock.
            asked_s: What the server asked to wait; None = it did not. The jitter comes on top of it.

        Returns:
            How long to wait before the next attempt; None = there is none.
        """
        if self.number >= self._retry.tries:
            return None
        wait_s = (asked_s or 0.0) + self._draw() * self._retry.bound_s(self.number)
        if not wait_s < self.left_s(now) or not self._budget.spend():
            return None
        self.number += 1
        return wait_s


def is_transient(status: int, code: str | None, retry_after: bool) -> bool:
    """Whether an HTTP answer is about the attempt, so that the same request may get another one.

    Args:
        status: Its status.
        code: The code of its problem document; None = it has none.
        retry_after: Whether it says when to come again. Only that tells a 409 of a server without codes from a refusal.
    """
    if status == 409:
        return retry_after if code is None else code in AGAIN
    return status in _OF_THE_ATTEMPT or (status >= 500 and status not in NEVER)


def parse_retry_after(text: str, now: float) -> float | None:
    """Seconds to wait as the header ``Retry-After`` asks, never below 0; None where it cannot be read.

    Args:
        text: Seconds, or a date of HTTP.
        now: Seconds since 1970, to compare a date with.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now)
