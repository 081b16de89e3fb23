"""Priority that falls while a job is blocked: the opposite of aging, kept because the original engine has it.

A job that cannot start is looked at again after 5, 10, 15 ... and then every 30 seconds; each look is an attempt.
With `step` every fifth attempt takes one from a priority above 5; with `log` the priority falls by the logarithm of
the attempts, not below 0. It lets the others pass a job that is stuck, and it starves: under overload what has waited
longest comes last. Off by default.
"""

from __future__ import annotations

from bisect import bisect_right
from math import log

STEP_S, MOST_S = 5.0, 30.0
EVERY, FLOOR = 5, 5.0
LOG, STEP = HOW = ("log", "step")


def attempt_at(number: int) -> float:
    """Seconds of waiting after which the attempt of this number (from 1) is made."""
    rising = int(MOST_S / STEP_S)
    first = min(number, rising)
    return STEP_S * first * (first + 1) / 2 + MOST_S * (number - first)


_RISING = [attempt_at(number) for number in range(1, int(MOST_S / STEP_S) + 1)]
"""The times of attempts up to where those between two are equal."""


def attempts(waited_s: float) -> int:
    """Attempts that have been made after so many seconds."""
    made = bisect_right(_RISING, waited_s)
    return made if made < len(_RISING) else made + int((waited_s - _RISING[-1]) / MOST_S)


def degraded(priority: float, waited_s: float, how: str) -> float:
    """The priority that is left after a wait; `how` is `log` or `step`."""
    made = attempts(waited_s)
    if how == LOG:
        return max(min(priority, 0.0), priority - log(1 + made))
    return priority if priority <= FLOOR else max(FLOOR, priority - made // EVERY)
