"""Pending jobs are index rows: parameters are in memory only while there is room and shortly before their turn."""

from dataclasses import replace

from formicary.engine.jobs.model import JobDefinition, TaskDefinition
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.core import Core
from formicary.engine.queen.core.submission import Submission
from tests.unit.core.colony import ORG, WALL, Colony, Middle

ONE = JobDefinition("one", (TaskDefinition("a"),))
BIG = {"text": "x" * 100}


def test_parameters_leave_memory_when_there_are_too_many() -> None:
    """Up to the limit they stay, beyond it the job keeps none."""
    colony = Colony(CoreConfig(hot_params_bytes=250, prefetch=2))
    name = colony.define(ONE)
    for i in range(10):
        colony.submit(f"j{i}", name, params=BIG)
    assert [job.params is not None for job in colony.core.jobs.values()] == [True] * 3 + [False] * 7


def test_cold_jobs_run_in_order_with_their_parameters() -> None:
    """They are read a few at a time, and each task sees what its job was submitted with."""
    colony = Colony(CoreConfig(hot_params_bytes=1, prefetch=3))
    name = colony.define(ONE)
    for i in range(10):
        colony.submit(f"j{i}", name, params={"n": i})
    worker = colony.ant("x")
    for i in range(10):
        (grant,) = worker.held.values()
        assert (grant.job_id, grant.variables) == (f"j{i}", b'{"n": %d}' % i)
        hot = [job for job in colony.core.jobs.values() if job.params is not None]
        assert len(hot) <= 2 * 3
        colony.ok(f"j{i}", "a")
    assert colony.core._hot_bytes == 0


def test_an_urgent_job_overtakes_cold_ones_that_are_already_read() -> None:
    """Nothing waits for ever when a cold job has to go before a full set of ready ones."""
    colony = Colony(CoreConfig(hot_params_bytes=1, prefetch=2))
    name = colony.define(ONE)
    for i in range(9):
        colony.submit(f"j{i}", name, params=BIG)
    worker = colony.ant("x")
    colony.submit("urgent", name, params=BIG, priority=9)
    colony.ok("j0", "a")
    assert [grant.job_id for grant in worker.held.values()] == ["urgent"]


def test_a_job_cancelled_while_it_is_read_leaves_nothing() -> None:
    """Its parameters are not kept, and the jobs behind it go on."""
    core = Core(CoreConfig(hot_params_bytes=1, prefetch=4), 1, Middle())
    core.at(0.0, WALL)
    definition = core.define(("one:1", ORG, "one", 1, "", b"{}", "", "", WALL), ONE)
    core.submit(definition, ORG, [Submission("keep", b"{}"), Submission("drop", b"{}"), Submission("next", b"{}")])
    colony = Colony()
    colony.core, colony.models = core, {"one:1": ONE}
    colony.store = colony.store.clone()
    core.leases.epoch = colony.store.acquire("test")
    colony.define(replace(ONE, job_type="other"))
    worker = colony.ant("x", 9)
    assert {grant.job_id for grant in worker.held.values()} == {"keep", "drop", "next"}
    assert core._hot_bytes == 0


def test_bytes_are_counted_right_through_cancel_and_restart() -> None:
    """After cancelled, restarted and finished jobs no byte is counted any more."""
    colony = Colony(CoreConfig(hot_params_bytes=1000))
    task = TaskDefinition("a", on_exit_code={"9": "RESTART_JOB"})
    name = colony.define(JobDefinition("again", (task,), delay_between_retries_s=(1.0, 1.0)))
    for i in range(4):
        colony.submit(f"j{i}", name, params=BIG)
    colony.cancel("j3")
    colony.ant("x")
    colony.fail("j0", "a", 9)
    colony.cancel("j0")
    colony.fail("j1", "a", 9)
    colony.ok("j2", "a")
    colony.advance(1.0)
    colony.ok("j1", "a")
    assert not colony.core.jobs
    assert colony.core._hot_bytes == 0


def test_a_definition_from_before_a_reload_is_taken_in_again() -> None:
    """A caller that still has the record of a core that was thrown away cannot make a job without definition."""
    colony = Colony()
    earlier = colony.core.define(("late:1", ORG, "late", 1, "", b"{}", "", "", WALL), ONE)
    colony.core.cut()  # its commit fails, the core is thrown away
    colony.restart(counter=5)
    colony.models["late:1"] = ONE
    colony.core.submit(earlier, ORG, [Submission("j", b"{}")])
    colony.settle()
    assert colony.store.definition("late:1") is not None
    assert colony.job("j").state == "PENDING"


def test_keys_are_known_until_they_are_committed() -> None:
    """A key is found in memory from the submission to its commit, and in the store from then on."""
    colony = Colony()
    definition = colony.core.definitions[colony.define(ONE)]
    colony.core.submit(definition, ORG, [Submission("j", b"{}", key="k", fingerprint="f")])
    assert colony.core.keys == {(ORG, "k"): ("f", "j")}
    colony.settle()
    assert not colony.core.keys
    assert colony.store.find_keys(ORG, ["k"]) == {"k": ("f", "j")}
