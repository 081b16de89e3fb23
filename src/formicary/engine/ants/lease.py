"""The ant's copy of its lease: pure, with the clock as an argument."""

from __future__ import annotations


class Lease:
    """Until when the ant may run what it was granted.

    It counts from when the last acknowledged beat was *sent*, so that it ends before the queen's own copy, which counts
    from the beat's arrival; the margin covers the rest. All times are monotonic seconds.

    Attributes:
        end: When it ends, None before the first welcome and after :meth:`lose`.
    """

    def __init__(self, margin_s: float) -> None:
        self.end: float | None = None
        self._margin_s = margin_s
        self._lease_s = 0.0
        self._grace_s = 0.0
        self._beat = 0
        self._sent: dict[int, float] = {}

    def sent(self, now: float) -> int:
        """Notes that a beat is being sent; returns its number."""
        self._beat += 1
        self._sent[self._beat] = now
        return self._beat

    def welcomed(self, sent_at: float, lease_s: float, grace_s: float = 0.0) -> None:
        """Renews with the answer to the hello that was sent at ``sent_at``; earlier beats no longer count."""
        self._lease_s = lease_s
        self._grace_s = grace_s or lease_s
        self._sent.clear()
        self.end = sent_at + self._length

    def acknowledged(self, beat: int) -> None:
        """Renews with the answer to a beat."""
        sent_at = self._sent.get(beat)
        if sent_at is None:
            return
        for number in [number for number in self._sent if number <= beat]:
            del self._sent[number]
        if self.end is not None:
            self.end = max(self.end, sent_at + self._length)

    def has_ended(self, now: float) -> bool:
        """Says whether it was held and is over."""
        return self.end is not None and now >= self.end

    def is_fresh(self, now: float) -> bool:
        """Says whether new work may begin: the queen has answered what was sent within the reconnect grace, less the
        margin. A process that was paused, or whose stream has ended unseen, may hold grants that are somebody else's by
        now although its copy of the lease has not ended.
        """
        if self.end is None:
            return False
        fresh_s = max(self._grace_s - self._margin_s, self._grace_s / 2)
        return now < self.end - self._length + fresh_s

    def lose(self) -> None:
        """Forgets it; the next welcome begins a new one."""
        self.end = None
        self._sent.clear()

    @property
    def _length(self) -> float:
        return max(self._lease_s - self._margin_s, self._lease_s / 2)
