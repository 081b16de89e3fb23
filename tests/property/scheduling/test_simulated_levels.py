"""Levels and slices second by second, as the textbooks write them down, beside what the simulator does."""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.scheduling.simulation.workload import Ant, Cluster, Job
from tests.property.scheduling.test_simulation import run

ONE = Cluster((Ant("a", {"slots": 1}),))
Pieces = dict[str, list[tuple[float, float]]]
ROWS = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 9), st.integers(0, 2)), min_size=1, max_size=7)


def workload(rows: list[tuple[int, int, int]]) -> list[Job]:
    return [Job(f"j{n}", at, length, priority=priority) for n, (at, length, priority) in enumerate(rows)]


class Processor:
    """Runs one job at a time, second by second, and writes down when."""

    def __init__(self, jobs: list[Job]) -> None:
        self.left = {job.id: job.runtime for job in jobs}
        self.pieces: Pieces = {job.id: [] for job in jobs}

    def work(self, name: str, now: float) -> None:
        self.left[name] -= 1
        pieces = self.pieces[name]
        if pieces and pieces[-1][1] == now:
            pieces[-1] = (pieces[-1][0], now + 1)
        else:
            pieces.append((now, now + 1))

    @property
    def is_done(self) -> bool:
        return not any(self.left.values())


def feedback(jobs: list[Job], quanta: list[float], boost: float) -> Pieces:
    """Arpaci-Dusseau, "Operating Systems: Three Easy Pieces", 8.6: rules 1 to 5; who runs stays first in its queue."""
    processor, used = Processor(jobs), dict[str, int]()
    levels: list[list[str]] = [[] for _ in quanta]
    running, now = "", 0
    while not processor.is_done:
        first = next((at for at, names in enumerate(levels) if running in names), 0)
        ended = running and not processor.left[running]
        levels[0] += [job.id for job in jobs if job.submit == now]
        if ended:
            levels[first].remove(running)
        elif running and used[running] >= quanta[first]:
            levels[first].remove(running)
            levels[min(first + 1, len(quanta) - 1)].append(running)
            used[running] = 0
        if now and now % boost == 0:
            levels = [[name for names in levels for name in names], *([] for _ in quanta[1:])]
            used.clear()
        running = next((names[0] for names in levels if names), "")
        if running:
            used[running] = used.get(running, 0) + 1
            processor.work(running, now)
        now += 1
    return processor.pieces


def rounds(jobs: list[Job], quantum: int, *, preemptive: bool, keeps: bool) -> Pieces:
    """Round robin between those of the highest priority; who is pushed aside goes to the head, or to the end."""
    processor, rest = Processor(jobs), dict[str, int]()
    waiting: list[Job] = []
    running: Job | None = None
    now = used = 0
    first: Callable[[], Job] = lambda: max(waiting, key=lambda job: job.priority)  # noqa: E731  the first of equal ones
    while not processor.is_done:
        if running is not None and not processor.left[running.id]:
            running = None
        waiting += [job for job in jobs if job.submit == now]
        if running is not None and used >= quantum:
            waiting.append(running)
            running = None
        elif running is not None and preemptive and waiting and first().priority > running.priority:
            waiting.insert(0 if keeps else len(waiting), running)
            rest[running.id] = used if keeps else 0
            running = None
        if running is None and waiting:
            running = first()
            waiting.remove(running)
            used = rest.pop(running.id, 0)
        if running is not None:
            used += 1
            processor.work(running.id, now)
        now += 1
    return processor.pieces


def found(jobs: list[Job], policy: str, **texts: str) -> Pieces:
    return {
        ran.job.id: [(start, end) for start, end, _ in ran.segments] for ran in run(policy, jobs, ONE, **texts).jobs
    }


@settings(deadline=None, max_examples=150)
@given(ROWS, st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(2, 12), st.booleans())
def test_feedback_with_boosts(rows: list[tuple[int, int, int]], slices: list[int], boost: int, ends: bool) -> None:
    """Whoever runs at a boost is on the top level again, too; with any slices, in slices to the end or not."""
    jobs = workload(rows)
    quanta = [*map(float, slices), *([] if ends else [1e9])]
    texts = {"quanta": ",".join(map(str, slices)), "last": "slices" if ends else "fcfs", "boost": str(boost)}
    assert found(jobs, "multilevel", mode="feedback", **texts) == feedback(jobs, quanta, boost)


@settings(deadline=None, max_examples=150)
@given(ROWS, st.integers(1, 4), st.booleans(), st.booleans())
def test_turns_of_equal_priority(rows: list[tuple[int, int, int]], quantum: int, preemptive: bool, keeps: bool) -> None:
    """Those of equal priority share in slices, upper ones go first at once or when a slice ends."""
    jobs = workload(rows)
    texts = {"quantum": str(quantum), "preemptive": str(preemptive), "aside": "head" if keeps else "end"}
    assert found(jobs, "priority", **texts) == rounds(jobs, quantum, preemptive=preemptive, keeps=keeps)
