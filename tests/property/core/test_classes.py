"""Quality of service whatever comes: nothing is given out twice, the promised never give way, others make room."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.records import Ant, TaskRun
from tests.unit.core.colony import Colony
from tests.unit.core.test_queues import colony, job

POLICIES = ("policy: fcfs\n", "policy: fair\n", "policy: priority\nset: {preemptive: true}\n")


def _gives_way(run: TaskRun) -> bool:
    return run.preempting or run.cancelling


def _check(made: Colony, *, orders: bool) -> None:
    for ant in made.core.leases.ants.values():
        assert len(ant.held) <= ant.slots
        for name, amount in ant.resources.items():
            assert sum(dict(run.needs).get(name, 0.0) for run in ant.held.values()) <= amount + 1e-6
    stopped = [run for run in made.core.leases.tokens.values() if run.preempting]
    assert orders or not [run for run in stopped if run.needs], "what was promised gives way to nobody"
    waiting = [demand for demand, queue in made.core.queues.items() if queue and demand.needs]
    leaving = sum(map(_gives_way, made.core.leases.tokens.values()))
    if leaving >= sum(made.core.queues[demand].count_at_most(100) for demand in waiting):
        return  # each of them may be making room for one that waits
    for demand in waiting:
        assert not [ant for ant in made.core.ants_for(demand) if _should_have_made_room(ant, dict(demand.needs))]


def _should_have_made_room(ant: Ant, needs: dict[str, float]) -> bool:
    """No slot is free or becomes free, a best-effort task runs on, and everything but its slot is there."""
    runs = ant.held.values()
    if len(runs) < ant.slots or any(map(_gives_way, runs)) or all(run.needs for run in runs):
        return False
    return all(ant.used.get(name, 0.0) + amount <= ant.resources.get(name, 0.0) for name, amount in needs.items())


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(POLICIES),
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=25),
    st.randoms(use_true_random=False),
)
def test_nothing_is_given_out_twice_and_the_promised_never_give_way(
    policy: str, ants: list[tuple[int, int]], jobs: list[tuple[int, int]], rng: Random
) -> None:
    made = colony(f"{policy}quality_of_service: true\n", check_twin=False)
    for number, (slots, cpu) in enumerate(ants):
        made.ant(f"ant{number}", slots, resources={"cpu": cpu})
    orders = "preemptive" in policy
    for number, (cpu, priority) in enumerate(jobs):
        task = f"  resources: {{cpu: {cpu}}}\n" if cpu else ""
        made.submit(f"j{number}", made.define(job(f"t{cpu}{priority}", f"priority: {priority}", task)))
        _check(made, orders=orders)
        held = [run for run in made.core.leases.tokens.values() if rng.random() < 0.3]
        for run in held:
            if run.token in made.core.leases.tokens:
                kind = ends.CANCELLED if _gives_way(run) else ends.COMPLETED
                made.result(run.job.id, "a", kind)
                _check(made, orders=orders)
