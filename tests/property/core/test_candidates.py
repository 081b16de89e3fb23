"""The candidate queue against a sorted list: order, cold jobs, loading, void entries."""

from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.candidates import Candidate, CandidateQueue, OrderKey


@dataclass(eq=False, slots=True)
class Job:
    """A candidate."""

    key: tuple[int, int, int]
    state: str = "PENDING"
    fallen: int = 0
    waiting_since: float = 0.0


def as_job(candidate: Candidate) -> Job:
    """All candidates are jobs here."""
    assert isinstance(candidate, Job)
    return candidate


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("hot", "cold", "take", "take", "drop", "fetch", "load", "order", "step", "step")),
        st.integers(0, 9),
    ),
    max_size=60,
)


def fall(candidate: Candidate) -> OrderKey:
    """Its place in the order from now on: some fall, none rises."""
    job = as_job(candidate)
    job.fallen += 1
    job.key = (job.key[0] + job.key[1] % 4, *job.key[1:])
    return job.key


@given(STEPS, st.integers(1, 4))
def test_the_order_holds(steps: list[tuple[str, int]], prefetch: int) -> None:
    """A candidate is taken only if no live one, stored or at hand, would go before it."""
    queue = CandidateQueue()
    waiting: dict[int, Job] = {}
    loading: list[int] = []
    number = 0
    steps_left: Iterator[None] = iter(())
    for what, value in steps:
        if what in ("hot", "cold"):
            number += 1
            job = waiting[number] = Job((-value, number, 0))
            queue.push(job.key, job, cold=what == "cold" or queue.has_cold)
        elif what == "order":
            for _ in steps_left:  # one after the other
                pass
            steps_left = queue.put_in_order(fall)
        elif what == "step":
            next(steps_left, None)
        elif what == "drop" and waiting:
            waiting.pop(sorted(waiting)[value % len(waiting)]).state = "CANCELLED"
        elif what == "fetch":
            loading += queue.fetch(prefetch)
        elif what == "load" and loading:
            one = loading.pop(0)
            assert (queue.loaded(one) is not None) == (one in waiting)
        elif what == "take" and (head := queue.head()) is not None:
            taken = waiting.pop(head[1])
            assert taken is head[4] and all(taken.key < other.key for other in waiting.values())
            queue.pop()
            taken.state = "EXECUTING"
        live = [entry for entry in queue.entries() if entry[4].state == entry[5]]
        assert sorted(entry[1] for entry in live) == sorted(waiting), "each is there once"
        assert all(entry[:3] == as_job(entry[4]).key for entry in live)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 5))
def test_all_get_their_new_place(pushes: list[bool], before: int) -> None:
    """After the last step each stands where it belongs and was asked once, also after a look that was broken off."""
    queue = CandidateQueue()
    jobs = [Job((0, number, 0)) for number in range(len(pushes))]
    for job, cold in zip(jobs, pushes, strict=True):
        queue.push(job.key, job, cold=cold or queue.has_cold)
    for _ in zip(range(before), queue.put_in_order(lambda one: as_job(one).key), strict=False):
        pass
    for _ in queue.put_in_order(fall):
        pass
    assert [job.fallen for job in jobs] == [1] * len(jobs)
    assert sorted(entry[:3] for entry in queue.entries()) == sorted(job.key for job in jobs)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=40), st.integers(1, 4))
def test_nothing_starves(pushes: list[tuple[bool, int]], prefetch: int) -> None:
    """By fetching, loading and taking everything is taken in order, however much is stored and when it came."""
    queue = CandidateQueue()
    waiting: dict[int, Job] = {}
    half = len(pushes) // 2
    taken: list[Job] = []
    for part in (pushes[:half], pushes[half:]):
        for cold, value in part:
            number = len(waiting) + len(taken) + 1
            job = waiting[number] = Job((-value, number, 0))
            queue.push(job.key, job, cold=cold or queue.has_cold)
        for number in queue.fetch(prefetch):
            queue.loaded(number)
    while waiting:
        if (head := queue.head()) is None:
            asked = queue.fetch(prefetch)
            assert asked, f"{len(waiting)} wait, nothing is ready and nothing is asked for"
            for number in asked:
                queue.loaded(number)
            continue
        queue.pop()
        job = waiting.pop(head[1])
        assert job is head[4] and all(job.key < other.key for other in waiting.values())
        job.state = "EXECUTING"
        taken.append(job)
