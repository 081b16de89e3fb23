"""The event stream by itself: numbers, kinds, the ring, gaps, what is shared and when watches are woken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from formicary.engine.queen.core.occurrences import Occurrence
from formicary.engine.queen.events import CHUNK, GAP, MOST_WATCHES, EventFilter, EventStream, Watch
from formicary.problems import Problem

ALL = EventFilter("local")
EPOCH = 3
START = EPOCH << 40


def job(number: int, state: str, *, execution: int = 1, retries: int = 0, org: str = "local") -> Occurrence:
    """A committed job."""
    return Occurrence(1.0, number, -1, org, f"j{number}", "etl", "", execution, 0, state, "", "", retries)


def task(number: int, state: str, *, attempt: int = 1, failures: int = 0, position: int = 0) -> Occurrence:
    """A committed task."""
    return Occurrence(1.0, number, position, "local", f"j{number}", "etl", "t", 1, attempt, state, "a1", "", failures)


def on_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Runs an asynchronous test."""

    def run() -> None:
        asyncio.run(test())  # type: ignore[arg-type]  # every test here is a coroutine function

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def stream(kept: int = 1000, linger_s: float = 60.0) -> EventStream:
    found = EventStream(kept, linger_s)
    found.begin(EPOCH)
    return found


async def kinds(watch: Watch) -> list[str]:
    """Kinds of the next events that there are."""
    chunk = await watch.next()
    assert chunk is not None
    return [event.kind for event in chunk.events]


@on_loop
async def test_a_job_from_its_submission_to_its_end() -> None:
    """Images become events in the order of what happened, each once, with sequences that only grow."""
    events = stream()
    watch = events.watch(ALL)
    assert await kinds(watch) == []
    events.occurred([job(1, "EXECUTING"), task(1, "DISPATCHED")])
    events.occurred([job(1, "EXECUTING"), task(1, "EXECUTING")])
    events.occurred([task(1, "WAITING", failures=1)])
    events.occurred([task(1, "DISPATCHED", attempt=2, failures=1)])
    events.occurred([task(1, "COMPLETED", attempt=2, failures=1), job(1, "COMPLETED")])
    chunk = await watch.next()
    assert chunk is not None
    assert [(event.kind, event.what.attempt) for event in chunk.events] == [
        ("job.submitted", 0),
        ("job.started", 0),
        ("task.dispatched", 1),
        ("task.started", 1),
        ("task.retrying", 1),
        ("task.dispatched", 2),
        ("task.completed", 2),
        ("job.completed", 0),
    ]
    sequences = [event.sequence for event in chunk.events]
    assert sequences == list(range(sequences[0], sequences[0] + 8))
    assert sequences[0] > START
    assert chunk.position == sequences[-1]


@on_loop
async def test_a_retry_inside_of_one_commit_is_told() -> None:
    """An attempt that failed and was given out again before the next commit is not passed over."""
    events = stream()
    watch = events.watch(ALL)
    await watch.next()
    events.occurred([job(1, "EXECUTING"), task(1, "DISPATCHED")])
    events.occurred([task(1, "DISPATCHED", attempt=2, failures=1)])
    assert (await kinds(watch))[-2:] == ["task.retrying", "task.dispatched"]


@on_loop
async def test_filters_take_what_they_name_and_nothing_of_another_organisation() -> None:
    """Organisation, job, type, kind, first word of a kind and state all count; a gap is for everybody."""
    events = stream()
    watches = {
        "all": events.watch(ALL),
        "other": events.watch(EventFilter("acme")),
        "word": events.watch(EventFilter("local", kinds=frozenset({"task"}))),
        "kind": events.watch(EventFilter("local", kinds=frozenset({"job.submitted"}))),
        "state": events.watch(EventFilter("local", states=frozenset({"DISPATCHED"}))),
        "job": events.watch(EventFilter("local", job_id="j2")),
        "type": events.watch(EventFilter("local", job_type="none")),
    }
    for watch in watches.values():
        await watch.next()
    events.occurred([job(1, "EXECUTING"), job(2, "PENDING", execution=0), task(1, "DISPATCHED")])
    events.occurred([job(3, "PENDING", execution=0, org="acme"), Occurrence(*ant("CONNECTED"))])
    events.interrupted()
    found = {name: await kinds(watch) for name, watch in watches.items()}
    assert found == {
        "all": ["job.submitted", "job.started", "job.submitted", "task.dispatched", "ant.connected", GAP],
        "other": ["job.submitted", GAP],
        "word": ["task.dispatched", GAP],
        "kind": ["job.submitted", "job.submitted", GAP],
        "state": ["task.dispatched", GAP],
        "job": ["job.submitted", GAP],
        "type": [GAP],
    }


def ant(state: str) -> tuple[float, int, int, str, str, str, str, int, int, str, str, str, int]:
    return (1.0, 0, -1, "", "", "", "", 0, 0, state, "a1", "", 0)


@on_loop
async def test_a_watch_goes_on_where_it_was() -> None:
    """After a disconnect nothing is told twice and nothing is left out."""
    events = stream()
    first = events.watch(ALL)
    await first.next()
    events.occurred([job(1, "PENDING", execution=0)])
    chunk = await first.next()
    assert chunk is not None
    first.close()
    events.occurred([job(1, "EXECUTING")])
    second = events.watch(ALL, chunk.position)
    assert await kinds(second) == []
    assert await kinds(second) == ["job.started"]


@pytest.mark.parametrize("after", [(EPOCH - 1 << 40) + 5, START + 10**6, 1])
def test_a_sequence_of_another_life_begins_with_a_gap(after: int) -> None:
    """A position that this server does not know is never taken for one of its own."""

    async def run() -> None:
        assert await kinds(stream().watch(ALL, after)) == [GAP]

    asyncio.run(run())


@on_loop
async def test_what_left_the_ring_is_counted() -> None:
    """A watch that is too slow is told how many events it missed, and goes on with the oldest that is kept."""
    events = stream(kept=100)
    slow, quick = events.watch(ALL), events.watch(ALL)
    await slow.next()
    await quick.next()
    seen = 0
    for number in range(1, 501):
        events.occurred([job(number, "PENDING", execution=0)])
        if number % 50 == 0:
            seen += len(await kinds(quick))
    assert seen == 500
    chunk = await slow.next()
    assert chunk is not None
    gap, *rest = chunk.events
    assert (gap.kind, gap.missed + len(rest)) == (GAP, 500)
    assert 100 <= len(rest) <= 113
    assert rest[0].sequence == gap.sequence + 1


@on_loop
async def test_all_who_stand_at_one_place_get_the_same_chunk() -> None:
    """What is made of a chunk is made once for everybody; a chunk is bounded."""
    events = stream(kept=10 * CHUNK)
    watches = [events.watch(ALL) for _ in range(20)]
    for watch in watches:
        await watch.next()
    events.occurred([job(number, "PENDING", execution=0) for number in range(1, CHUNK + 11)])
    chunks = [await watch.next() for watch in watches]
    assert len({id(chunk) for chunk in chunks}) == 1
    assert chunks[0] is not None
    assert len(chunks[0].events) == CHUNK
    assert len(await kinds(watches[0])) == 10


@on_loop
async def test_nothing_is_recorded_while_nobody_watches() -> None:
    """Recording begins with the first watch and ends after the last one; who comes back later is told of a gap."""
    switched: list[bool] = []
    events = EventStream(10, 0.0, switched.append)
    events.begin(EPOCH)
    events.occurred([job(1, "PENDING", execution=0)])
    assert switched == []
    watch = events.watch(ALL)
    chunk = await watch.next()
    assert chunk is not None
    watch.close()
    watch.close()
    while switched == [True]:
        await asyncio.sleep(0)
    assert switched == [True, False]
    assert await kinds(events.watch(ALL, chunk.position)) == [GAP]


@on_loop
async def test_until_now_ends() -> None:
    """A watch of what is kept ends by itself."""
    events = stream()
    events.watch(ALL)
    events.occurred([job(1, "PENDING", execution=0)])
    watch = events.watch(ALL, 0, until_now=True)
    assert await kinds(watch) == []
    assert await kinds(watch) == ["job.submitted"]
    assert await watch.next() is None


@on_loop
async def test_the_number_of_watches_is_bounded_and_a_stopping_server_says_so() -> None:
    """One too many is refused, and everybody is sent away when the server stops."""
    events = stream()
    watches = [events.watch(ALL) for _ in range(MOST_WATCHES)]
    with pytest.raises(Problem) as error:
        events.watch(ALL)
    assert error.value.code == "RESOURCE_EXHAUSTED"
    await watches[0].next()
    waiting = asyncio.ensure_future(watches[0].next())
    await asyncio.sleep(0)
    events.close()
    with pytest.raises(Problem) as stopped:
        await waiting
    assert stopped.value.code == "UNAVAILABLE"
