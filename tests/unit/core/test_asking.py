"""What the core knows about the wait of a job, by pool of ants."""

from __future__ import annotations

import pytest

from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.queen.core.asking import not_submitted, pools, questions, submitted
from formicary.engine.scheduling.estimating import Question
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
