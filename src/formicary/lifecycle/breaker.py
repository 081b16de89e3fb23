"""A circuit breaker as a pure state machine: it reads no clock, starts nothing, and can be written down at any time.

Theory of operation. CLOSED lets everything through and counts how it ends; too many failures in a row, or too large a
share of failures within the window, and it is OPEN. OPEN lets nothing through; after `open_s` it is HALF_OPEN.
HALF_OPEN lets `trials` calls through, each known by its key: when all of them have succeeded it is CLOSED with its
counts at zero, and at the first failure it is OPEN anew. What was let through earlier and ends later counts for nothing
any more. A trial that ends neither way (its caller went away) is given up with :meth:`Breaker.forget`; another takes
its place.

Times are seconds of whatever clock the caller keeps: one that goes on over restarts, where states are kept over them.

Source: M. Nygard, Release It!, 2nd edition, "Circuit Breaker"; the bounded half-open state follows resilience4j.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

CLOSED, OPEN, HALF_OPEN = STATES = ("CLOSED", "OPEN", "HALF_OPEN")
BUCKETS = 10
"""Parts of the window, which slides by one of them at a time."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and how it closes again.

    Attributes:
        consecutive_failures: Failures in a row that open it, 0 = it is not opened by a row.
        failure_rate: Share of failures within the window that opens it, from above 0 to 1; 0 = no share opens it.
        window_s: Length of that window in seconds.
        minimum_calls: Ends within the window without which no share is judged; few ends say little.
        open_s: How long it stays open, in seconds.
        trials: Calls that are let through half open, all of which have to succeed.
    """

    consecutive_failures: int = 5
    failure_rate: float = 0.0
    window_s: float = 60.0
    minimum_calls: int = 10
    open_s: float = 30.0
    trials: int = 1

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            ValueError: Some are wrong; the message names every one of them.
        """
        wrong = [
            f"{name} is {getattr(self, name)}: {rule}"
            for name, rule, right in (
                ("consecutive_failures", "it must be 0 or more", self.consecutive_failures >= 0),
                ("failure_rate", "it must be from 0 to 1", 0 <= self.failure_rate <= 1),
                ("window_s", "it must be above 0", self.window_s > 0),
                ("minimum_calls", "it must be 1 or more", self.minimum_calls >= 1),
                ("open_s", "it must be above 0", self.open_s > 0),
                ("trials", "it must be 1 or more", self.trials >= 1),
            )
            if not right
        ]
        if not (self.consecutive_failures or self.failure_rate):
            wrong.append("neither consecutive_failures nor failure_rate is given: nothing would ever open it")
        if wrong:
            raise ValueError("; ".join(wrong))


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """All that a breaker knows.

    Attributes:
        state: CLOSED, OPEN or HALF_OPEN.
        since: When it got there.
        row: Failures since the last success.
        buckets: (number of the bucket, successes, failures) of the window, oldest first.
        trials: Keys of the calls that are out half open.
        succeeded: Trials that have succeeded.
        opened: How often it has opened.
    """

    state: str = CLOSED
    since: float = 0.0
    row: int = 0
    buckets: tuple[tuple[int, int, int], ...] = ()
    trials: tuple[Hashable, ...] = ()
    succeeded: int = 0
    opened: int = 0


@dataclass(slots=True)
class Breaker:
    """One breaker.

    Attributes:
        policy: May be replaced at any time; what was counted under the earlier one stays.
        state: CLOSED, OPEN or HALF_OPEN as of the last call; :meth:`look` says what it is now.
        since: When it got there.
        row: Failures since the last success.
        opened: How often it has opened.
    """

    policy: BreakerPolicy
    state: str = CLOSED
    since: float = 0.0
    row: int = 0
    opened: int = 0
    _buckets: list[list[int]] = field(default_factory=list)
    _trials: dict[Hashable, None] = field(default_factory=dict)
    _succeeded: int = 0

    @classmethod
    def restore(cls, policy: BreakerPolicy, kept: BreakerSnapshot) -> Breaker:
        """The breaker that a snapshot describes."""
        found = cls(policy, kept.state, kept.since, kept.row, kept.opened)
        found._buckets = [list(bucket) for bucket in kept.buckets]
        found._trials = dict.fromkeys(kept.trials)
        found._succeeded = kept.succeeded
        return found

    def snapshot(self) -> BreakerSnapshot:
        """All that it knows, to be kept."""
        buckets = tuple((number, good, bad) for number, good, bad in self._buckets)
        return BreakerSnapshot(
            self.state, self.since, self.row, buckets, tuple(self._trials), self._succeeded, self.opened
        )

    @property
    def trials(self) -> Sequence[Hashable]:
        """Keys of the calls that are out half open."""
        return tuple(self._trials)

    @property
    def half_open_at(self) -> float | None:
        """When an open one will be half open; None where it is not open."""
        return self.since + self.policy.open_s if self.state == OPEN else None

    def look(self, now: float) -> bool:
        """An open one whose time is over is half open from now on; True where that has just happened."""
        at = self.half_open_at
        if at is None or now < at:
            return False
        self._go(HALF_OPEN, now)
        return True

    def permits(self, now: float) -> bool:
        """Whether a call may go through now. It changes nothing but what :meth:`look` does."""
        self.look(now)
        return self.state == CLOSED or (
            self.state == HALF_OPEN and len(self._trials) + self._succeeded < self.policy.trials
        )

    def begin(self, key: Hashable, now: float) -> bool:
        """A call goes through; True where it is a trial. Only where `permits` has just said yes."""
        self.look(now)
        if self.state != HALF_OPEN:
            return False
        self._trials[key] = None
        return True

    def forget(self, key: Hashable) -> bool:
        """A call has ended in a way that says nothing; True where it was a trial."""
        if key not in self._trials:
            return False
        del self._trials[key]
        return True

    def end(self, key: Hashable, now: float, *, succeeded: bool) -> bool:
        """A call has ended; True where anything changed."""
        if self.forget(key):
            self._tried(now, succeeded=succeeded)
            return True
        if self.state != CLOSED:
            return False  # let through before it opened
        self._count(now, succeeded=succeeded)
        self.row = 0 if succeeded else self.row + 1
        if not succeeded and self._too_many(now):
            self._go(OPEN, now)
        return True

    def reset(self, now: float) -> None:
        """Closes it, whatever it was; all counts are zero."""
        self._go(CLOSED, now)

    def rate(self, now: float) -> tuple[float, int]:
        """Share of failures within the window, and the ends that it is made of."""
        oldest = self._bucket(now) - BUCKETS + 1
        good = sum(bucket[1] for bucket in self._buckets if bucket[0] >= oldest)
        bad = sum(bucket[2] for bucket in self._buckets if bucket[0] >= oldest)
        return (bad / (good + bad) if bad else 0.0), good + bad

    def _tried(self, now: float, *, succeeded: bool) -> None:
        if self.state != HALF_OPEN:
            return
        if not succeeded:
            self._go(OPEN, now)
            return
        self._succeeded += 1
        if self._succeeded >= self.policy.trials:
            self._go(CLOSED, now)

    def _too_many(self, now: float) -> bool:
        policy = self.policy
        if policy.consecutive_failures and self.row >= policy.consecutive_failures:
            return True
        share, ends = self.rate(now)
        return bool(policy.failure_rate) and ends >= policy.minimum_calls and share >= policy.failure_rate

    def _bucket(self, now: float) -> int:
        return int(now * BUCKETS / self.policy.window_s)

    def _count(self, now: float, *, succeeded: bool) -> None:
        number = self._bucket(now)
        self._buckets = [bucket for bucket in self._buckets if number - BUCKETS < bucket[0] <= number]
        if not self._buckets or self._buckets[-1][0] != number:
            self._buckets.append([number, 0, 0])
        self._buckets[-1][1 if succeeded else 2] += 1

    def _go(self, state: str, now: float) -> None:
        self.state, self.since = state, now
        self.opened += state == OPEN
        self.row, self._succeeded = 0, 0
        self._buckets.clear()
        self._trials.clear()


def as_mapping(kept: BreakerSnapshot) -> Mapping[str, object]:
    """A snapshot as JSON values."""
    return {name: getattr(kept, name) for name in kept.__slots__}


def from_mapping(values: Mapping[str, object]) -> BreakerSnapshot:
    """The snapshot of such values; what is missing is as at the beginning."""
    given = {name: values[name] for name in BreakerSnapshot.__slots__ if name in values}
    if isinstance(buckets := given.get("buckets"), Sequence):
        given["buckets"] = tuple((int(number), int(good), int(bad)) for number, good, bad in buckets)
    if isinstance(trials := given.get("trials"), Sequence):
        given["trials"] = tuple(trials)
    return BreakerSnapshot(**given)  # type: ignore[arg-type]  # as as_mapping made them
