"""What makes backfill quick, against the plain ways: every job behind the head is looked at, every moment is tried."""

from collections.abc import Iterator
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.simulation.availability import Availability
from formicary.engine.scheduling.simulation.backfill import Backfill, Conservative
from formicary.engine.scheduling.simulation.engine import Simulation
from formicary.engine.scheduling.simulation.policy import Decision, SortedGroup, Start
from formicary.engine.scheduling.simulation.queueing import Ordered, seconds_left
from formicary.engine.scheduling.simulation.registry import submitted
from formicary.engine.scheduling.simulation.state import AntState, Entry
from formicary.engine.scheduling.simulation.waiting import ByLength
from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job


class SlowEasy(Ordered):
    """The reservation is found anew in every round, and all jobs behind the head are looked at one by one."""

    def __init__(self, depth: int) -> None:
        super().__init__(submitted)
        self.depth = depth
        self.queue = SortedGroup("")

    def group_of(self, entry: Entry) -> SortedGroup:
        return self.queue

    def decide(self, now: float) -> Iterator[Decision]:
        queue = self.queue
        while queue.heap and (ant := self.state.first_fit(queue.head().shape)):
            yield Start(queue.pop(), ant)
        has_room = any(all(f > 0 for f, c in zip(a.free, a.capacity, strict=True) if c > 0) for a in self.state.ants)
        if not queue.heap or not has_room:
            return
        head, at, spare = queue.head(), 1e18, [0.0]
        place: AntState | None = None
        for ant in head.shape.eligible:
            for end in sorted({now + seconds_left(one, now) for one in ant.running.values()}):
                free = list(ant.free)
                for one in ant.running.values():
                    for index, amount in one.need:
                        free[index] += amount if now + seconds_left(one, now) <= end else 0.0
                if all(free[index] >= amount for index, amount in head.need):
                    if end < at:
                        at, place, spare = end, ant, free
                    break
        for index, amount in head.need:
            spare[index] -= amount
        for _, _, entry in queue.heap[1 : self.depth + 1]:
            short = now + entry.expected_left <= at
            for ant in entry.shape.eligible:
                beside = ant is not place or all(spare[index] >= amount for index, amount in entry.need)
                if ant.fits(entry.need) and (short or beside):
                    for index, amount in entry.need:
                        spare[index] -= amount if ant is place and not short else 0.0
                    queue.remove(entry)
                    yield Start(entry, ant)
                    break


ROWS = st.tuples(
    st.integers(0, 3), st.integers(1, 12), st.integers(-3, 6), st.integers(1, 4), st.sampled_from(["", "t"])
)


@settings(deadline=None, max_examples=120)
@given(st.lists(ROWS, min_size=1, max_size=40), st.sampled_from([1, 3, 1000]))
def test_easy_backfill_is_its_slow_twin_s(rows: list[tuple[int, int, int, int, str]], depth: int) -> None:
    """On several ants, with estimates that are wrong both ways, every job starts when and where it does there."""
    cluster = Cluster((Ant("x", {"cpu": 4}), Ant("y", {"cpu": 5}, frozenset({"t"})), Ant("z", {"cpu": 6, "slots": 2})))
    at, jobs = 0.0, list[Job]()
    for number, (gap, length, wrong, cpu, tag) in enumerate(rows):
        at += gap
        more = {"estimate": float(max(1, length + wrong)), "tags": frozenset({tag} - {""})}
        jobs.append(Job(f"j{number}", at, float(length), {"cpu": float(cpu)}, **more))  # type: ignore[arg-type]  # keywords
    ran = [Simulation(cluster, jobs, made).run().jobs for made in (Backfill(submitted, depth), SlowEasy(depth))]
    assert [(one.start, one.ant) for one in ran[0]] == [(one.start, one.ant) for one in ran[1]]
    conservative = Simulation(cluster, jobs, Conservative(submitted, depth)).run().jobs
    assert all(one.end is not None or one.reason for one in conservative), (
        "jobs that run too long hold up nobody for ever"
    )


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.integers(1, 400))
def test_the_first_that_is_short_enough(seed: int, steps: int) -> None:
    """Whatever was added and taken, it is the one that a look at all of them finds."""
    rng = Random(seed)
    tree, plain = ByLength[tuple[int, int]](lambda item: item[1]), list[tuple[int, int]]()
    for _ in range(steps):
        if plain and rng.random() < 0.4:
            gone = rng.choice(plain)
            plain.remove(gone)
            tree.remove(gone)
        else:
            item = (rng.randrange(10**6), rng.randrange(50))
            if item not in plain:
                plain.append(item)
                tree.push(item)
        start = rng.choice([None, (rng.randrange(10**6), 0)])
        most = rng.randrange(-1, 51)
        found = min((one for one in plain if one[1] <= most and (start is None or one >= start)), default=None)
        assert tree.first(start, most) == found
        assert bool(tree) == bool(plain)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.integers(1, 3)), max_size=10),
    st.lists(st.booleans(), min_size=10, max_size=10),
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(0, 12)),
)
def test_the_earliest_hole(rows: list[tuple[int, int, int]], kept: list[bool], wanted: tuple[int, int, int]) -> None:
    """After some of what was taken is given back: the first moment from which every step of the stretch has room."""
    profile = Availability([5.0])
    held = [(float(start), float(start + length), amount) for start, length, amount in rows]
    for start, end, amount in held:
        profile.take(start, end, ((0, float(amount)),))
    for (start, end, amount), stays in zip(held, kept, strict=False):
        if not stays:
            profile.give_back(start, end, ((0, float(amount)),))
    held = [one for one, stays in zip(held, kept, strict=False) if stays]
    need, length, now = wanted
    profile.forget(float(now))

    def fits(at: float) -> bool:
        steps = [at, *(start for start, _, _ in held if at < start < at + length)]
        return all(sum(a for s, e, a in held if s <= step < e) + need <= 5 for step in steps)

    expected = next(at for at in sorted({float(now), *(end for _, end, _ in held if end > now)}) if fits(at))
    assert profile.earliest(((0, float(need)),), float(length), float(now)) == expected
    assert profile.earliest(((0, float(need)),), float(length), float(now), expected) in (expected, float("inf"))
