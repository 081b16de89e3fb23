"""The candidate queue against a sorted list: order, cold jobs, loading, void entries."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.candidates import CandidateQueue


@dataclass(eq=False, slots=True)
class Job:
    """A candidate."""

    key: tuple[int, int, int]
    state: str = "PENDING"


STEPS = st.lists(
    st.tuples(st.sampled_from(("hot", "cold", "take", "take", "drop", "fetch", "load")), st.integers(0, 9)), max_size=60
)


@given(STEPS, st.integers(1, 4))
def test_the_order_holds(steps: list[tuple[str, int]], prefetch: int) -> None:
    """A candidate is taken only if no live one, stored or at hand, would go before it."""
    queue = CandidateQueue()
    waiting: dict[int, Job] = {}
    loading: list[int] = []
    number = 0
    for what, value in steps:
        if what in ("hot", "cold"):
            number += 1
            job = waiting[number] = Job((-value, number, 0))
            queue.push(job.key, job, cold=what == "cold" or bool(queue.cold))
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
            queue.push(job.key, job, cold=cold or bool(queue.cold))
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
