"""Overcommit by observed use in the core: what is idle is given out, what is busy or promised is not."""

from __future__ import annotations

import pytest

from formicary.engine.queen.core.batch import Batch
from formicary.engine.scheduling.queues.reading import read_queues
from tests.unit.core.colony import Colony
from tests.unit.core.test_preempting import asked, give_way
from tests.unit.core.test_queues import colony, job, started

RULE = "overcommit: {cpu: {observed: 0.5, most: 3, after: 10s}}\n"
ALL = "  resources: {cpu: 2}\n"


def made_of(source: str, *, slots: int = 8) -> Colony:
    made = colony(f"policy: fcfs\n{source}", check_twin=False)
    made.ant("ant", slots, resources={"cpu": 2, "memory": 100})
    return made


def says(made: Colony, *names: str, cpu: float = 0.0, memory: float = 0.0, seconds: float = 10.0) -> None:
    """The ant says what these use, now and again after a while."""
    for _ in range(2):
        uses = [(made.token(name, "a"), cpu, memory) for name in names]
        made.core.observing.take(made.workers["ant"].session, uses)
        made.settle()
        made.advance(seconds)
    made.core.observing.take(made.workers["ant"].session, [(made.token(name, "a"), cpu, memory) for name in names])
    made.settle()


def submit(made: Colony, *names: str, task: str = ALL) -> list[str]:
    for name in names:
        made.submit(name, made.define(job(f"t{task.strip()}"[:20].replace(" ", "").replace(":", ""), task=task)))
    return started(made)


def test_idle_tasks_share_what_they_have_asked_for_up_to_the_bound() -> None:
    made = made_of(RULE)
    assert submit(made, "a", "b", "c", "d") == ["a"]
    says(made, "a")
    assert started(made) == ["b"]
    says(made, "a", "b")
    assert started(made) == ["c"]
    says(made, "a", "b", "c")
    assert started(made) == [], "three times what there is has been given out"
    made.ok("a", "a")
    assert started(made) == ["d"]


def test_what_is_set_aside_falls_slowly_and_rises_at_once() -> None:
    made = made_of(RULE)
    assert submit(made, "a", "b", task="  resources: {cpu: 1500m}\n") == ["a"]
    session, token = made.workers["ant"].session, made.token("a", "a")
    used = []
    for cpu, passed in ((0.1, 0), (0.1, 2), (0.1, 2), (0.6, 1), (0.1, 1)):
        made.advance(passed)
        made.core.observing.take(session, [(token, cpu, 0.0)])
        used.append(round(made.core.leases.sessions[session].used["cpu"], 3))
    assert used == [1.5, 1.2, 0.9, 1.2, 1.05]


@pytest.mark.parametrize(
    "task",
    ["  resources: {limits: {cpu: 2}}\n", "  resources: {cpu: 2, memory: 60}\n"],
    ids=["guaranteed", "memory, for which there is no rule"],
)
def test_what_is_promised_counts_in_full(task: str) -> None:
    made = made_of(RULE)
    assert submit(made, "a", "b", task=task) == ["a"]
    says(made, "a")
    assert started(made) == []


def test_a_busy_task_and_one_of_which_nothing_is_said_keep_others_off() -> None:
    made = made_of(RULE)
    assert submit(made, "a", "b") == ["a"]
    made.advance(60)
    assert started(made) == [], "an ant of an older version says nothing"
    says(made, "a", cpu=1.5)
    assert started(made) == []


def test_ants_are_told_to_look_when_that_begins_to_matter_and_what_was_given_out_stays_given_out() -> None:
    made = made_of("")
    told: list[bool | None] = []
    release = made._release

    def look(batch: Batch) -> None:
        told.extend(out.observe for out in batch.outgoing.values() if out.observe is not None)
        release(batch)

    made._release = look  # type: ignore[method-assign]  # looks, and hands on
    submit(made, "a", "b")
    for source in (f"policy: fcfs\n{RULE}", "policy: fcfs\n"):
        found = read_queues(source).queues
        assert found is not None
        made.core.waiting.take(source, found, "me")
        made.settle()
        if RULE in source:
            says(made, "a")
            assert started(made) == ["b"]
    assert told == [True, False]
    ant = made.core.leases.sessions[made.workers["ant"].session]
    assert ant.used["cpu"] == 4
    made.drop("ant")
    made.join("ant")
    assert told == [True, False], "nobody asks"


def test_guarantees_are_kept_where_idle_tasks_wake_up() -> None:
    made = made_of(f"{RULE}quality_of_service: true\n")
    small = "  resources: {cpu: 1}\n"
    assert submit(made, "a", "b", task=small) == ["a", "b"]
    says(made, "a", "b")
    assert submit(made, "sure", task="  resources: {limits: {cpu: 1}}\n") == ["sure"]
    says(made, "a", "b", "sure", cpu=0.2)
    assert asked(made) == [], "all of them have what they use"
    says(made, "a", "b", "sure", cpu=0.9)
    assert asked(made) == ["b"]
    give_way(made, "b")
    says(made, "a", "sure", cpu=0.9)
    assert asked(made) == []


def test_who_uses_more_than_it_asked_for_gives_way_before_who_began_last() -> None:
    made = made_of(f"{RULE}quality_of_service: true\n")
    small = "  resources: {cpu: 1}\n"
    submit(made, "a", "b", task=small)
    says(made, "a", "b")
    assert submit(made, "sure", task="  resources: {limits: {cpu: 1}}\n") == ["sure"]
    made.core.observing.take(
        made.workers["ant"].session, [(made.token(name, "a"), cpu, 0.0) for name, cpu in (("a", 1.4), ("b", 0.5))]
    )
    made.settle()
    assert asked(made) == ["a"]
