"""What the core knows about the wait of a job, by pool of ants."""

from __future__ import annotations

from random import Random

import pytest

from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.queen.core.asking import not_submitted, pools, questions, submitted
from formicary.engine.queen.core.records import Definition
from formicary.engine.scheduling.durations import Durations
from formicary.engine.scheduling.estimate_book import kind_of
from formicary.engine.scheduling.estimating import Question, forecast
from tests.unit.core.colony import ORG, Colony
from tests.unit.core.test_queues import colony, job, started

OLD = JobDefinition("old", (TaskDefinition("a", tags=frozenset({"old"})),))


def asked(colony: Colony) -> dict[str, tuple[int, bool, Question]]:
    """Ants, whether the job may go there, and the question, by tags."""
    definition = colony.core.definitions[colony.define(OLD)]
    wanted = not_submitted(colony.core, definition, ORG, OLD.priority, 0.0)
    return {",".join(sorted(one.tags)): (one.ants, one.serves, one.question) for one in pools(colony.core, wanted)}


def test_a_pool_is_the_ants_that_offer_the_same_tags() -> None:
    """What runs and waits there counts; other methods, and ants that stop, are left out; alike ants are no choice."""
    colony = Colony()
    colony.ant("a", 1, tags=frozenset({"old"}))
    colony.ant("b", 1, tags=frozenset({"old"}))
    definition = colony.define(OLD)
    assert asked(colony) == {}
    for number in range(5):
        colony.submit(f"j{number}", definition)
    colony.ant("c", 3, tags=frozenset({"new"}))
    colony.ant("d", 9, tags=frozenset({"web"}), methods=frozenset({"HTTP_GET"}))
    found = asked(colony)
    assert {tags: (ants, serves) for tags, (ants, serves, _) in found.items()} == {"old": (2, True), "new": (1, False)}
    old, new = found["old"][2], found["new"][2]
    assert (old.slots, len(old.running), len(old.ahead)) == (2, 2, 3)
    assert (new.slots, len(new.running), len(new.ahead)) == (3, 0, 0)


QUEUES = "queues: [{name: a, %s}, {name: b, %s}, {name: c, %s}]\ndefault: a\n"
PLAIN = QUEUES % (("weight: 1",) * 3)
SHARINGS = {
    "fair": f"policy: fair\nset: {{by: queue}}\n{PLAIN}",
    "fair by weight": f"policy: fair\nset: {{by: queue, weights: {{b: 2}}}}\n{PLAIN}",
    "drf": f"policy: drf\nset: {{by: queue}}\n{PLAIN}",
    "capacity": "policy: capacity\n" + QUEUES % ("guaranteed: 50", "guaranteed: 25", "guaranteed: 25"),
    "maximum": "policy: capacity\n" + QUEUES % ("guaranteed: 50", "maximum: 25", "guaranteed: 25"),
    "strict": "policy: multilevel\n" + QUEUES % ("priority: 2", "priority: 1", "priority: 3"),
    "weighted": "policy: multilevel\nset: {mode: weighted}\n" + QUEUES % ("weight: 1", "weight: 3", "weight: 1"),
    "within": "policy: multilevel\nqueues: [{name: a, policy: sjf}, b, c]\ndefault: a\n",
    "one order": "policy: sjf\nqueues: [a, b, c]\ndefault: a\n",
    "aging": "policy: priority\nset: {aging: 0.5, cap: 10}\nqueues: [a, b, c]\ndefault: a\n",
}


def ahead_of(made: Colony, name: str) -> list[str]:
    """Types of the jobs before one that waits, in order, as an estimate has it."""
    asked = submitted(made.core, made.core.jobs[name])
    assert asked is not None
    return [one.kind.rpartition("/")[2] for one in questions(made.core, asked)[0].ahead]


def started_before(made: Colony, name: str, running: list[str]) -> list[str]:
    """Types of the jobs that the core starts before one, where what runs ends oldest first."""
    found: list[str] = []
    while name not in running:
        made.ok(running.pop(0), "a")
        new = started(made)
        running += new
        found += [one.rstrip("0123456789") for one in new]
    return found[:-1]


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("last", ["a8", "b3", "c1"])
def test_what_goes_before_is_what_the_core_starts_before(sharing: str, last: str) -> None:
    """Nine of a come and four of them run; then four of b and two of c: whom the estimate puts first starts first."""
    made = colony(SHARINGS[sharing])
    definitions = {
        name: made.define(job(name, f"queue: {name}; priority: {priority}; estimated_runtime: {seconds}s"))
        for name, priority, seconds in (("a", 1, 30), ("b", 3, 20), ("c", 2, 40))
    }
    made.ant("ant", 4)
    for name, count in (("a", 9), ("b", 4), ("c", 2)):
        made.advance(5)
        for number in range(count):
            made.submit(f"{name}{number}", definitions[name])
    running = started(made)
    assert len(running) == 4
    expected = ahead_of(made, last)
    assert expected == started_before(made, last, running)


HELD = {
    "queue": ("policy: priority\nqueues: [{name: one, limit: 1}, rest]\ndefault: rest\n", "queue: one"),
    "hours": ("policy: priority\nqueues: [{name: one, hours: '03:00-04:00'}, rest]\ndefault: rest\n", "queue: one"),
    "type": ("policy: priority\n", "max_concurrency: 1"),
    "tenant": ("policy: priority\ntenant_limits: {org: {users: {u: {max_concurrent_jobs: 1}}}}\n", ""),
    "hours of a tenant": ("policy: priority\ntenant_limits: {org: {users: {u: {max_cpu_hours_per_day: 0}}}}\n", ""),
    "tenant of a type": ("", "tenant_limits: {users: {u: {max_concurrent_jobs: 1}}}"),
    "hours of a type": ("", "tenant_limits: {max_cpu_hours_per_day: 0}"),
    "lock": ("policy: priority\n", "resources: {resource_type: licence, value: 1}"),
}


@pytest.mark.parametrize("how", HELD)
def test_what_another_limit_holds_does_not_go_before(how: str) -> None:
    """One slot is free, and four of a higher priority wait that may not take it: another job starts at once."""
    source, more = HELD[how]
    made = colony(source)
    made.ant("ant", 2)
    held, free = made.define(job("held", f"priority: 9; {more}".rstrip("; "))), made.define(job("free"))
    for number in range(5):
        made.submit(f"h{number}", held, user="u")
    definition = made.core.definitions.get(free) or Definition(made._row(free), made.models[free])
    asked = not_submitted(made.core, definition, ORG, 0, 0.0)
    question = questions(made.core, asked)[0]
    found = forecast(question, Durations(), Random(1))
    assert found is not None and (found.high_s, question.before(0.0)) == (0.0, 0)
    made.submit("probe", free)
    assert started(made)[-1] == "probe"


def test_the_next_one_at_a_limit_takes_the_place_of_the_one_before() -> None:
    """Both slots are busy, one by what is limited: the next of it goes before, and the others behind it do not."""
    made = colony(HELD["queue"][0])
    made.ant("ant", 2)
    made.submit("r", made.define(job("rest")))
    held = made.define(job("held", "priority: 9; queue: one"))
    for number in range(5):
        made.submit(f"h{number}", held)
    definition = made.core.definitions[made.define(job("rest"))]
    question = questions(made.core, not_submitted(made.core, definition, ORG, 0, 0.0))[0]
    durations = Durations()
    for kind, seconds in ((kind_of(ORG, "held"), 10.0), (kind_of(ORG, "rest"), 30.0)):
        durations.add(kind, seconds)
    found = forecast(question, durations, Random(1))
    assert found is not None and found.wait_s == 30.0


def test_best_effort_tasks_are_in_the_way_of_their_like_alone() -> None:
    made = colony("policy: priority\nquality_of_service: true\n")
    made.ant("ant", 1, resources={"cpu": 1})
    for number in range(3):
        made.submit(f"f{number}", made.define(job("free", "priority: 9")))
    durations = Durations()
    durations.add(kind_of(ORG, "free"), 10.0)
    for name, task, wait_s in (("asks", "  resources: {cpu: 1}\n", 0.0), ("other", "", 30.0)):
        definition = made.define(job(name, task=task))
        found = made.core.definitions.get(definition) or Definition(made._row(definition), made.models[definition])
        question = questions(made.core, not_submitted(made.core, found, ORG, 0, 0.0))[0]
        told = forecast(question, durations, Random(1))
        assert told is not None and told.wait_s == wait_s, name
