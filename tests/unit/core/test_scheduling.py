"""Who goes first and where: priority, order, tags, methods, windows, limits."""

from collections import Counter
from dataclasses import replace

import pytest

from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.submission import Submission
from formicary.engine.queen.queues import checked
from formicary.engine.scheduling.candidates import CandidateQueue, Entry
from formicary.engine.scheduling.capacity import least_loaded
from formicary.engine.scheduling.fcfs import fcfs_within_priority
from tests.unit.core.colony import ORG, Colony, Worker

ONE = JobDefinition("one", (TaskDefinition("a"),))
TENANTS = "tenant_limits: {org: {users: {ann: {max_concurrent_jobs: 1}}}}\n"


@pytest.fixture
def colony() -> Colony:
    """An empty colony."""
    return Colony()


def held(worker: Worker) -> list[str]:
    """Job ids of what an ant holds, in order of granting."""
    return [grant.job_id for grant in worker.held.values()]


def test_order_key() -> None:
    """Higher priority first, then job number, then position; no two keys are equal."""
    keys = [fcfs_within_priority(*what) for what in ((9, 5, 0), (1, 2, 0), (1, 2, 1), (1, 3, 0), (0, 1, 0))]
    assert keys == sorted(keys) and len(set(keys)) == len(keys)


def test_a_window_is_filled_only_when_no_slot_is_free(colony: Colony) -> None:
    """Free slots anywhere go before any queueing on an ant; a full window takes nothing more."""
    name = colony.define(ONE)
    x, y = colony.ant("x", 1, window=3), colony.ant("y", 1)
    for i in range(6):
        colony.submit(f"j{i}", name)
    assert held(x) == ["j0", "j2", "j3"]
    assert held(y) == ["j1"]


def test_a_window_changes_while_connected(colony: Colony) -> None:
    """An ant may ask for more or for less; it never goes below its slots, and what it holds it keeps."""
    name = colony.define(ONE)
    x = colony.ant("x", 1)
    for i in range(5):
        colony.submit(f"j{i}", name)
    colony.core.set_window(x.session, 3)
    colony.settle()
    assert len(x.held) == 3
    colony.core.set_window(x.session, 0)
    colony.ok("j0", "a")
    assert len(x.held) == 2
    colony.ok("j1", "a")
    colony.ok("j2", "a")
    assert held(x) == ["j3"]


def test_a_draining_ant_gets_nothing(colony: Colony) -> None:
    """After it has said that it is stopping, tasks go elsewhere or wait."""
    name = colony.define(ONE)
    x = colony.ant("x")
    colony.core.drain(x.session)
    colony.submit("j", name)
    assert not x.held
    y = colony.ant("y")
    assert held(y) == ["j"]


def test_methods_decide_too(colony: Colony) -> None:
    """A task whose method nobody offers waits, and does not keep others from running."""
    http = colony.define(replace(ONE, job_type="http", tasks=(TaskDefinition("a", method="HTTP_GET"),)))
    shell = colony.define(ONE)
    x = colony.ant("x", methods=frozenset({"SHELL"}))
    colony.submit("j", http, priority=9)
    colony.submit("k", shell)
    assert held(x) == ["k"]
    y = colony.ant("y")
    assert held(y) == ["j"]


@pytest.mark.parametrize("why", ["a limit", "no ant", "a tenant's limit"])
def test_a_crowd_that_may_not_start_hides_nobody(why: str, colony: Colony, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands that are older and of higher priority wait; who may start does so at once, and few of them are seen."""
    if why == "a tenant's limit":
        colony.core.waiting.take(TENANTS, checked(TENANTS), "ops")
    elsewhere = (TaskDefinition("a", tags=frozenset({"elsewhere"})),)
    given = {"a limit": replace(ONE, max_concurrency=1), "no ant": replace(ONE, tasks=elsewhere)}
    crowd, other = colony.define(given.get(why, ONE)), colony.define(replace(ONE, job_type="other"))
    x = colony.ant("x", 2)
    key = colony.core.definitions[crowd]
    colony.core.submit(key, ORG, [Submission(f"crowd{n}", b"{}", 9, user="ann") for n in range(3000)])
    colony.settle()
    runs = [] if why == "no ant" else ["crowd0"]
    assert held(x) == runs
    looks, head = Counter[str](), CandidateQueue.head

    def counted(queue: CandidateQueue) -> Entry | None:
        looks["head"] += 1
        return head(queue)

    monkeypatch.setattr(CandidateQueue, "head", counted)
    colony.submit("late", other, priority=0, user="bob")
    assert held(x) == [*runs, "late"]
    assert 0 < looks["head"] < 20


def test_only_the_first_start_task_takes_the_place_that_was_chosen(colony: Colony) -> None:
    """Further start tasks of a job take their turn like everybody else and spread over the ants."""
    many = replace(ONE, job_type="many", tasks=tuple(TaskDefinition(f"t{i}") for i in range(4)))
    name = colony.define(many)
    x, y = colony.ant("x", 2, window=9), colony.ant("y", 2, window=9)
    colony.submit("j", name)
    assert len(x.held) == len(y.held) == 2


def test_max_concurrency_is_exact_per_type(colony: Colony) -> None:
    """n executions run, not one less or more, across ends, failures and cancels; another type is not affected."""
    limited = colony.define(replace(ONE, job_type="limited", max_concurrency=2))
    free = colony.define(ONE)
    x = colony.ant("x", 20)
    for i in range(6):
        colony.submit(f"l{i}", limited)
    colony.submit("free", free)
    assert held(x) == ["l0", "l1", "free"]
    colony.ok("l1", "a")
    colony.fail("l0", "a")
    assert sorted(held(x)) == ["free", "l2", "l3"]
    colony.cancel("l4")
    colony.cancel("l2")
    assert sorted(held(x)) == ["free", "l2", "l3"], "a place is free only when the attempt has ended"
    colony.result("l2", "a", 4)
    assert sorted(held(x)) == ["free", "l3", "l5"]


def test_the_limit_of_the_newest_version_counts(colony: Colony) -> None:
    """A later definition of the type changes the limit for all, whatever the order in which they are loaded."""
    old = colony.define(replace(ONE, max_concurrency=1))
    new = colony.define(replace(ONE, max_concurrency=3))
    x = colony.ant("x", 20)
    for i in range(5):
        colony.submit(f"j{i}", old if i % 2 else new)
    assert len(x.held) == 3
    core = colony.recovered(colony.core.leases.epoch)
    assert core.limit_of(("org", "one")) == 3


def test_a_round_is_cut_into_slices() -> None:
    """A slice decides so many and says whether there is more."""
    colony = Colony(CoreConfig(slice_decisions=3))
    name = colony.define(ONE)
    for i in range(7):
        colony.submit(f"j{i}", name)
    x = colony.workers["x"] = Worker("x", 9)
    colony.ant("x", 9)
    assert len(colony.workers["x"].held) == 7
    assert x is not colony.workers["x"]
    colony = Colony(CoreConfig(slice_decisions=3))
    name = colony.define(ONE)
    worker = colony.ant("x", 9)
    colony.core.drain(worker.session)
    for i in range(7):
        colony.submit(f"j{i}", name)
    colony.core.leases.sessions[worker.session].draining = False
    assert colony.core.schedule() is True
    assert colony.core.stats.granted == 3


def test_least_loaded_prefers_the_smaller_share() -> None:
    """1 of 4 slots is less than 1 of 2; ties go to the ant that came first."""

    class Ant:
        def __init__(self, name: str, slots: int, held: int) -> None:
            self.name, self.slots, self.window = name, slots, slots
            self.draining, self.connected = False, True
            self.held = dict.fromkeys(range(held))

    ants = [Ant("small", 2, 1), Ant("large", 4, 1), Ant("equal", 4, 1)]
    chosen = least_loaded(ants)  # type: ignore[arg-type]  # a fake with the same attributes
    assert chosen is ants[1]
    assert least_loaded([Ant("full", 2, 2)]) is None
