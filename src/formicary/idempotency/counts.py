"""Figures of an adapter: plain numbers that cost an addition each; :mod:`formicary.idempotency.metrics` shows them."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

AGES_S: Final = (1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0)
"""Upper bounds of the histogram of retry ages."""
RETRIES: Final = (1, 2, 3, 5, 10, 20, 50)
"""Upper bounds of the histogram of retries per key."""
MAX_KEYS: Final = 10_000
"""How many keys have their retries counted; the one that was retried longest ago is forgotten first."""


@dataclass(slots=True)
class Counts:
    """What happened to claims.

    Attributes:
        executed: Executions that began.
        replayed: Kept answers that were given.
        reused: Keys that came with another request: a client's mistake, or two clients with one key.
        busy: Duplicates that were told to wait (lock time-outs).
        taken_over: Executions that began because an earlier holder's lease had run out.
        leases_lost: Executions that were refused the end of their work.
        released: Executions that ended without an answer to keep.
        store_failures: Calls to the store that failed.
        missing: Requests without a key where one is needed.
        ages: Replays by their distance from the first execution, a number for each of AGES_S and one above.
        age_sum_s: The sum of these distances.
        retries: Replays by their number among those of their key, one for each of RETRIES and one above.
        retry_sum: The sum of these numbers.
    """

    executed: int = 0
    replayed: int = 0
    reused: int = 0
    busy: int = 0
    taken_over: int = 0
    leases_lost: int = 0
    released: int = 0
    store_failures: int = 0
    missing: int = 0
    ages: list[int] = field(default_factory=lambda: [0] * (len(AGES_S) + 1))
    age_sum_s: float = 0.0
    retries: list[int] = field(default_factory=lambda: [0] * (len(RETRIES) + 1))
    retry_sum: int = 0
    _of_keys: OrderedDict[bytes, int] = field(default_factory=OrderedDict, repr=False)

    def replay(self, record_id: bytes, created_ms: int) -> None:
        """Notes one more replay of a key's answer, and how old that is; the store's clock and this one may differ."""
        self.replayed += 1
        if created_ms:
            age_s = time.time() - created_ms / 1000
            if age_s > 0.0:
                self.age_sum_s += age_s
            self.ages[bisect_left(AGES_S, age_s)] += 1
        known = self._of_keys
        number = known.pop(record_id, 0) + 1
        if len(known) >= MAX_KEYS:
            known.popitem(last=False)
        known[record_id] = number
        self.retry_sum += number
        self.retries[bisect_left(RETRIES, number)] += 1
