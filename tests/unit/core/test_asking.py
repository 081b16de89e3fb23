"""What the core knows about the wait of a job, by pool of ants."""

from __future__ import annotations

from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.queen.core.asking import not_submitted, pools
from formicary.engine.scheduling.estimating import Question
from tests.unit.core.colony import ORG, Colony

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
