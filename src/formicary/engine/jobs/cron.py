"""Cron expressions: when a job starts by itself, in a time zone, over changes of daylight saving.

Theory of operation. An expression says which wall-clock times match. croniter finds the next match on a calendar
without time zones; what the zone makes of it is decided here. An expression whose hour field begins with ``*`` follows
real time: every instant at which the clock shows a match counts, so a repeated hour runs twice and a skipped one not at
all. Any other expression names times of the day, each of which counts once a day: one that the clock skips counts at
the moment after the gap, one that it shows twice counts the first time.

Everything here is pure: times come in as arguments, in seconds since the epoch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

MISSED: Final = ("skip", "last", "all")
OVERLAP: Final = ("allow", "skip", "queue")
MOST_MISSED: Final = 100
"""Runs that `missed: all` makes up for at most, the latest ones; also the most that `overlap: queue` keeps."""

_ALIASES: Final[Mapping[str, str]] = {
    "@yearly": "0 0 0 1 1 * *",
    "@annually": "0 0 0 1 1 * *",
    "@monthly": "0 0 0 1 * * *",
    "@weekly": "0 0 0 * * 0 *",
    "@daily": "0 0 0 * * * *",
    "@midnight": "0 0 0 * * * *",
    "@hourly": "0 0 * * * * *",
}
_PREFIXES: Final = ("CRON_TZ=", "TZ=")
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_FIRST: Final = datetime(1970, 1, 1)
_MOST_YEARS: Final = 130
_MOST_SKIPPED: Final = 4000
"""Matches within one gap or one repeated hour: at most one a second."""


class CronError(ValueError):
    """An expression that cannot be used; the message says why and what to write."""


@dataclass(frozen=True, slots=True)
class Cron:
    """When a job starts by itself.

    Attributes:
        expression: Seven fields: second, minute, hour, day of the month, month, day of the week, year.
        zone: Name of the time zone.
        missed: What becomes of runs that were due while nobody was there: skip, last or all.
        overlap: What becomes of a run while the one before it goes on: allow, skip or queue.
    """

    expression: str
    zone: str = "UTC"
    missed: str = "last"
    overlap: str = "allow"

    def next(self, after: float) -> float | None:
        """The first time later than `after`, both in seconds since the epoch; None = never."""
        return _next(self.expression, self.zone, int(after // 1))

    def between(self, first: float, until: float, most: int = MOST_MISSED) -> list[float]:
        """The latest times from `first` to `until`, both included, at most `most`, in order."""
        window = 60.0
        while True:
            start = max(first, until - window)
            found: deque[float] = deque(maxlen=most)
            at = self.next(start - 1.0)
            while at is not None and at <= until:
                if at >= start:
                    found.append(at)
                at = self.next(at)
            if start <= first or len(found) >= most:
                return list(found)
            window *= 2


@lru_cache(maxsize=16384)
def _next(expression: str, zone_name: str, after: int) -> float | None:
    """See :meth:`Cron.next`. Many entries name the same times, and each is asked for more than once."""
    try:
        start, zone = datetime.fromtimestamp(after, UTC), _zone(zone_name)
        follows_clock = expression.split()[2].startswith("*")
        found = (_by_clock if follows_clock else _by_name)(expression, start, zone)
    except OverflowError:  # beyond the year 9999
        return None
    return found.timestamp() if found is not None else None


def parse_cron(text: str, *, zone: str = "", missed: str = "last", overlap: str = "allow") -> Cron:
    """Reads an expression as it stands in a job file.

    Args:
        text: 5 fields (minute … day of the week), 6 (a year behind them; where that cannot be, a second before them), 7
            (both) or an alias like ``@daily``; ``CRON_TZ=Europe/Berlin`` may stand before it.
        zone: Name of the time zone; empty = the one in the text, else UTC.
        missed: One of :data:`MISSED`.
        overlap: One of :data:`OVERLAP`.

    Raises:
        CronError: It is none, or no year has such a day.
    """
    words = text.split()
    for prefix in _PREFIXES:
        if words and words[0].startswith(prefix):
            given = words.pop(0).removeprefix(prefix)
            if zone and zone != given:
                raise CronError(f"The time zone is {given} in the expression and {zone} beside it; keep one.")
            zone = given
    zone = zone or "UTC"
    try:
        _zone(zone)
    except (ValueError, OSError, LookupError) as error:
        raise CronError(f"There is no time zone {zone[:60]!r}; write one like Europe/Berlin or UTC.") from error
    cron, first = Cron(_seven(words), zone, missed, overlap), None
    try:
        first = _after(cron.expression, _FIRST)
    except ValueError as error:
        if len(words) != 6 or (cron_with_seconds := _with_seconds(cron, words)) is None:
            raise CronError(f"The cron expression {text[:100]!r} cannot be read: {_reason(error)}.") from error
        cron = cron_with_seconds
        first = _after(cron.expression, _FIRST)
    if first is None:
        raise CronError(f"The cron expression {text[:100]!r} never comes true: no year has such a day.")
    return cron


def _with_seconds(cron: Cron, words: list[str]) -> Cron | None:
    """Six fields that cannot end with a year, read as ones that begin with a second; None where that is wrong too."""
    other = replace(cron, expression=" ".join([*words, "*"]))
    try:
        _calendar(other.expression)
    except ValueError:
        return None
    return other


def _seven(words: list[str]) -> str:
    if len(words) == 1 and words[0].startswith("@"):
        if (known := _ALIASES.get(words[0].lower())) is None:
            raise CronError(f"There is no {words[0][:40]}; write one of {', '.join(_ALIASES)}, or 5 to 7 fields.")
        return known
    if not 5 <= len(words) <= 7:
        raise CronError(
            f"A cron expression has 5 to 7 fields (second) minute hour day month weekday (year), not {len(words)}."
        )
    seconds, years = ([] if len(words) == 7 else ["0"]), (["*"] if len(words) == 5 else [])
    return " ".join([*seconds, *words, *years])


def _reason(error: ValueError) -> str:
    name = type(error).__name__
    if name == "CroniterNotAlphaError":
        return "a name or a sign is not known in its field"
    return "a number is out of range, or a field is not written as cron has it"


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=4096)
def _calendar(expression: str) -> Any:
    """The parsed expression; its position is set with every look-up."""
    from croniter import croniter  # type: ignore[import-untyped]  # it has no types; slow to import, often not needed

    return croniter(expression, _FIRST, second_at_beginning=True, max_years_between_matches=_MOST_YEARS)


def _after(expression: str, wall: datetime) -> datetime | None:
    """The next match on a calendar without zones, later than `wall`. Raises ValueError for what is no expression."""
    from croniter import CroniterBadDateError

    calendar = copy(_calendar(expression))  # it keeps its position in itself, and files are checked on other threads
    try:
        found: datetime = calendar.get_next(datetime, start_time=wall)
    except CroniterBadDateError:
        return None
    return found


def _matches(expression: str, wall: datetime) -> Iterator[datetime]:
    found = _after(expression, wall)
    while found is not None:
        yield found
        found = _after(expression, found)


def _instant(wall: datetime, zone: ZoneInfo, fold: int = 0) -> datetime:
    """The instant at which the clock shows `wall`; of two, the first; of none, the one that `fold` means."""
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _shown(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(instant: datetime, zone: ZoneInfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _change(low: datetime, high: datetime, zone: ZoneInfo) -> datetime:
    """The first instant with another offset than at `low`; the offsets at `low` and `high` differ."""
    before = _offset(low, zone)
    while high - low > _SECOND:
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if _offset(middle, zone) == before:
            low = middle
        else:
            high = middle
    return high


def _by_name(expression: str, after: datetime, zone: ZoneInfo) -> datetime | None:
    """Times of the day: each once."""
    # Where the clock shows an hour the second time, what that hour names has been: those are passed over.
    for _, wall in zip(range(_MOST_SKIPPED), _matches(expression, _shown(after, zone)), strict=False):
        instant = _instant(wall, zone)
        if _shown(instant, zone) != wall:
            instant = _change(instant - _DAY, instant, zone)
        if instant > after:
            return instant
    return None


def _by_clock(expression: str, after: datetime, zone: ZoneInfo) -> datetime | None:
    """Every instant at which the clock shows a match."""
    while True:
        offset = _offset(after, zone)
        wall = _after(expression, _shown(after, zone))
        if wall is None:
            return None
        found = (wall - offset).replace(tzinfo=UTC)
        soon = min(found, after + _DAY)
        if _offset(soon, zone) == offset:
            if found == soon:
                return found
            break
        change = _change(after, soon, zone)
        if found < change:
            return found
        begins = _shown(change, zone) - _SECOND
        wall = _after(expression, begins)
        if wall is None:
            return None
        if wall == begins + _SECOND:
            return change
        after = change
    for _, match in zip(range(_MOST_SKIPPED), _matches(expression, wall - _SECOND), strict=False):
        instant = _instant(match, zone)
        if _shown(instant, zone) == match:
            return instant
    return None
