"""Gangs: all members are placed in one decision or none is; they start together.

`place` finds room for a whole gang. `plan` decides over a queue of gangs and single jobs: in order, whole gangs only;
the first that does not fit gets a reservation at the earliest time at which its members fit, given when what runs is
expected to end, and what comes behind it may start now only where it does not delay that reservation (EASY backfill).
So no gang is ever half placed, two gangs cannot hold parts of what the other needs, and a large gang waits no longer
than for what ran before it.

`Barrier` lets no member begin before all have arrived; after a time-out everything is rolled back and tried again
with a growing delay.

Source: Ousterhout, "Scheduling Techniques for Concurrent Systems", ICDCS 1982 (coscheduling); Lifka, "The ANL/IBM SP
Scheduling System", JSSPP 1995, and Mu'alem and Feitelson, TPDS 12(6), 2001 (EASY backfill).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random

from formicary.engine.scheduling.policies.drf import Vector, fits


@dataclass(frozen=True, slots=True)
class Gang:
    """Members that run together.

    Args:
        id: Unique.
        members: What each needs; a single job is a gang of one.
        runtime_s: How long it is expected to run; infinity where nobody knows.
        allowed: Names of the ants that may hold members; None = any.
        least: Fewest members that make sense to start (`min`); None = all.
    """

    id: str
    members: tuple[Vector, ...]
    runtime_s: float = inf
    allowed: frozenset[str] | None = None
    least: int | None = None
    kind: Hashable = field(init=False, repr=False, compare=False)
    """Equal for gangs that need the same."""

    def __post_init__(self) -> None:
        members = tuple(tuple(sorted(member.items())) for member in self.members)
        object.__setattr__(self, "kind", (members, self.allowed, self.least))


@dataclass(frozen=True, slots=True)
class Held:
    """What runs: it frees its part of an ant at an expected time."""

    ant: str
    demand: Vector
    ends_at: float = inf


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room kept for the first gang that has to wait."""

    gang: str
    starts_at: float
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start now, and for whom room is kept."""

    starts: Mapping[str, tuple[str, ...]]
    """Ants of the members in order, by gang."""
    reservation: Reservation | None = None
    impossible: Mapping[str, str] = field(default_factory=dict)
    """Gangs that do not fit even into an empty cluster, with the reason."""


def place(gang: Gang, free: Mapping[str, Vector], most_steps: int = 10_000) -> tuple[str, ...] | None:
    """Ants for all members, or None; nothing is ever placed in part.

    Members that need most are placed first, each where least is left over; where that fails other places are tried, up
    to a bound on the steps. With `least`, fewer members are tried, as many as possible.

    Returns:
        Names by member; shorter than `members` only where `least` allows it.
    """
    least = len(gang.members) if gang.least is None else max(1, gang.least)
    for count in range(len(gang.members), least - 1, -1):
        found = _place(gang.members[:count], gang.allowed, free, most_steps)
        if found is not None:
            return found
    return None


def _place(
    members: Sequence[Vector], allowed: frozenset[str] | None, free: Mapping[str, Vector], most_steps: int
) -> tuple[str, ...] | None:
    room = {name: dict(have) for name, have in sorted(free.items()) if allowed is None or name in allowed}
    totals = {key: sum(have.get(key, 0.0) for have in room.values()) for member in members for key in member}
    if any(sum(member.get(key, 0.0) for member in members) > amount + 1e-9 for key, amount in totals.items()):
        return None
    sizes = [sum(amount / (totals[key] or 1.0) for key, amount in member.items()) for member in members]
    order = sorted(range(len(members)), key=lambda at: (-sizes[at], at))
    chosen: dict[int, str] = {}
    tried: list[list[str]] = []  # for each placed member the ants that are still to be tried
    steps = 0
    while len(chosen) < len(members):
        at = order[len(chosen)]
        if len(tried) == len(chosen):
            tried.append(_candidates(members[at], room, totals))
        steps += 1
        if tried[-1] and steps <= most_steps:
            name = tried[-1].pop(0)
            _take(room[name], members[at], -1)
            chosen[at] = name
            continue
        tried.pop()
        if not chosen or steps > most_steps:
            return None
        back = order[len(chosen) - 1]
        _take(room[chosen.pop(back)], members[back], +1)
    return tuple(chosen[at] for at in range(len(members)))


def _candidates(member: Vector, room: Mapping[str, Mapping[str, float]], totals: Mapping[str, float]) -> list[str]:
    """Ants that fit, least left over first; of ants with equal room one is enough."""
    seen: set[tuple[tuple[str, float], ...]] = set()
    found = []
    for name, have in room.items():
        shape = tuple(sorted(have.items()))
        if shape not in seen and fits(member, have):
            seen.add(shape)
            left = sum((have.get(key, 0.0) - member.get(key, 0.0)) / (totals.get(key) or 1.0) for key in totals)
            found.append((left, name))
    return [name for _, name in sorted(found)]


def _take(have: dict[str, float], member: Vector, sign: int) -> None:
    for key, amount in member.items():
        have[key] = have.get(key, 0.0) + sign * amount


def plan(
    queue: Iterable[Gang], capacity: Mapping[str, Vector], held: Sequence[Held], now: float, *, backfill: bool = True
) -> Plan:
    """Decides over gangs in order.

    Args:
        queue: Gangs and single jobs, whose turn it is first.
        capacity: All that each ant has.
        held: What runs on them.
        now: Seconds, as `ends_at`.
        backfill: Let later ones start where they do not delay the first that waits.
    """
    free = _free(capacity, held)
    running = list(held)
    starts: dict[str, tuple[str, ...]] = {}
    impossible: dict[str, str] = {}
    reservation: Reservation | None = None
    reserved_for: Gang | None = None
    without: set[Hashable] = set()  # what found no room finds none later: room only shrinks
    delaying: dict[Hashable, float] = {}  # run time of one that would delay the reservation: longer ones would, too
    for gang in queue:
        known = delaying.get(gang.kind)
        if reservation is not None and (gang.kind in without or (known is not None and gang.runtime_s >= known)):
            continue
        places = place(gang, free)
        if places is not None and reserved_for is not None and reservation is not None:
            joined = [*running, *_holds(gang, places, now)]
            ends_before = now + gang.runtime_s <= reservation.starts_at
            if not ends_before and _earliest(reserved_for, capacity, joined, now) > reservation.starts_at:
                delaying[gang.kind] = gang.runtime_s
                continue
        if places is not None:
            starts[gang.id] = places
            delaying.clear()  # another ant may be the best one now
            running += _holds(gang, places, now)
            for member, name in zip(gang.members, places, strict=False):
                free[name] = {key: free[name].get(key, 0.0) - member.get(key, 0.0) for key in {*free[name], *member}}
            continue
        without.add(gang.kind)
        if reservation is not None:
            continue
        if place(gang, capacity) is None:
            impossible[gang.id] = f"{len(gang.members)} members do not fit even when nothing else runs"
            continue
        at = _earliest(gang, capacity, running, now)
        later = [one for one in running if one.ends_at > at]
        reserved_for = gang
        reservation = Reservation(gang.id, at, place(gang, _free(capacity, later)) or ())
        if not backfill:
            break
    return Plan(starts, reservation, impossible)


def _free(capacity: Mapping[str, Vector], held: Iterable[Held]) -> dict[str, dict[str, float]]:
    """What each ant has left beside what is held."""
    free = {name: dict(have) for name, have in capacity.items()}
    for one in held:
        if one.ant in free:
            _take(free[one.ant], one.demand, -1)
    return free


def _holds(gang: Gang, places: Sequence[str], now: float) -> list[Held]:
    return [Held(name, member, now + gang.runtime_s) for member, name in zip(gang.members, places, strict=False)]


def _earliest(gang: Gang, capacity: Mapping[str, Vector], held: Sequence[Held], now: float) -> float:
    """When the gang fits, if everything ends as expected; infinity where something has no expected end."""
    for at in sorted({now, *(max(now, one.ends_at) for one in held)}):
        if place(gang, _free(capacity, [one for one in held if one.ends_at > at])) is not None:
            return at
    return inf


# --- starting together ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Barrier:
    """Members of one gang on their way to a common start. Changes give a new barrier.

    Args:
        members: Names of all.
        opened_at: When the wait began.
        timeout_s: After that it is rolled back.
        arrived: Who is ready.
    """

    members: frozenset[str]
    opened_at: float
    timeout_s: float = 60.0
    arrived: frozenset[str] = frozenset()

    def arrive(self, member: str) -> Barrier:
        """A member is ready. Raises ValueError for one of another gang."""
        if member not in self.members:
            raise ValueError(f"{member!r} is not of this gang")
        return Barrier(self.members, self.opened_at, self.timeout_s, self.arrived | {member})

    def state(self, now: float) -> str:
        """`go` once all are there, `roll back` after the time-out, else `wait`."""
        if self.arrived == self.members:
            return "go"
        return "roll back" if now - self.opened_at >= self.timeout_s else "wait"


def backoff_s(attempt: int, rng: Random, *, first_s: float = 1.0, most_s: float = 60.0) -> float:
    """Delay before a rolled-back gang is tried again: doubled each time, with full jitter in its upper half.

    Two gangs that rolled each other back do not meet again in step.
    """
    top = min(most_s, first_s * 2.0 ** min(attempt, 60))
    return top / 2 + rng.random() * top / 2
