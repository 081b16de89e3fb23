"""Admission for deadlines: Liu and Layland's bound, the demand bound against a simulation, no domino."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formicary.engine.scheduling.policies.edf_admission import Recurring, Urgent, admit, refusal, utilisation


def test_liu_and_layland() -> None:
    """Theorem 7: up to a utilisation of 1 every deadline is met; over it the job is refused with the figure."""
    jobs = [Recurring("a", 2, 5), Recurring("b", 4, 7)]
    assert utilisation(jobs) == pytest.approx(34 / 35) and refusal(jobs) is None
    assert refusal([*jobs, Recurring("c", 1, 20)]) == "utilisation 1.021 is over 1"


def test_shorter_deadlines_ask_for_the_demand() -> None:
    """Utilisation is low, and two are due at once: refused with the interval."""
    tight = [Recurring("a", 2, 10, 2), Recurring("b", 2, 10, 3)]
    assert refusal(tight) == "within 3 s work of 4 s is due"
    assert refusal([Recurring("a", 2, 10, 2), Recurring("b", 2, 10, 4)]) is None


def test_several_servers() -> None:
    """Goossens, Funk and Baruah: U <= m - (m-1) Umax. Dhall's effect is refused."""
    assert refusal([Recurring("a", 1, 2), Recurring("b", 1, 2), Recurring("c", 1, 4)], 2) is None
    assert refusal([Recurring("a", 1, 10), Recurring("b", 1, 10), Recurring("c", 10, 10.1)], 2) is not None


def misses(jobs: list[Recurring]) -> bool:
    """The slow twin: preemptive EDF step by step over the hyperperiod, all released at once."""
    end = math.lcm(*(int(job.period) for job in jobs)) + max(int(job.deadline or job.period) for job in jobs)
    work: list[list[float]] = []  # deadline, rest
    for now in range(end):
        work += [[now + (job.deadline or job.period), job.runtime] for job in jobs if now % job.period == 0]
        if any(due <= now for due, _ in work):
            return True
        if work:
            first = min(work)
            first[1] -= 1
            if first[1] <= 0:
                work.remove(first)
    return False


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([2, 3, 4, 6, 8, 12]), st.integers(1, 12)), min_size=1, max_size=4
    )
)
def test_admission_against_a_simulation(rows: list[tuple[int, int, int]]) -> None:
    """What is admitted meets every deadline, and what is refused misses one: both ways, on one server."""
    jobs = [Recurring(str(i), c, t, min(d, t)) for i, (c, t, d) in enumerate(rows)]
    assert (refusal(jobs) is not None) == misses(jobs)


URGENT = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 20), st.integers(1, 9)), max_size=8)


@given(URGENT, st.sampled_from(["shed", "demote", "reject"]))
def test_what_is_kept_meets_its_deadline(rows: list[tuple[int, int, int]], overload: str) -> None:
    """No domino: whoever is kept is on time; without overload everybody is kept."""
    jobs = [Urgent(str(i), c, d, v) for i, (c, d, v) in enumerate(rows)]
    kept, given_up = admit(jobs, 0, overload=overload)
    now = 0.0
    for job in kept:
        now += job.runtime
        assert now <= job.deadline
    assert sorted(job.id for job in kept + given_up) == sorted(job.id for job in jobs)
    now, all_on_time = 0.0, True
    for job in sorted(jobs, key=lambda one: one.deadline):
        now += job.runtime
        all_on_time &= now <= job.deadline
    assert all_on_time == (not given_up)


def test_the_domino_and_its_names() -> None:
    """One job too many: EDF alone would miss all four; here one is given up, by value or by arrival."""
    jobs = [Urgent("big", 5, 5, 1), Urgent("b", 2, 6, 4), Urgent("c", 2, 8, 4), Urgent("d", 2, 10, 4)]
    assert [job.id for job in admit(jobs, 0)[1]] == ["big"]
    assert [job.id for job in admit(jobs, 0, overload="reject")[1]] == ["b"]
    with pytest.raises(ValueError, match="overload must be one of"):
        admit(jobs, 0, overload="panic")


def moore(rows: list[tuple[int, int]]) -> int:
    """How many end in time: by deadline, and where one is late the longest so far is given up."""
    done: list[int] = []
    for work, deadline in sorted(rows, key=lambda row: row[1]):
        done.append(work)
        if sum(done) > deadline:
            done.remove(max(done))
    return len(done)


def test_fewest_late_of_moore() -> None:
    """Pinedo, "Scheduling", example 3.3.3: of five jobs the two longest that come first are late."""
    rows = [(7, 9), (8, 17), (4, 18), (6, 19), (6, 21)]
    kept, given_up = admit([Urgent(f"J{n}", work, due, 1) for n, (work, due) in enumerate(rows, 1)], now=0)
    assert [one.id for one in kept] == ["J3", "J4", "J5"] and [one.id for one in given_up] == ["J1", "J2"]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 25)), max_size=7))
def test_equal_values_are_the_fewest_late(rows: list[tuple[int, int]]) -> None:
    """Moore, Management Science 15(1), 1968: shedding what is worth least per second is his algorithm then."""
    jobs = [Urgent(str(n), work, due, 1) for n, (work, due) in enumerate(rows)]
    assert len(admit(jobs, now=0)[0]) == moore(rows)
    feasible = (
        len(chosen)
        for size in range(len(rows), -1, -1)
        for chosen in combinations(sorted(rows, key=lambda row: row[1]), size)
        if all(sum(work for work, _ in chosen[: at + 1]) <= due for at, (_, due) in enumerate(chosen))
    )
    assert moore(rows) == next(feasible)
