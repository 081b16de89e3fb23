"""Checkpoints in the core: who may leave one, who is given it, when it is dropped, and what bounds them."""

from __future__ import annotations

import pytest

from formicary.engine.jobs import lifecycle as life
from formicary.engine.queen.core import outcome as ends
from formicary.engine.queen.core.config import CoreConfig
from formicary.engine.queen.core.leases import Hello
from formicary.engine.queen.core.submission import Submission
from formicary.engine.storage.port import Changes
from tests.unit.core.colony import Colony
from tests.unit.core.test_queues import colony, job, started

TASK = "job_type: j\n{more}tasks:\n- task_type: a\n  script: x\n{task}"


def made_of(*, more: str = "", task: str = "", slots: int = 1, config: CoreConfig | None = None) -> Colony:
    """One ant, one job `j` that runs."""
    made = Colony(config)
    made.ant("ant", slots)
    made.submit("j", made.define(TASK.format(more=more, task=task)))
    return made


def leave(made: Colony, value: bytes, name: str = "j", task: str = "a", token: int = 0) -> str:
    """The ant passes a checkpoint on."""
    token = token or made.token(name, task)
    refusal = made.core.checkpoint(made.workers["ant"].session, token, value)
    made.settle()
    return refusal


def given(made: Colony, name: str = "j", task: str = "a") -> bytes:
    """What the newest attempt was given."""
    token = made.token(name, task)
    return made.holder(token).held[token].checkpoint


def stored(made: Colony) -> list[bytes]:
    return [row[3] for row in made.store.checkpoints(1) if isinstance(row[3], bytes)]


def test_a_retry_is_given_the_last_one() -> None:
    made = made_of(task="  retry: 2\n  delay_between_retries: 1s\n")
    assert given(made) == b""
    assert leave(made, b"1") == leave(made, "größer".encode()) == ""
    made.fail("j", "a")
    made.advance(5)
    assert given(made) == "größer".encode() and stored(made) == ["größer".encode()]
    made.fail("j", "a")
    made.advance(5)
    assert given(made) == "größer".encode(), "an attempt that leaves nothing takes nothing away"
    made.ok("j", "a")
    assert stored(made) == [] and made.core.checkpoints.size_bytes == 0 and not made.core.checkpoints.kept


def test_a_lost_lease_and_a_new_queen_keep_it() -> None:
    made = made_of()
    leave(made, b"half")
    made.restart()
    made.advance(20, beats=False)
    made.ant("other")
    assert given(made) == b"half"


def test_a_stale_attempt_leaves_nothing() -> None:
    """Neither with the token of an earlier attempt, nor after its end, nor from another stream."""
    made = made_of(task="  retry: 3\n  delay_between_retries: 1s\n")
    first = made.token("j", "a")
    leave(made, b"first")
    made.fail("j", "a")
    leave(made, b"late", token=first)
    made.advance(3)
    leave(made, b"stale", token=first)
    assert made.core.checkpoint(made.workers["ant"].session + 1, made.token("j", "a"), b"stranger") == ""
    made.fail("j", "a")
    made.advance(3)
    assert given(made) == b"first" and stored(made) == [b"first"]
    made.ok("j", "a")
    leave(made, b"too late")
    assert stored(made) == []


def test_what_makes_room_begins_again_from_it() -> None:
    made = colony("policy: priority\nset: {preemptive: true}\n")
    made.submit("low", made.define(job("low", "priority: 1")))
    made.ant("ant", 1)
    made.submit("high", made.define(job("high", "priority: 9")))
    leave(made, b"in the grace", "low")
    made.result("low", "a", ends.CANCELLED)
    assert started(made)[-1] == "high" and given(made, "high") == b""
    made.ok("high", "a")
    assert given(made, "low") == b"in the grace"


def test_another_execution_of_the_job_is_given_it_unless_it_begins_from_nothing() -> None:
    made = made_of(more="retry: 2\nhard_reset_after_retries: 1\ndelay_between_retries: 1s\n")
    leave(made, b"kept")
    made.fail("j", "a")
    made.advance(5)
    assert given(made) == b"kept"
    made.fail("j", "a")
    made.advance(5)
    assert given(made) == b"" and stored(made) == [], "every second retry begins from nothing"


def test_a_failed_job_keeps_it_for_whoever_runs_it_again() -> None:
    made = made_of()
    leave(made, b"half")
    made.fail("j", "a")
    assert not made.core.jobs and not made.core.checkpoints.kept and made.core.checkpoints.size_bytes == 0
    assert stored(made) == [b"half"]
    made.retry("j")
    assert given(made) == b"half"
    made.fail("j", "a")
    made.retry("j", hard=True)
    assert given(made) == b"" and stored(made) == []


def test_another_version_begins_from_nothing() -> None:
    made = made_of()
    leave(made, b"of version 1")
    made.fail("j", "a")
    made.retry("j", version=made.define(TASK.format(more="", task="  retry: 1\n")))
    assert given(made) == b"" and stored(made) == []


def test_elements_have_their_own() -> None:
    fan = "  fan_out: {source: [1, 2]}\n  retry: 1\n  delay_between_retries: 1s\n"
    made = made_of(task=fan, slots=2)
    leave(made, b"one", task="a[0]")
    leave(made, b"two", task="a[1]")
    made.fail("j", "a[1]")
    made.ok("j", "a[0]")
    made.advance(3)
    assert given(made, task="a[1]") == b"two" and stored(made) == [b"two"]


def test_too_large_and_too_much_are_refused_with_the_reason() -> None:
    config = CoreConfig(checkpoint_bytes=10, all_checkpoints_bytes=15)
    made = made_of(config=config, slots=2)
    made.submit("k", made.define(TASK.format(more="", task="").replace("job_type: j", "job_type: k")))
    assert leave(made, b"x" * 10) == ""
    assert "at most 10" in leave(made, b"x" * 11)
    assert "fill 15 bytes" in leave(made, b"y" * 6, "k")
    assert leave(made, b"y" * 5, "k") == ""
    assert leave(made, b"z" * 9) == "", "a smaller one in its place"
    assert made.core.checkpoints.size_bytes == 14
    made.ok("j", "a")
    assert made.core.checkpoints.size_bytes == 5


def test_tasks_that_leave_none_cost_nothing_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row of a checkpoint is written for a job that leaves none, not even where another one does."""
    made = made_of(slots=2)
    leave(made, b"here")
    written: list[tuple[int, int]] = []
    commit = made.store.commit

    def looking(epoch: int, changes: Changes) -> None:
        written.extend(changes.checkpoints)
        commit(epoch, changes)

    monkeypatch.setattr(made.store, "commit", looking)
    made.submit("k", made.define(TASK.format(more="", task="").replace("job_type: j", "job_type: k")))
    made.ok("k", "a")
    assert written == []


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        ("policy: priority\nset: {preemptive: true}\n", None),
        ("policy: priority\nset: {preemptive: true}\npreemption_grace: 30s\n", 30.0),
        ("policy: priority\nset: {preemptive: true}\npreemption_grace: 0\n", 0.0),
        (
            "policy: multilevel\nset: {preemptive: true}\npreemption_grace: 5\nqueues:\n- {name: top, priority: 9, "
            "match: {job_types: [high]}}\n- {name: low, preemption_grace: 1m, match: {job_types: [low]}}\n",
            60.0,
        ),
    ],
)
def test_the_grace_is_that_of_the_queue_of_who_gives_way(queues: str, expected: float | None) -> None:
    """It is told with the request to end, and again to an ant that comes back."""
    made = colony(queues, check_twin=False)
    made.submit("low", made.define(job("low", "priority: 1")))
    made.ant("ant", 1)
    session = made.workers["ant"].session
    core = made.core
    high = core.definitions[made.define(job("high", "priority: 9"))]
    token = made.token("low", "a")

    def told(of: int) -> float | None:
        batch = core.cut()
        out = batch.outgoing[of]
        assert out.cancelled == [token]
        made.store.commit(core.leases.epoch, batch.changes)
        core.committed(batch)
        return 0.0 if token in out.at_once else out.grace_s.get(token)

    core.submit(high, "org", [Submission("high", b"{}")])
    core.schedule()
    assert told(session) == expected
    run = core.leases.tokens[token]
    assert run.preempting and run.state == life.DISPATCHED
    methods = made.workers["ant"].methods
    core.connect(99, Hello("ant", "1", methods, frozenset(), 1, 0, (token,), 9))
    assert told(99) == expected
